"""A run, from options to a full run folder."""

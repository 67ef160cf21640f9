"""The options of a run, and its folder: written and read here."""

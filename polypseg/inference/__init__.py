"""A trained network over images and videos, whatever runs it."""

"""The commands: a file each, with its options and its story from top to bottom."""

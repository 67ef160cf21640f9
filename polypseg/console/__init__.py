"""The terminal side of all commands: arguments, one-line errors, progress."""

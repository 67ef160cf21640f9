"""What a terminal sees: arguments, one-line errors, progress."""

"""The error that a user can mend, and what helps to raise it."""

import difflib


class InputError(ValueError):
    """A mistake in an argument or a file: one line that names it, what was expected and what
    came.
    """


def expect(condition, argument, expected, got=None):
    """Raise `InputError` unless the condition holds."""
    if not condition:
        raise InputError(
            f"{argument}: expected {expected}, got {'nothing' if got is None else got}"
        )


def nearest(word, known):
    """`; did you mean 'x'?` or nothing."""
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""

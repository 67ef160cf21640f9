"""The error that a user can mend, and what helps to raise it."""

import contextlib
import difflib
import os
from collections.abc import Iterable, Iterator
from typing import Any


class InputError(ValueError):
    """A mistake in an argument or a file, in one line: what was expected and what came.

    Args:
        message: without the argument's name.
        argument: the name of the argument that is wrong, `"input_size"`, where it is known.

    >>> str(InputError("expected a multiple of 32, got 100", "input_size"))
    'input_size: expected a multiple of 32, got 100'
    """

    def __init__(self, message: str, argument: str | None = None) -> None:
        super().__init__(message, argument)
        self.message, self.argument = message, argument

    def __str__(self) -> str:
        return f"{self.argument}: {self.message}" if self.argument else self.message


class Note(UserWarning):
    """What a user should know, in one line; commands print it, libraries `warnings.warn` it."""


def expect(condition: Any, argument: str, expected: str, got: Any = None) -> None:
    """Raise `InputError` unless the condition holds."""
    if not condition:
        raise InputError(f"expected {expected}, got {'nothing' if got is None else got}", argument)


def nearest(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` or nothing."""
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""


@contextlib.contextmanager
def of_argument(argument: str) -> Iterator[None]:
    """Name the argument in each `InputError` that comes without one."""
    try:
        yield
    except InputError as error:
        if error.argument is None:
            error.argument = argument
        raise


@contextlib.contextmanager
def reading(
    path: str | os.PathLike[str], expected: str, argument: str | None = None
) -> Iterator[None]:
    """Turn whatever a parser raises for the file at `path` into an `InputError`.

    Args:
        path: of the file.
        expected: what it should be: `"a complete .onnx file of export.py"`.
        argument: that named the file.
    """
    try:
        yield
    except InputError:
        raise
    except MemoryError:
        raise
    except Exception as error:
        raise InputError(f"expected {expected}, got {path} ({reason(error)})", argument) from error


def reason(error: BaseException) -> str:
    """What an error says, in one line of at most 160 characters."""
    text = getattr(error, "strerror", None) or " ".join(str(error).split())
    return (text or type(error).__name__)[:160]

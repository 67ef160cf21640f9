"""The error for a mistake in the user's input, and helpers to raise it."""

import contextlib
import difflib
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any


class InputError(ValueError):
    """A mistake in an argument or a file, described in one line.

    Args:
        message: what was expected and what was given, without the argument's name.
        argument: name of the wrong argument, such as `"input_size"`, if it is known.

    >>> str(InputError("expected a multiple of 32, got 100", "input_size"))
    'input_size: expected a multiple of 32, got 100'
    """

    def __init__(self, message: str, argument: str | None = None) -> None:
        super().__init__(message, argument)
        self.message, self.argument = message, argument

    def __str__(self) -> str:
        return f"{self.argument}: {self.message}" if self.argument else self.message


class InputErrors(InputError):
    """Several mistakes that were found together. A command prints a line for each.

    Args:
        errors: the mistakes, one or more.
    """

    def __init__(self, errors: Sequence[InputError]) -> None:
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        super().__init__(errors[0].message + more, errors[0].argument)
        self.errors = tuple(errors)

    def __reduce__(self) -> tuple[type["InputErrors"], tuple[Sequence[InputError]]]:
        return InputErrors, (self.errors,)


class Note(UserWarning):
    """Something that the user should know, in one line.

    Functions of the library issue it as a warning. Commands print it.
    """


def expect(condition: Any, argument: str, expected: str, got: Any = None) -> None:
    """Raise `InputError` unless the condition holds.

    Args:
        condition: any value; its truth is tested.
        argument: name of the argument that is checked.
        expected: what is allowed.
        got: the given value; `None` is shown as "nothing".

    >>> expect(0 > 1, "batch_size", "1 or more", 0)
    Traceback (most recent call last):
    polypseg.errors.InputError: batch_size: expected 1 or more, got 0
    """
    if not condition:
        raise InputError(f"expected {expected}, got {'nothing' if got is None else got}", argument)


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint that names the most similar known word, or `""` if none is similar.

    >>> nearest("epoch", ["epochs", "lr"])
    "; did you mean 'epochs'?"
    """
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""


@contextlib.contextmanager
def of_argument(argument: str) -> Iterator[None]:
    """Add the argument's name to an `InputError` that has none."""
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
    """Turn any error of a parser that reads the file at `path` into an `InputError`.

    `MemoryError` is not changed.

    Args:
        path: the file that is read.
        expected: what the file should be, such as `"a complete .onnx file of export.py"`.
        argument: name of the argument that gave the path.
    """
    try:
        yield
    except (InputError, MemoryError):
        raise
    except Exception as error:
        raise InputError(f"expected {expected}, got {path} ({reason(error)})", argument) from error


def one_line(text: str) -> str:
    r"""Replace line breaks and other control characters by escapes such as `\n`.

    >>> one_line("a\x1b[31m\n")
    'a\\x1b[31m\\n'
    """
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in text
    )


def reason(error: BaseException) -> str:
    """The text of an error, in one line of at most 160 characters."""
    text = getattr(error, "strerror", None) or " ".join(str(error).split())
    return (text or type(error).__name__)[:160]

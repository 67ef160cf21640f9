"""The command line that all commands share: spelling, help, defaults."""

import argparse
import dataclasses
import sys
import types
import typing
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from polypseg.errors import InputError, nearest
from polypseg.options import Option

from .run import option, program, say, with_options


def given_options(
    kind: type[Any], description: str, arguments: Sequence[str] | None = None
) -> dict[str, Any]:
    """Parse a command line.

    Args:
        kind: a dataclass whose fields are made by `polypseg.options.option`.
        description: what the command does, for its help.
        arguments: words of the command line; default: `sys.argv[1:]`.

    Returns:
        The values that were given, by the names of their fields.

    Raises:
        InputError: an option is unknown, is missing, has no value, or has one of another type.
    """
    parser = _OneLineErrors(
        prog=program(), description=description, allow_abbrev=False, add_help=False
    )
    parser.add_argument("-h", "--help", action="help", help=argparse.SUPPRESS)
    groups: dict[str, Any] = {}
    for field in dataclasses.fields(kind):
        about: Option = field.metadata["option"]
        if about.group not in groups:
            groups[about.group] = parser.add_argument_group(about.group)
        names = [field.name] if about.positional else [option(field.name), *about.spellings]
        groups[about.group].add_argument(*names, **_argument_keywords(field, about))
    words = sys.argv[1:] if arguments is None else arguments
    return vars(parser.parse_args([_with_hyphens(word) for word in words]))


def _argument_keywords(field: dataclasses.Field[Any], about: Option) -> dict[str, Any]:
    """The keywords of `add_argument` for a field.

    An empty value is an error. If an option is given twice, the last value counts. An option that
    takes several values has the values of both.
    """
    kind, text = _value_type(field.type), with_options(about.help).replace("%", "%%")
    if all(field.default is not value for value in (dataclasses.MISSING, None, False)):
        text += f" (default: {field.default})"
    if kind is bool:
        return {"action": "store_true", "default": argparse.SUPPRESS, "help": text}
    several = typing.get_origin(kind) is list
    if several:
        kind = typing.get_args(kind)[0]
    found: dict[str, Any] = {"metavar": about.metavar, "default": argparse.SUPPRESS, "help": text}
    if not about.positional:
        found["required"] = field.default is dataclasses.MISSING
    if several:
        found |= {"nargs": "+", "action": "extend"}
    parsers = {int: _integer(about.below), float: float}
    return found | {"type": parsers.get(kind, _not_empty)}


def _value_type(kind: Any) -> Any:
    """The type without None: `int` for `int | None`."""
    kinds = [part for part in typing.get_args(kind) if part is not type(None)]
    return kinds[0] if isinstance(kind, types.UnionType) else kind


def _not_empty(value: str) -> str:
    if not value:  # for example from a shell variable that is not set
        raise argparse.ArgumentTypeError("expected a value, got an empty one")
    return value


def _integer(below: int) -> Callable[[str], int]:
    """A function that reads an integer whose absolute value is smaller than `below`."""

    def number(value: str) -> int:
        if abs(int(value)) >= below:
            raise argparse.ArgumentTypeError(f"expected a number below {below}, got {value}")
        return int(value)

    number.__name__ = "int"  # for the message of argparse: "invalid int value"
    return number


def _with_hyphens(word: str) -> str:
    """Spell an option with hyphens: `--data-path=x` for `--data_path=x`."""
    name, equals, value = word.partition("=")
    return name.replace("_", "-") + equals + value if name.startswith("--") else word


class _OneLineErrors(argparse.ArgumentParser):
    def print_help(self, file: Any = None) -> None:
        say(self.format_help().rstrip("\n"))  # argparse ignores a full disk

    def error(self, message: str) -> NoReturn:
        words = message.split(": ", 1)
        if words[0] == "unrecognized arguments":
            unknown = words[1].split()[0]
            options = [name for action in self._actions for name in action.option_strings]
            message = f"unknown argument {words[1]}{nearest(unknown, options)}"
        elif words[0].startswith("argument "):
            message = words[0].removeprefix("argument ").split("/")[0] + ": " + words[1]
        raise InputError(message)

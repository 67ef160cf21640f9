"""Options as fields of a dataclass. Command line, help and `config.json` are made from them."""

import dataclasses
from dataclasses import dataclass
from typing import Any

REQUIRED = dataclasses.MISSING


@dataclass(frozen=True)
class Option:
    """How a field appears on the command line; stored in its metadata under `"option"`.

    Attributes:
        group: title of the option's group in the help.
        help: one line, with other arguments in backquotes. The default is appended.
        metavar: placeholder for the value in the help.
        spellings: further names of the option, such as `"--inputsize"`.
        below: an integer must be less than `below` and more than `-below`.
        positional: the value is given without the option's name.
    """

    group: str
    help: str
    metavar: str | None = None
    spellings: tuple[str, ...] = ()
    below: int = 2**31
    positional: bool = False


def option(
    default: Any,
    group: str,
    help: str,
    metavar: str | None = None,
    *spellings: str,
    below: int = 2**31,
    positional: bool = False,
) -> Any:
    """A field of a dataclass of options.

    Args:
        default: `REQUIRED` if the user has to give a value.

    The other arguments are those of `Option`.

    >>> @dataclass(frozen=True)
    ... class Options:
    ...     epochs: int = option(100, "training", "number of epochs", "N", "--epoch")
    >>> Options().epochs
    100
    """
    about = Option(group, help, metavar, spellings, below, positional)
    return dataclasses.field(default=default, metadata={"option": about})

"""Options as fields of a dataclass: command line, help and `config.json` are made of them."""

import dataclasses
from dataclasses import dataclass
from typing import Any

REQUIRED = dataclasses.MISSING


@dataclass(frozen=True)
class Option:
    """What a field's metadata say of it under the key `"option"`.

    Attributes:
        group: title of its group in the help.
        help: one line, other arguments in backquotes; the default is added.
        metavar: stands for the value.
        spellings: others than that of the field's name, `"--inputsize"`.
        below: a whole number is smaller than that.
        positional: it has no name on the command line.
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
    """A field of a dataclass of options; see `Option`. `REQUIRED` as a default: there is none."""
    about = Option(group, help, metavar, spellings, below, positional)
    return dataclasses.field(default=default, metadata={"option": about})

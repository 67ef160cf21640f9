"""The command line that all commands share: spelling, help, defaults."""

import argparse
import sys

from polypseg.errors import InputError, nearest

from .run import program


class Parser:
    """Long options in kebab-case or with underscores; defaults in the help."""

    def __init__(self, description, defaults=None):
        self._parser = _OneLineErrors(
            prog=program(), description=description, allow_abbrev=False, add_help=False
        )
        self._defaults = defaults
        self._parser.add_argument("-h", "--help", action="help", help=argparse.SUPPRESS)

    def group(self, title):
        """A function that adds options under this title.

        It is `argparse`'s `add_argument` but for this: no value may be empty, or a whole number of
        `below` or more; an option that takes several values and is given twice has those of both.
        """
        group = self._parser.add_argument_group(title)

        def add(*names, help, below=2**31, **kwargs):
            default = getattr(self._defaults, names[0].strip("-").replace("-", "_"), None)
            if default is not None:
                help = f"{help} (default: {default})"
            if kwargs.get("type") is int:
                kwargs["type"] = _whole(below)
            elif "type" not in kwargs and "action" not in kwargs:
                kwargs["type"] = _text
            if kwargs.get("nargs") == "+":
                kwargs["action"] = "extend"
            group.add_argument(*names, default=argparse.SUPPRESS, help=help, **kwargs)

        return add

    def parse(self, arguments=None):
        """The options that were given, as a dict."""
        arguments = sys.argv[1:] if arguments is None else arguments
        return vars(self._parser.parse_args([_kebab(argument) for argument in arguments]))


def _text(value):
    if not value:  # of a variable of the shell that is not set
        raise argparse.ArgumentTypeError("expected a value, got an empty one")
    return value


def _whole(below):
    def number(value):
        if abs(int(value)) >= below:
            raise argparse.ArgumentTypeError(f"expected a number below {below}, got {value}")
        return int(value)

    number.__name__ = "int"  # what argparse calls the type of a value that is no number
    return number


def _kebab(argument):
    name, equals, value = argument.partition("=")
    return name.replace("_", "-") + equals + value if name.startswith("--") else argument


class _OneLineErrors(argparse.ArgumentParser):
    def error(self, message):
        words = message.split(": ", 1)
        if words[0] == "unrecognized arguments":
            unknown = words[1].split()[0]
            options = [name for action in self._actions for name in action.option_strings]
            message = f"unknown argument {words[1]}{nearest(unknown, options)}"
        elif words[0].startswith("argument "):
            message = words[0].removeprefix("argument ").split("/")[0] + ": " + words[1]
        raise InputError(message)

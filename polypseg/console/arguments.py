"""The command line that all scripts share: spelling, help, one-line errors."""

import argparse
import difflib
import os
import sys


class UserError(Exception):
    """A mistake of the user's: one line, that names the argument, what was expected and what came."""


def expect(condition, argument, expected, got=None):
    """Raise `UserError` unless the condition holds."""
    if not condition:
        raise UserError(f"{argument}: expected {expected}, got {'nothing' if got is None else got}")


def nearest(word, known):
    """`; did you mean 'x'?` or nothing."""
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""


def run(main):
    """Run a script's main function; a user's mistake becomes one line and exit code 2."""
    name = os.path.basename(sys.argv[0])
    try:
        main()
    except (UserError, ValueError, OSError) as error:
        if "\n" in str(error):  # not one of ours
            raise
        print(f"{name}: error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt as stop:
        print(f"{name}: stopped" + (f"; {stop}" if str(stop) else ""), file=sys.stderr)
        sys.exit(getattr(stop, "exit_code", 130))


class Parser:
    """Long options in kebab-case or with underscores; defaults in the help."""

    def __init__(self, name, description, defaults):
        self._parser = _OneLineErrors(prog=name, description=description, allow_abbrev=False, add_help=False)
        self._defaults = defaults
        self._options = {}
        self._parser.add_argument("-h", "--help", action="help", help=argparse.SUPPRESS)

    def group(self, title):
        """A function that adds options under this title."""
        group = self._parser.add_argument_group(title)

        def add(*names, help, **kwargs):
            default = getattr(self._defaults, names[0].strip("-").replace("-", "_"), None)
            if default is not None:
                help = f"{help} (default: {default})"
            group.add_argument(*names, default=argparse.SUPPRESS, help=help, **kwargs)

        return add

    def parse(self, arguments=None):
        """The options that were given, as a dict."""
        arguments = sys.argv[1:] if arguments is None else arguments
        return vars(self._parser.parse_args([_kebab(argument) for argument in arguments]))


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
        raise UserError(message)

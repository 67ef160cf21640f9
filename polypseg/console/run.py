"""Running a command: a user's mistake becomes one line and exit code 2."""

import os
import sys


def program():
    """How the command was called, for its messages: `train.py`, or `polypseg train`."""
    return os.path.basename(sys.argv[0])


def warn(text):
    """A line on stderr that begins with the command's name."""
    print(f"{program()}: {text}", file=sys.stderr)


def run(main):
    """Run a command's main function."""
    try:
        main()
    except (ValueError, OSError) as error:
        if "\n" in str(error):  # not one of ours
            raise
        warn(f"error: {error}")
        sys.exit(2)
    except KeyboardInterrupt as stop:
        warn("stopped" + (f"; {stop}" if str(stop) else ""))
        sys.exit(getattr(stop, "exit_code", 130))

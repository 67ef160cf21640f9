"""`polypseg COMMAND ...`, and `python -m polypseg COMMAND ...`."""

import importlib
import sys

from polypseg import __version__
from polypseg.console.run import run, say
from polypseg.errors import nearest, one_line

COMMANDS = {
    "prepare": "turn CT volumes, or a published archive, into images and masks",
    "train": "train a network on a folder of images and masks",
    "test": "score networks, or saved maps, against masks",
    "image": "segment images with a trained network",
    "video": "draw what a trained network finds on a video",
    "volume": "segment CT volumes with a trained network",
    "export": "write a trained network for other programs",
    "convert": "convert the authors' PyTorch checkpoints to Keras, and back",
}
USAGE = (
    "usage: polypseg COMMAND ...\n\n"
    + "".join(f"  {name:9}{what}\n" for name, what in COMMANDS.items())
    + """
polypseg COMMAND --help lists the options of a command.
"""
)


def main() -> None:
    """Run the command that the first argument gives."""
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name in ("-h", "--help"):
        run(lambda: say(USAGE.rstrip("\n")))
    elif name == "--version":
        run(lambda: say(f"polypseg {__version__}"))
    elif name in COMMANDS:
        sys.argv[:2] = [f"polypseg {name}"]
        run(importlib.import_module(f"polypseg.commands.{name}").main)
    else:
        unknown = one_line(f"unknown command {name}{nearest(name, COMMANDS)}")
        print(f"polypseg: error: {unknown}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()

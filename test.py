"""Score a network, or saved maps: `python test.py --help` lists the options."""

from polypseg.commands.test import main
from polypseg.console.run import run

if __name__ == "__main__":
    run(main)

"""Convert the authors' checkpoints: `python convert.py --help` lists the options."""

from polypseg.commands.convert import main
from polypseg.console.run import run

if __name__ == "__main__":
    run(main)

"""Write a trained network for other programs: `python export.py --help` lists the options."""

from polypseg.commands.export import main
from polypseg.console.run import run

if __name__ == "__main__":
    run(main)

"""Segment CT volumes with a trained network: `python infer_volume.py --help` lists the options."""

from polypseg.commands.volume import main
from polypseg.console.run import run

if __name__ == "__main__":
    run(main)

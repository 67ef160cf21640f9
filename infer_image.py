"""Segment images with a trained network: `python infer_image.py --help` lists the options."""

from polypseg.commands.image import main
from polypseg.console.run import run

if __name__ == "__main__":
    run(main)

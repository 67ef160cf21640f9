"""Train a segmentation network: `python train.py --help` lists the options."""

from polypseg.commands.train import main
from polypseg.console.run import run

if __name__ == "__main__":
    run(main)

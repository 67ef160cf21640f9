"""Make images and masks of CT volumes: `python prepare_data.py --help` lists the options."""

from polypseg.commands.prepare import main
from polypseg.console.run import run

if __name__ == "__main__":
    run(main)

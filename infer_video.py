"""Draw what a trained network finds on a video: `python infer_video.py --help` lists the
options.
"""

from polypseg.commands.video import main
from polypseg.console.run import run

if __name__ == "__main__":
    run(main)

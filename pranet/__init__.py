"""PraNet: parallel reverse attention network for polyp segmentation."""

import sys

# While `python -m pranet.convert` looks for its file, argv[0] is "-m": its --help need not wait for Keras.
if sys.argv[:1] != ["-m"]:
    from .model import PraNet

__all__ = ["PraNet"]

"""Segmentation losses: pure functions in `functional`, and one Keras class that calls them."""

from polypseg.losses.functional import border_weights
from polypseg.losses.losses import LOSSES, SegmentationLoss
from polypseg.runtime import alias

__all__ = ["LOSSES", "SegmentationLoss", "border_weights"]

if __name__ == "losses":
    alias(__name__, "losses")

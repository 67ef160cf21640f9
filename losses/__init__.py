"""Segmentation losses: pure functions in `functional`, one Keras class over them."""

from polypseg.losses.functional import border_weights
from polypseg.losses.losses import LOSSES, SegmentationLoss

__all__ = ["LOSSES", "SegmentationLoss", "border_weights"]

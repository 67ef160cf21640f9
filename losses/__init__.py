"""Segmentation losses: pure functions in `functional`, one Keras class over them."""

from .functional import border_weights
from .losses import LOSSES, SegmentationLoss

__all__ = ["LOSSES", "SegmentationLoss", "border_weights"]

"""Segmentation metrics: NumPy functions that score maps, and Keras metrics for `fit`.

The Keras metrics `MeanDice`, `MeanIoU` and `FalseAlarms` are imported when they are first used, so
that scoring saved maps does not import Keras.
"""

from polypseg.metrics.ground_truth import GroundTruth
from polypseg.metrics.image_scores import ImageScores
from polypseg.metrics.overlap import overlap
from polypseg.metrics.protocols import DataSetScores, score
from polypseg.metrics.saliency import e_measure, mae, s_measure, weighted_f
from polypseg.runtime import lazy

__all__ = [
    "DataSetScores",
    "FalseAlarms",
    "GroundTruth",
    "ImageScores",
    "MeanDice",
    "MeanIoU",
    "e_measure",
    "mae",
    "overlap",
    "s_measure",
    "score",
    "weighted_f",
]


__getattr__ = lazy(
    __name__,
    dict.fromkeys(("FalseAlarms", "MeanDice", "MeanIoU"), "polypseg.metrics.streaming"),
)

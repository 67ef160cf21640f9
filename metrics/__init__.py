"""Segmentation metrics: NumPy functions for finished maps, Keras metrics for `fit`.

`MeanDice` and `MeanIoU` are loaded on first use, so that scoring saved maps does not
wait for Keras.
"""

from polypseg.metrics.ground_truth import GroundTruth
from polypseg.metrics.overlap import overlap
from polypseg.metrics.protocols import DataSetScores, ImageScores, score
from polypseg.metrics.saliency import e_measure, mae, s_measure, weighted_f

__all__ = [
    "DataSetScores", "GroundTruth", "ImageScores", "MeanDice", "MeanIoU", "e_measure", "mae", "overlap", "s_measure",
    "score", "weighted_f",
]


def __getattr__(name):
    if name in ("MeanDice", "MeanIoU"):
        from polypseg.metrics import streaming

        return getattr(streaming, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

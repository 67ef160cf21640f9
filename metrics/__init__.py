"""Segmentation metrics: NumPy functions for finished maps, Keras metrics for `fit`.

`MeanDice` and `MeanIoU` are loaded on first use, so that scoring saved maps does not
wait for Keras.
"""

from .overlap import overlap

__all__ = ["MeanDice", "MeanIoU", "overlap"]


def __getattr__(name):
    if name in ("MeanDice", "MeanIoU"):
        from . import streaming

        return getattr(streaming, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

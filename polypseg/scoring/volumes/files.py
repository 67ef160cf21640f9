"""Truth and prediction of a patient, from files."""

from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from polypseg.data.volumes import check_same_grid, read_labels, read_probability
from polypseg.errors import InputError
from polypseg.metrics.sweep import LEVELS

from ..evaluation import Rules
from ..sources import Item


def foreground(map_: np.ndarray, threshold: float, name: str) -> NDArray[np.bool_]:
    """Where the probability is at least the threshold, in a map of floats or of grey levels.

    Raises `InputError` with the name for nan, which a damaged network gives.
    """
    if map_.dtype == np.uint8:
        threshold = float(np.searchsorted(LEVELS, threshold))
    elif np.isnan(map_).any():
        raise InputError(f"{name}: expected probabilities, got nan")
    found: NDArray[np.bool_] = map_ >= threshold
    return found


def read_pair(
    item: Item, rules: Rules, labels: set[int] | None = None
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], tuple[float, float, float]]:
    """Truth and prediction of a patient, `(X, Y, Z)` in RAS order, and the spacing in mm.

    Args:
        item: both files.
        rules: how they are scored.
        labels: the labels of the mask, but 0, are added to it.

    Raises:
        InputError: a file that cannot be read, or the two do not lie on each other.
    """
    mask = read_labels(item.mask, "masks")
    prediction = read_probability(cast(Path, item.map), "predictions")
    check_same_grid(mask, prediction, "predictions")
    found = prediction.array >= rules.threshold
    rule = rules.masks
    truth = np.isin(mask.array, rule.label) if rule.label else mask.array > 0
    if rule.ignore:
        counted = ~np.isin(mask.array, rule.ignore)
        truth, found = truth & counted, found & counted
    if labels is not None:
        for part in np.moveaxis(mask.array, 2, 0):  # `bincount` copies it into 64 bits
            labels.update((np.flatnonzero(np.bincount(part.ravel())[1:]) + 1).tolist())
    return truth, found, mask.spacing

"""Dice, IoU, precision and recall of one binary mask pair, in NumPy float64."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .ground_truth import as_binary

EMPTY = ("skip", "one", "zero")


def overlap(mask: ArrayLike, prediction: ArrayLike, empty: str = "one") -> dict[str, float]:
    """Overlap of one prediction with its ground truth.

    With tp, fp, fn the pixels found, found wrongly and missed:
    dice = 2 tp / (2 tp + fp + fn), iou = tp / (tp + fp + fn),
    precision = tp / (tp + fp), recall = tp / (tp + fn). A prediction without
    foreground of a mask that has some is a complete miss: its precision, 0/0, is 0.

    Args:
        mask, prediction: `(H, W)`, bool or values in {0, 1} of any dtype.
        empty: what all four numbers are where the mask has no foreground (and so the
            formulas say nothing about how wrong the prediction is): "skip": nan, to be
            left out of a mean; "one": 1 if the prediction is empty too, else 0;
            "zero": 0.

    Returns:
        dict of four floats in [0, 1] (or nan): dice, iou, precision, recall.

    Raises:
        ValueError: shapes that differ or are not 2-D, other values, an unknown `empty`.

    >>> overlap([[1, 1, 0]], [[0, 1, 0]])
    {'dice': 0.6666666666666666, 'iou': 0.5, 'precision': 1.0, 'recall': 0.5}
    """
    mask, prediction = as_binary(mask, "mask"), as_binary(prediction, "prediction")
    if mask.shape != prediction.shape:
        raise ValueError(
            f"expected mask and prediction of one shape, got mask={mask.shape}, "
            f"prediction={prediction.shape}"
        )
    hits, area = np.count_nonzero(mask & prediction), int(np.count_nonzero(mask))
    scores = overlap_of_counts(hits, np.count_nonzero(prediction), area, empty)
    return {name: float(score) for name, score in scores.items()}


def overlap_of_counts(
    hits: ArrayLike, predicted: ArrayLike, area: int, empty: str = "one"
) -> dict[str, NDArray[np.float64]]:
    """`overlap` from numbers of pixels: found rightly, found at all, and of the mask.

    `hits` and `predicted` may be arrays, the results are then arrays of their shape.
    """
    check_empty(empty)
    hits, predicted = np.asarray(hits, np.float64), np.asarray(predicted, np.float64)
    if area == 0:
        score = empty_score(empty, predicted == 0)
        return dict.fromkeys(("dice", "iou", "precision", "recall"), score)
    return {
        "dice": 2 * hits / (area + predicted),
        "iou": hits / (area + predicted - hits),
        "precision": hits / np.maximum(predicted, 1),
        "recall": hits / area,
    }


def empty_score(empty: str, nothing_found: ArrayLike) -> NDArray[np.float64]:
    """What an undefined score of an empty mask is; `nothing_found` is a bool or an array of
    them.
    """
    one = np.asarray(nothing_found, np.float64)
    return {"skip": np.full_like(one, np.nan), "one": one, "zero": np.zeros_like(one)}[empty]


def check_empty(empty: str) -> None:
    if empty not in EMPTY:
        raise ValueError(f"expected empty to be one of {', '.join(EMPTY)}, got empty={empty!r}")

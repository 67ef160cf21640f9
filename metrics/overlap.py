"""Dice, IoU, precision and recall of a binary prediction, in NumPy float64."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .ground_truth import as_binary

EMPTY = ("skip", "one", "zero")


def overlap(mask: ArrayLike, prediction: ArrayLike, empty: str = "one") -> dict[str, float]:
    """Overlap of one binary prediction with its mask.

    With tp, fp and fn the numbers of true positive, false positive and false negative pixels:
    dice = 2 tp / (2 tp + fp + fn), iou = tp / (tp + fp + fn), precision = tp / (tp + fp),
    recall = tp / (tp + fn). If the prediction is empty and the mask is not, the precision, which
    would be 0/0, is 0.

    Args:
        mask, prediction: `(H, W)`, bool or values in {0, 1} of any dtype.
        empty: the value of all four scores for a mask without foreground, for which they are not
            defined: `"skip"` gives nan, `"one"` gives 1 if the prediction is empty too, else 0,
            and `"zero"` gives 0.

    Returns:
        dict of four floats in [0, 1] (or nan): dice, iou, precision, recall.

    Raises:
        ValueError: shapes that differ or are not `(H, W)`, other values, an unknown `empty`.

    >>> overlap([[1, 1, 0]], [[0, 1, 0]])
    {'dice': 0.6666666666666666, 'iou': 0.5, 'precision': 1.0, 'recall': 0.5}
    """
    mask, prediction = as_binary(mask, "mask"), as_binary(prediction, "prediction")
    if mask.shape != prediction.shape:
        raise ValueError(
            f"expected mask and prediction of the same shape, got mask={mask.shape}, "
            f"prediction={prediction.shape}"
        )
    hits, area = np.count_nonzero(mask & prediction), int(np.count_nonzero(mask))
    scores = overlap_of_counts(hits, np.count_nonzero(prediction), area, empty)
    return {name: float(score) for name, score in scores.items()}


def overlap_of_counts(
    hits: ArrayLike, predicted: ArrayLike, area: int, empty: str = "one"
) -> dict[str, NDArray[np.float64]]:
    """Compute `overlap` from numbers of pixels.

    Args:
        hits: true positive pixels; a number or an array.
        predicted: foreground pixels of the prediction; a number or an array, like `hits`.
        area: foreground pixels of the mask.
        empty: as in `overlap`.

    Returns:
        dict of dice, iou, precision and recall, each of the shape of `hits`.

    Raises:
        ValueError: an unknown `empty`.
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
    """The value of a score that is not defined for an empty mask.

    Args:
        empty: as in `overlap`.
        nothing_found: whether the prediction is empty too; a bool or an array of bools.
    """
    one = np.asarray(nothing_found, np.float64)
    return {"skip": np.full_like(one, np.nan), "one": one, "zero": np.zeros_like(one)}[empty]


def check_empty(empty: str) -> None:
    """Raise ValueError unless `empty` is one of `EMPTY`."""
    if empty not in EMPTY:
        raise ValueError(f"expected empty to be one of {', '.join(EMPTY)}, got empty={empty!r}")

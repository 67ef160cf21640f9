"""Dice, IoU, precision and recall of one binary mask pair, in NumPy float64."""

import numpy as np

EMPTY = ("skip", "one", "zero")


def overlap(mask, prediction, empty="one"):
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
    if empty not in EMPTY:
        raise ValueError(f"expected empty to be one of {', '.join(EMPTY)}, got empty={empty!r}")
    mask, prediction = _binary(mask, "mask"), _binary(prediction, "prediction")
    if mask.shape != prediction.shape:
        raise ValueError(
            f"expected mask and prediction of one shape, got mask={mask.shape}, prediction={prediction.shape}"
        )
    tp = float(np.count_nonzero(mask & prediction))
    true, predicted = float(np.count_nonzero(mask)), float(np.count_nonzero(prediction))
    if true == 0:
        score = {"skip": float("nan"), "one": float(predicted == 0), "zero": 0.0}[empty]
        return dict.fromkeys(("dice", "iou", "precision", "recall"), score)
    return {
        "dice": 2 * tp / (true + predicted),
        "iou": tp / (true + predicted - tp),
        "precision": tp / predicted if predicted else 0.0,
        "recall": tp / true,
    }


def _binary(array, name):
    array = np.asarray(array)
    if array.ndim != 2:
        raise ValueError(f"expected {name} (H, W), got {name} of shape {array.shape}")
    if array.dtype == bool:
        return array
    if not np.isin(array, (0, 1)).all():
        raise ValueError(f"expected {name} in {{0, 1}}, got values {np.unique(array)[:5]}")
    return array == 1

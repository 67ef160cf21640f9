"""Scores at many thresholds, from one histogram of a map's grey levels."""

import numpy as np
from numpy.typing import NDArray

from .ground_truth import GroundTruth
from .overlap import overlap_of_counts
from .saliency import e_measure_of_counts

CURVES = ("dice", "iou", "e_measure", "sensitivity", "specificity")
LEVELS: NDArray[np.float64] = np.arange(256) / 255.0

# The thresholds of the authors' MATLAB code, 1:-1/255:0, in ascending order. The last bit of a
# float64 decides whether some levels reach their threshold. So levels and thresholds are computed
# as in that code.
PRANET_THRESHOLDS = np.array([1.0 - k * (1.0 / 255.0) for k in reversed(range(256))])


def to_levels(probability: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Round probabilities in [0, 1] to the nearest grey level, uint8, as in a saved PNG.

    A half is rounded up, so `level >= 128` has the same pixels as `probability >= 0.5`.

    >>> to_levels(np.array([0.0, 0.4999, 0.5, 1.0]))
    array([  0, 127, 128, 255], dtype=uint8)
    """
    scaled = np.multiply(probability, 255.0, dtype=np.float64)
    scaled += 0.5
    return scaled.astype(np.uint8)


def count_levels(truth: GroundTruth, levels: NDArray[np.uint8]) -> NDArray[np.intp]:
    """Count the pixels at each grey level.

    Args:
        truth: the mask.
        levels: `(H, W)` uint8.

    Returns:
        `(4, 2, 256)`: by quadrant of the mask, background or foreground, and level, without the
        pixels that are ignored.
    """
    keys = np.bitwise_or(levels, truth.mask.view(np.uint8).astype(np.uint16) << 8)
    if truth.counted is not None:
        keys[~truth.counted] = 512
    counts = [np.bincount(keys[part].ravel(), minlength=512)[:512] for part in truth.quadrants]
    return np.stack(counts).reshape(4, 2, 256)


def stretch(counts: NDArray[np.intp]) -> NDArray[np.float64]:
    """The values of the grey levels after the map is stretched to [0, 1]: (x - min) / (max - min).

    Args:
        counts: `(256,)`, number of pixels of the map at each level.

    Returns:
        `(256,)` float64; level / 255 for a constant map. Levels that do not occur in the map may
        have values outside [0, 1].
    """
    present = np.flatnonzero(counts)
    low, high = LEVELS[present[0]], LEVELS[present[-1]]
    return LEVELS if low == high else (LEVELS - low) / (high - low)


def sweep(
    counts: NDArray[np.intp],
    values: NDArray[np.float64],
    thresholds: NDArray[np.float64],
    empty: str = "one",
) -> dict[str, NDArray[np.float64]]:
    """Scores of the prediction `values >= threshold`, for each threshold.

    Args:
        counts: `(2, 256)`, number of pixels by background or foreground, and level.
        values: `(256,)`, the probability of each level, ascending.
        thresholds: `(T,)`.
        empty: the value of all scores but the E-measure for a mask without foreground, as in
            `overlap`.

    Returns:
        dict with the keys `CURVES`, each `(T,)` float64. Without true positives, dice, iou,
        sensitivity and specificity are 0, as in the authors' code. With true positives, specificity
        is nan for a full mask.
    """
    # Number of pixels at or above each level. The last column is 0, for a threshold above all
    # levels.
    above = np.zeros((2, 257))
    above[:, :256] = np.cumsum(counts[:, ::-1], axis=1)[:, ::-1]
    false_positives, hits = above[:, np.searchsorted(values, thresholds)]
    background, area = int(above[0, 0]), int(above[1, 0])
    predicted = hits + false_positives
    scores = overlap_of_counts(hits, predicted, area, empty)
    if area == 0:
        specificity = scores["recall"]
    elif background:
        specificity = np.where(hits > 0, (background - false_positives) / background, 0.0)
    else:
        specificity = np.where(hits > 0, np.nan, 0.0)
    return {
        "dice": scores["dice"],
        "iou": scores["iou"],
        "e_measure": e_measure_of_counts(hits, predicted, area, area + background),
        "sensitivity": scores["recall"],
        "specificity": specificity,
    }

"""Scores at 256 thresholds from one count of a map's grey levels."""

import numpy as np
from numpy.typing import NDArray

from .ground_truth import GroundTruth
from .overlap import overlap_of_counts
from .saliency import e_measure_of_counts

CURVES = ("dice", "iou", "e_measure", "sensitivity", "specificity")
LEVELS: NDArray[np.float64] = np.arange(256) / 255.0

# The authors' loop runs over 1:-1/255:0 and compares with grey / 255. Whether a level reaches "its"
# threshold hangs on the last bit of both, so both are computed as theirs are.
PRANET_THRESHOLDS: NDArray[np.float64] = (1.0 - np.arange(256, dtype=np.float64) * (1.0 / 255.0))[
    ::-1
]


def to_levels(probability: NDArray[np.floating]) -> NDArray[np.uint8]:
    """A map of floats in [0, 1] as grey levels, uint8, rounded to the nearest (a half up), as in a
    saved PNG.

    So `probability >= 0.5` and `level >= 128` are the same pixels.
    """
    return np.floor(probability * 255.0 + 0.5).astype(np.uint8)


def count_levels(truth: GroundTruth, levels: NDArray[np.uint8]) -> NDArray[np.intp]:
    """Pixels at each grey level: `(4, 2, 256)`, by quadrant of the `GroundTruth`, background and
    foreground.
    """
    keys = np.bitwise_or(levels, truth.mask.view(np.uint8).astype(np.uint16) << 8)
    return np.stack(
        [np.bincount(keys[part].ravel(), minlength=512) for part in truth.quadrants]
    ).reshape(4, 2, 256)


def stretch(counts: NDArray[np.intp]) -> NDArray[np.float64]:
    """The value in [0, 1] that each level has after the map's own smallest became 0 and its largest
    1.

    Args:
        counts: `(256,)`, pixels at each level. A map of one level stays as it is.
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
    """Scores of `values >= threshold` for each threshold.

    Args:
        counts: `(2, 256)`, pixels of background and foreground at each level.
        values: `(256,)`, increasing: what each level stands for.
        thresholds: `(T,)`.
        empty: what scores other than E are for a mask without foreground: as in `overlap`.

    Returns:
        dict of the `CURVES`, each `(T,)` float64. Where nothing of the mask is found, dice, iou,
        sensitivity and specificity are 0; specificity is nan for a full mask.
    """
    # Pixels at or above each level, and 0 for a threshold above all of them.
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

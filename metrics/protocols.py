"""The two protocols: all numbers of one image, and their means over a data set."""

from dataclasses import dataclass

import numpy as np

from . import sweep
from .overlap import check_empty, empty_score, overlap_of_counts
from .saliency import (
    as_truth,
    check_shapes,
    e_measure_of_counts,
    mae_of_map,
    pair,
    s_measure_of_counts,
    s_measure_of_map,
    weighted_f_of_map,
    weighted_f_of_sums,
)
from .sweep import CURVES

THRESHOLD = ("dice", "iou", "wfb", "s_measure", "e_measure", "mae", "precision", "recall")
PRANET = (
    "mean_dice",
    "max_dice",
    "mean_iou",
    "max_iou",
    "wfb",
    "s_measure",
    "mean_e_measure",
    "max_e_measure",
    "mae",
    "mean_sensitivity",
    "mean_specificity",
)


@dataclass
class ImageScores:
    """The numbers of one image.

    Attributes:
        threshold, pranet: dicts with the keys `THRESHOLD` and `PRANET`; nan where a number is undefined.
        threshold_curves, pranet_curves: dicts with the keys `CURVES`, each `(256,)`, over the thresholds
            0, 1/255, ..., 1 of the map as it is and of the map stretched to [0, 1].
        area: share of the image that is foreground in the mask.
        size: of the image, (height, width).
    """

    threshold: dict
    pranet: dict
    threshold_curves: dict
    pranet_curves: dict
    area: float
    size: tuple


def score(mask, prediction, threshold=0.5, empty="one"):
    """All numbers of one image, under both protocols.

    `threshold`: the map as it is, cut at `threshold` (foreground where probability >= threshold) for Dice,
    IoU, precision, recall and E-measure; S-measure, weighted F and MAE take the map.

    `pranet`, as the authors of PraNet evaluate: the map in 256 levels (floats are rounded to them, as in a
    saved picture), stretched to [0, 1] unless it is constant, cut at 1, 1 - 1/255, ..., 0. Where a cut
    finds nothing of the mask, Dice, IoU, sensitivity and specificity are 0.

    Args:
        mask: `(H, W)` in {0, 1}, or its `GroundTruth`.
        prediction: `(H, W)`: uint8 grey levels, which stand for level / 255; floats in [0, 1]; or bool.
        threshold: from 0 to 1.
        empty: what an empty mask scores in Dice, IoU, precision, recall (sensitivity), specificity and
            weighted F: "skip": nan; "one": 1 if nothing is found, else 0; "zero": 0. S-measure, E-measure
            and MAE are defined for it and stay.

    Returns:
        `ImageScores`.

    Raises:
        ValueError: shapes that differ, a map with nan or outside [0, 1], other values in the mask, an
            unknown `empty`, a threshold outside [0, 1].

    >>> score([[1, 1, 0]], np.uint8([[0, 200, 20]])).threshold["dice"]
    0.6666666666666666
    """
    check_empty(empty)
    if not 0 <= threshold <= 1:
        raise ValueError(f"expected a threshold from 0 to 1, got threshold={threshold}")
    truth, prediction = as_truth(mask), np.asarray(prediction)
    check_shapes(truth, prediction)
    grey = prediction.dtype == np.uint8
    if grey:
        levels = prediction
    else:
        truth, probability = pair(truth, prediction)
        levels = sweep.to_levels(probability)
    counts = sweep.count_levels(truth, levels)
    both = counts.sum(axis=0)
    of_levels = _map_scores(truth, levels, counts)

    if grey:
        false, hits = both[:, sweep.LEVELS >= threshold].sum(axis=1)
        own = of_levels(sweep.LEVELS)
    else:
        cut = prediction >= threshold
        hits = np.count_nonzero(cut & truth.mask)
        false = np.count_nonzero(cut) - hits
        own = {
            "wfb": weighted_f_of_map(truth, probability) if truth.area else np.nan,
            "s_measure": s_measure_of_map(truth, probability),
            "mae": mae_of_map(truth, probability),
        }
    own |= overlap_of_counts(hits, hits + false, truth.area, empty)
    own["e_measure"] = e_measure_of_counts(hits, hits + false, truth.area, truth.pixels)

    stretched = sweep.stretch(both.sum(axis=0))
    curves = sweep.sweep(both, stretched, sweep.PRANET_THRESHOLDS, empty)
    pranet = of_levels(stretched)
    for name in ("dice", "iou", "e_measure"):
        pranet[f"mean_{name}"], pranet[f"max_{name}"] = curves[name].mean(), curves[name].max()
    for name in ("sensitivity", "specificity"):
        pranet[f"mean_{name}"] = curves[name].mean()

    if not truth.area:
        own["wfb"] = empty_score(empty, hits + false == 0)
        pranet["wfb"] = empty_score(empty, not both[:, stretched > 0].any())
    return ImageScores(
        {name: float(own[name]) for name in THRESHOLD},
        {name: float(pranet[name]) for name in PRANET},
        sweep.sweep(both, sweep.LEVELS, sweep.LEVELS, empty),
        curves,
        truth.area / truth.pixels,
        truth.mask.shape,
    )


def _map_scores(truth, levels, counts):
    """A function from what each of 256 levels stands for to weighted F, S-measure and MAE of the map."""
    background, foreground = counts.sum(axis=0)
    if truth.area:
        false = np.bincount(levels.ravel(), truth.weights.ravel(), minlength=256)
        near = levels[truth.window]

    def scores(values):
        error = float(background @ values + foreground @ (1.0 - values)) / truth.pixels
        return {
            "wfb": weighted_f_of_sums(truth, float(false @ values), values.take(near))
            if truth.area
            else np.nan,
            "s_measure": (
                s_measure_of_counts(truth, counts, values)
                if 0 < truth.area < truth.pixels
                else 1.0 - error
            ),
            "mae": error,
        }

    return scores


class DataSetScores:
    """Means over images, taken in one at a time.

    >>> scores = DataSetScores()
    >>> scores.add(score([[1, 0]], [[0.9, 0.2]]))
    >>> scores.result()["n"], scores.result()["threshold"]["dice"]
    (1, 1.0)
    """

    def __init__(self):
        self.n = 0
        self._sums = {}

    def add(self, image):
        """Take in the `ImageScores` of one more image. What is nan in it is left out of that mean."""
        self.n += 1
        for part in ("threshold", "pranet", "threshold_curves", "pranet_curves"):
            for name, value in getattr(image, part).items():
                total, count = self._sums.get((part, name), (0.0, 0))
                defined = ~np.isnan(value)
                self._sums[part, name] = total + np.where(defined, value, 0.0), count + defined

    def curves(self, protocol):
        """The curves of `ImageScores`, `protocol` "threshold" or "pranet", averaged over the images."""
        return {name: self._mean(f"{protocol}_curves", name) for name in CURVES}

    def result(self):
        """`{"n": images, "threshold": {...}, "pranet": {...}}`; nan where no image defines a number.

        Of the `pranet` protocol's numbers each max is that of the mean curve, as the authors have it, and
        so at most the mean of the images' own.

        Raises ValueError if there are no images.
        """
        if not self.n:
            raise ValueError("expected at least one image, got n=0")
        pranet = {name: float(self._mean("pranet", name)) for name in PRANET}
        curves = self.curves("pranet")
        pranet |= {
            f"max_{name}": float(curves[name].max()) for name in ("dice", "iou", "e_measure")
        }
        threshold = {name: float(self._mean("threshold", name)) for name in THRESHOLD}
        return {"n": self.n, "threshold": threshold, "pranet": pranet}

    def _mean(self, part, name):
        total, count = self._sums[part, name]
        return np.where(count > 0, total / np.maximum(count, 1), np.nan)

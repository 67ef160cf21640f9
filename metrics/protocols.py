"""The two protocols: all scores of one image, and their means over a data set."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import sweep
from .ground_truth import GroundTruth
from .overlap import check_empty
from .saliency import as_ground_truth, check_pair, check_shapes
from .sweep import CURVES
from .table import METRICS
from .views import MapLevels, PranetView, ThresholdView


@dataclass
class ImageScores:
    """The scores of one image.

    Attributes:
        threshold, pranet: the scores of each protocol, with the keys of `METRICS`; nan where a
            score is not defined.
        threshold_curves: scores of the map at the thresholds 0, 1/255, ..., 1, with the keys
            `CURVES`, each `(256,)`.
        pranet_curves: the same scores of the map that is stretched to [0, 1].
        area: share of the mask that is foreground, in [0, 1].
        size: height and width of the image in pixels.
    """

    threshold: dict[str, float]
    pranet: dict[str, float]
    threshold_curves: dict[str, NDArray[np.float64]]
    pranet_curves: dict[str, NDArray[np.float64]]
    area: float
    size: tuple[int, int]


def score(
    mask: ArrayLike | GroundTruth,
    prediction: ArrayLike,
    threshold: float = 0.5,
    empty: str = "one",
) -> ImageScores:
    """All scores of one image, under both protocols.

    The protocol `threshold` scores the map as it is. Dice, IoU, precision, recall and E-measure are
    computed from the thresholded map (foreground is probability >= `threshold`). S-measure,
    weighted F and MAE are computed from the probabilities.

    The protocol `pranet` is the evaluation of PraNet's authors. The map has 256 grey levels; floats
    are rounded to them, as in a saved PNG. The map is stretched to [0, 1], unless it is constant,
    and thresholded at 1, 1 - 1/255, ..., 0. Without true positives, Dice, IoU, sensitivity and
    specificity are 0.

    `docs/metrics.md` lists the formulas and papers.

    Args:
        mask: `(H, W)` in {0, 1}, or its `GroundTruth`.
        prediction: `(H, W)`: uint8 grey levels (the probability is level / 255), floats in
            [0, 1], or bool.
        threshold: in [0, 1].
        empty: the value of Dice, IoU, precision, recall (sensitivity), specificity and weighted F
            for a mask without foreground: `"skip"` gives nan, `"one"` gives 1 if nothing is found,
            else 0, and `"zero"` gives 0. S-measure, E-measure and MAE are defined for such a mask.

    Returns:
        `ImageScores`.

    Raises:
        ValueError: shapes that differ, a map with nan or with values outside [0, 1], a mask with
            other values than 0 and 1, an unknown `empty`, a threshold outside [0, 1].

    >>> score([[1, 1, 0]], np.uint8([[0, 200, 20]])).threshold["dice"]
    0.6666666666666666
    """
    check_empty(empty)
    if not 0 <= threshold <= 1:
        raise ValueError(f"expected a threshold from 0 to 1, got threshold={threshold}")
    truth, prediction = as_ground_truth(mask), np.asarray(prediction)
    check_shapes(truth, prediction)
    if prediction.dtype == np.uint8:
        probability, levels = None, prediction
    else:
        truth, probability = check_pair(truth, prediction)
        levels = sweep.to_levels(probability)
    map_levels = MapLevels(truth, levels)
    stretched = PranetView(truth, map_levels, empty)
    views = {
        "threshold": ThresholdView(truth, prediction, probability, map_levels, threshold, empty),
        "pranet": stretched,
    }
    numbers = {
        protocol: {metric.key: float(metric.function(views[protocol])) for metric in metrics}
        for protocol, metrics in METRICS.items()
    }
    return ImageScores(
        numbers["threshold"],
        numbers["pranet"],
        sweep.sweep(map_levels.counts, sweep.LEVELS, sweep.LEVELS, empty),
        stretched.curves,
        truth.area / truth.pixels,
        truth.mask.shape,
    )


class DataSetScores:
    """Means over the images of a data set, used like a `keras.metrics.Metric`.

    Attributes:
        n: number of images so far.

    >>> scores = DataSetScores()
    >>> scores.update_state(score([[1, 0]], [[0.9, 0.2]]))
    >>> scores.update_state(score([[1, 0]], [[0.2, 0.2]]))
    >>> scores.result()["n"], scores.result()["threshold"]["dice"]
    (2, 0.5)
    >>> scores.reset_state()
    >>> scores.n
    0
    """

    def __init__(self) -> None:
        self.reset_state()

    def reset_state(self) -> None:
        """Forget all images."""
        self.n = 0
        self._sums: dict[tuple[str, str], tuple[NDArray[np.float64], NDArray[np.intp]]] = {}

    def update_state(self, scores: ImageScores) -> None:
        """Add one image.

        Args:
            scores: what `score` returns for the image. A score that is nan is left out of the
                mean of this score. The other scores of the image count.
        """
        self.n += 1
        for part in ("threshold", "pranet", "threshold_curves", "pranet_curves"):
            for name, value in getattr(scores, part).items():
                total, count = self._sums.get((part, name), (0.0, 0))
                defined = ~np.isnan(value)
                self._sums[part, name] = total + np.where(defined, value, 0.0), count + defined

    add = update_state  # the name that the documentation used before version 0.2

    def curves(self, protocol: str) -> dict[str, NDArray[np.float64]]:
        """The curves of `ImageScores` averaged over the images.

        Args:
            protocol: `"threshold"` or `"pranet"`.

        Returns:
            dict with the keys `CURVES`, each `(256,)`.
        """
        return {name: self._mean(f"{protocol}_curves", name) for name in CURVES}

    def result(self) -> dict[str, Any]:
        """The means over the images.

        Under the `pranet` protocol, `max_dice`, `max_iou` and `max_e_measure` are the maxima of the
        mean curves, as in the authors' code. They are never larger than the mean of the maxima of
        the images.

        Returns:
            `{"n": number of images, "threshold": {...}, "pranet": {...}}` with the keys of
            `METRICS`; nan for a score that is not defined for any image.

        Raises:
            ValueError: no images.
        """
        if not self.n:
            raise ValueError("expected at least one image, got n=0")
        result: dict[str, Any] = {"n": self.n}
        for protocol, metrics in METRICS.items():
            curves = self.curves(protocol)
            result[protocol] = {
                metric.key: float(
                    curves[metric.max_of_curve].max()
                    if metric.max_of_curve
                    else self._mean(protocol, metric.key)
                )
                for metric in metrics
            }
        return result

    def _mean(self, part: str, name: str) -> NDArray[np.float64]:
        total, count = self._sums[part, name]
        return np.where(count > 0, total / np.maximum(count, 1), np.nan)

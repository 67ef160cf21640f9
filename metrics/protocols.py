"""The two protocols: all scores of one image, and their means over a data set."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import sweep
from .ground_truth import GroundTruth
from .image_scores import ImageScores
from .means import Layout
from .overlap import check_empty
from .saliency import as_ground_truth, check_pair, check_shapes
from .sweep import CURVES
from .table import METRICS
from .views import MapLevels, PranetView, ThresholdView


def score(
    mask: ArrayLike | GroundTruth,
    prediction: ArrayLike,
    threshold: float = 0.5,
    empty: str = "one",
    lesion_iou: float = 0.1,
    lesion_pixels: int = 10,
    boundary: float | None = None,
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
        lesion_iou, lesion_pixels: a lesion is found if its IoU with a predicted component is above
            the first; smaller components of the mask than the second are no lesions. See
            `lesions.count_lesions`.
        boundary: tolerance in pixels of the surface Dice; with it, HD95 and surface Dice are scored
            too, see `boundary.boundary_scores`.

    Returns:
        `ImageScores`.

    Raises:
        InputError: with `boundary`, the package surface-distance is not installed.
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
    as_it_is = ThresholdView(
        truth,
        prediction,
        probability,
        map_levels,
        threshold,
        empty,
        lesion_iou,
        lesion_pixels,
        boundary,
    )
    views: dict[str, Any] = {"threshold": as_it_is, "pranet": stretched, "lesions": as_it_is}
    given = {"boundary"} if boundary is not None else set()
    metrics = {
        protocol: [metric for metric in of_protocol if not metric.needs or metric.needs in given]
        for protocol, of_protocol in METRICS.items()
    }
    numbers = {
        protocol: {metric.key: float(metric.function(views[protocol])) for metric in of_protocol}
        for protocol, of_protocol in metrics.items()
    }
    arrays = {
        protocol: {
            metric.key: metric.array(views[protocol]) for metric in of_protocol if metric.array
        }
        for protocol, of_protocol in metrics.items()
    }
    return ImageScores(
        numbers["threshold"],
        numbers["pranet"],
        numbers["lesions"],
        sweep.sweep(map_levels.counts, sweep.LEVELS, sweep.LEVELS, empty),
        stretched.curves,
        arrays,
        as_it_is.lesions,
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
        self._layout: Layout | None = None
        self._means = _Means()
        self._curves = {protocol: _Means() for protocol in ("threshold", "pranet")}

    def update_state(self, scores: ImageScores) -> None:
        """Add one image.

        Args:
            scores: what `score` returns for the image. A score that is nan is left out of the
                mean of this score. The other scores of the image count.
        """
        self.n += 1
        self._layout = self._layout or Layout(scores)
        self._means.add(self._layout.row(scores))
        for protocol, means in self._curves.items():
            curves = getattr(scores, f"{protocol}_curves")
            means.add(np.stack([curves[name] for name in CURVES]))

    add = update_state  # the name that the documentation used before version 0.2

    def curves(self, protocol: str) -> dict[str, NDArray[np.float64]]:
        """The curves of `ImageScores` averaged over the images.

        Args:
            protocol: `"threshold"` or `"pranet"`.

        Returns:
            dict with the keys `CURVES`, each `(256,)`.
        """
        return dict(zip(CURVES, self._curves[protocol].result()))

    def result(self) -> dict[str, Any]:
        """The means over the images.

        Under the `pranet` protocol, `max_dice`, `max_iou` and `max_e_measure` are the maxima of the
        mean curves, as in the authors' code. They are never larger than the mean of the maxima of
        the images. The shares of lesions are shares of all lesions, and the calibration error is
        that of all pixels.

        Returns:
            `{"n": number of images, "threshold": {...}, "pranet": {...}, "lesions": {...}}` with
            the keys of `METRICS`; nan for a score that is not defined for any image.

        Raises:
            ValueError: no images.
        """
        if self._layout is None:
            raise ValueError("expected at least one image, got n=0")
        values = self._layout.values(self._means.result())
        return {"n": self.n} | {
            protocol: {key: float(value) for key, value in of_protocol.items()}
            for protocol, of_protocol in values.items()
        }


class _Means:
    """Means of arrays of one shape, element by element, over those that are not nan."""

    def __init__(self) -> None:
        self._total: Any = 0.0
        self._count: Any = 0

    def add(self, array: NDArray[np.float64]) -> None:
        defined = ~np.isnan(array)
        self._total = self._total + np.where(defined, array, 0.0)
        self._count = self._count + defined

    def result(self) -> NDArray[np.float64]:
        return np.where(self._count > 0, self._total / np.maximum(self._count, 1), np.nan)

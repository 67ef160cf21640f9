"""A map and its mask, prepared for the score functions in `metrics/table.py`, for each protocol.

Intermediate results that several scores need are computed once.
"""

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from . import sweep
from .ground_truth import GroundTruth
from .overlap import empty_score, overlap_of_counts
from .saliency import (
    e_measure_of_counts,
    mae_of_map,
    s_measure_of_counts,
    s_measure_of_map,
    weighted_f_of_map,
    weighted_f_of_sums,
)


class MapLevels:
    """A map of 256 grey levels and its histogram, which both protocols use.

    Args:
        truth: the mask, of the same shape.
        levels: `(H, W)` uint8.
    """

    def __init__(self, truth: GroundTruth, levels: NDArray[np.uint8]):
        self.truth, self.levels = truth, levels
        self.by_quadrant = sweep.count_levels(truth, levels)  # (4, 2, 256)
        self.counts = self.by_quadrant.sum(axis=0)  # (2, 256): background, foreground

    @cached_property
    def _weight_by_level(self) -> NDArray[np.float64]:
        weights = np.bincount(self.levels.ravel(), self.truth.weights.ravel(), minlength=256)
        return weights.astype(np.float64, copy=False)

    def weighted_f(self, values: NDArray[np.float64]) -> float:
        """Weighted F if level i means the probability `values[i]`; nan for an empty mask."""
        if not self.truth.area:
            return np.nan
        in_box = values.take(self.levels[self.truth.box])
        return weighted_f_of_sums(self.truth, float(self._weight_by_level @ values), in_box)

    def s_measure(self, values: NDArray[np.float64]) -> float:
        """S-measure, with `values` as in `weighted_f`."""
        if 0 < self.truth.area < self.truth.pixels:
            return s_measure_of_counts(self.truth, self.by_quadrant, values)
        return 1.0 - self.mae(values)

    def mae(self, values: NDArray[np.float64]) -> float:
        """Mean absolute error, with `values` as in `weighted_f`."""
        background, foreground = self.counts
        return float(background @ values + foreground @ (1.0 - values)) / self.truth.pixels


class ThresholdView:
    """A map under the protocol `threshold`: as it is, and thresholded.

    Args:
        truth: the mask.
        prediction: `(H, W)`, the map as it was given to `score`.
        probability: the same map as float64, or None if the map has grey levels.
        map_levels: the same map in grey levels.
        threshold: a pixel is foreground if its probability is at least this.
        empty: as in `score`.

    Attributes:
        truth, empty: as given.
        hits: number of true positive pixels.
        predicted: number of foreground pixels of the prediction.
    """

    def __init__(
        self,
        truth: GroundTruth,
        prediction: np.ndarray,
        probability: NDArray[np.float64] | None,
        map_levels: MapLevels,
        threshold: float,
        empty: str,
    ):
        self.truth, self.empty, self._threshold = truth, empty, threshold
        self._prediction, self._levels = prediction, map_levels
        self._is_grey = probability is None
        if probability is None:
            false_positives, self.hits = map_levels.counts[:, sweep.LEVELS >= threshold].sum(axis=1)
            self.predicted = self.hits + false_positives
        else:
            self.probability = probability  # replaces the cached property
            self.hits = np.count_nonzero(self.mask & truth.mask)
            self.predicted = np.count_nonzero(truth.of_counted(self.mask))

    @cached_property
    def probability(self) -> NDArray[np.float64]:
        """`(H, W)` float64 in [0, 1]."""
        return sweep.LEVELS.take(self._prediction)

    @cached_property
    def mask(self) -> NDArray[np.bool_]:
        """`(H, W)` bool: the predicted foreground."""
        return (self.probability if self._is_grey else self._prediction) >= self._threshold

    @cached_property
    def overlap(self) -> dict[str, NDArray[np.float64]]:
        """dice, iou, precision, recall."""
        return overlap_of_counts(self.hits, self.predicted, self.truth.area, self.empty)

    @property
    def e_measure(self) -> float:
        counts = self.hits, self.predicted, self.truth.area, self.truth.pixels
        return float(e_measure_of_counts(*counts))

    @property
    def weighted_f(self) -> float:
        if not self.truth.area:
            return float(empty_score(self.empty, self.predicted == 0))
        if self._is_grey:
            return self._levels.weighted_f(sweep.LEVELS)
        return weighted_f_of_map(self.truth, self.probability)

    @property
    def s_measure(self) -> float:
        if self._is_grey:
            return self._levels.s_measure(sweep.LEVELS)
        return s_measure_of_map(self.truth, self.probability)

    @property
    def mae(self) -> float:
        if self._is_grey:
            return self._levels.mae(sweep.LEVELS)
        return mae_of_map(self.truth, self.probability)


class PranetView:
    """A map under the protocol `pranet`: stretched to [0, 1], at 256 thresholds.

    Args:
        truth: the mask.
        map_levels: the map in grey levels.
        empty: as in `score`.

    Attributes:
        truth, empty: as given.
        values: `(256,)`, the value of each grey level after stretching.
        curves: dict with the keys `sweep.CURVES`, each `(256,)`.
    """

    def __init__(self, truth: GroundTruth, map_levels: MapLevels, empty: str):
        self.truth, self.empty, self._levels = truth, empty, map_levels
        counts = map_levels.counts
        self.values = sweep.stretch(counts.sum(axis=0))
        self.curves = sweep.sweep(counts, self.values, sweep.PRANET_THRESHOLDS, empty)

    @cached_property
    def probability(self) -> NDArray[np.float64]:
        """The stretched map, `(H, W)` float64 in [0, 1]."""
        return self.values.take(self._levels.levels)

    @property
    def weighted_f(self) -> float:
        if not self.truth.area:
            nothing_found = not self._levels.counts[:, self.values > 0].any()
            return float(empty_score(self.empty, nothing_found))
        return self._levels.weighted_f(self.values)

    @property
    def s_measure(self) -> float:
        return self._levels.s_measure(self.values)

    @property
    def mae(self) -> float:
        return self._levels.mae(self.values)

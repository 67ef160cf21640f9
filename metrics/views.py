"""A map and its mask, prepared for the score functions in `metrics/table.py`, for each protocol.

Intermediate results that several scores need are computed once.
"""

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from . import sweep
from .boundary import BoundaryScores, boundary_scores
from .calibration import calibration_counts
from .ground_truth import GroundTruth
from .lesions import LesionCounts, count_lesions, largest_component
from .overlap import empty_score, overlap_of_counts
from .saliency import (
    FloatMap,
    e_measure_of_counts,
    weighted_f_of_sums,
)
from .structure import cells_of_counts, s_measure_of_cells


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
    def _weighted(self) -> tuple[int, int, float]:
        """The smallest level, the largest, and the sum of level - smallest level, times
        `truth.weights`.
        """
        present = np.flatnonzero(self.counts.sum(axis=0))
        low, high = int(present[0]), int(present[-1])
        # Ignored pixels may be below the smallest level, but their weight is 0.
        total = float(np.einsum("ij,ij", self.levels - np.uint8(low), self.truth.weights))
        return low, high, total

    def weighted_f(self, values: NDArray[np.float64]) -> float:
        """Weighted F if level i means the probability `values[i]`, at equal steps; nan for an empty
        mask.
        """
        if not self.truth.area:
            return np.nan
        low, high, total = self._weighted
        step = (values[high] - values[low]) / max(high - low, 1)
        false_positives = values[low] * self.truth.weight + step * total
        return weighted_f_of_sums(
            self.truth, float(false_positives), values.take(self.levels[self.truth.box])
        )

    def s_measure(self, values: NDArray[np.float64]) -> float:
        """S-measure, with `values` as in `weighted_f`."""
        if 0 < self.truth.area < self.truth.pixels:
            return s_measure_of_cells(self.truth, cells_of_counts(self.by_quadrant, values))
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
        probability: the same map as `check_pair` returns it, or None if the map has grey levels.
        map_levels: the same map in grey levels.
        threshold: a pixel is foreground if its probability is at least this.
        empty, lesion_iou, lesion_pixels, boundary: as in `score`.

    Attributes:
        truth, empty: as given.
        hits: number of true positive pixels.
        predicted: number of foreground pixels of the prediction.
    """

    def __init__(
        self,
        truth: GroundTruth,
        prediction: np.ndarray,
        probability: NDArray[np.floating] | None,
        map_levels: MapLevels,
        threshold: float,
        empty: str,
        lesion_iou: float = 0.1,
        lesion_pixels: int = 10,
        boundary: float | None = None,
    ):
        self.truth, self.empty, self._threshold = truth, empty, threshold
        self._lesion_rule, self._tolerance = (lesion_iou, lesion_pixels), boundary
        self._prediction, self._levels = prediction, map_levels
        self._floats = None if probability is None else FloatMap(truth, probability)
        if probability is None:
            false_positives, self.hits = map_levels.counts[:, sweep.LEVELS >= threshold].sum(axis=1)
            self.predicted = self.hits + false_positives
        else:
            self.hits = np.count_nonzero(self.mask & truth.mask)
            self.predicted = np.count_nonzero(truth.of_counted(self.mask))

    @cached_property
    def probability(self) -> NDArray[np.float64]:
        """`(H, W)` float64 in [0, 1]."""
        if self._floats is None:
            return sweep.LEVELS.take(self._prediction)
        return self._prediction.astype(np.float64)

    @cached_property
    def mask(self) -> NDArray[np.bool_]:
        """`(H, W)` bool: the predicted foreground."""
        if self._floats is None:
            return self._levels.levels >= np.searchsorted(sweep.LEVELS, self._threshold)
        return self._prediction >= self._threshold

    @cached_property
    def overlap(self) -> dict[str, NDArray[np.float64]]:
        """dice, iou, precision, recall."""
        return overlap_of_counts(self.hits, self.predicted, self.truth.area, self.empty)

    @cached_property
    def lesions(self) -> LesionCounts:
        """Connected components of mask and prediction."""
        return count_lesions(self.truth, self.mask, *self._lesion_rule)

    @property
    def largest_share(self) -> float:
        """The share of the pixels that the largest component of the prediction covers."""
        return largest_component(self.truth, self.mask) / self.truth.pixels

    @cached_property
    def boundary(self) -> BoundaryScores:
        """HD95 and surface Dice. Raises `InputError` if surface-distance is not installed."""
        return boundary_scores(self.truth, self.mask, self._tolerance or 0.0, self.empty)

    @cached_property
    def calibration(self) -> NDArray[np.float64]:
        """`(3, 15)`, the sums of `calibration_counts`, of the map in 256 grey levels."""
        return calibration_counts(self._levels.counts)

    @property
    def e_measure(self) -> float:
        counts = self.hits, self.predicted, self.truth.area, self.truth.pixels
        return float(e_measure_of_counts(*counts))

    @property
    def weighted_f(self) -> float:
        if not self.truth.area:
            return float(empty_score(self.empty, self.predicted == 0))
        if self._floats is None:
            return self._levels.weighted_f(sweep.LEVELS)
        return self._floats.weighted_f

    @property
    def s_measure(self) -> float:
        if self._floats is None:
            return self._levels.s_measure(sweep.LEVELS)
        return self._floats.s_measure

    @property
    def mae(self) -> float:
        if self._floats is None:
            return self._levels.mae(sweep.LEVELS)
        return self._floats.mae


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

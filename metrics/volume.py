"""The scores of one volume: how papers on organs in CT score a patient."""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from .boundary import BoundaryScores, surface_scores
from .overlap import check_empty, overlap_of_counts
from .table import VOLUME_METRICS


@dataclass
class VolumeScores:
    """The scores of one volume.

    Attributes:
        volume: the scores, with the keys of `table.VOLUME_METRICS`; nan where a score is not
            defined.
        truth_ml, predicted_ml: volume of the foreground, in millilitres.
    """

    volume: dict[str, float]
    truth_ml: float
    predicted_ml: float


class VolumeView:
    """Truth and prediction of one volume, for the score functions in `metrics/table.py`.

    Args:
        truth, prediction, spacing, tolerance, empty: as in `volume_scores`.

    Attributes:
        truth_ml, predicted_ml: volume of the foreground, in millilitres.
    """

    def __init__(
        self,
        truth: NDArray[np.bool_],
        prediction: NDArray[np.bool_],
        spacing: tuple[float, float, float],
        tolerance: float | None = None,
        empty: str = "one",
    ) -> None:
        self._truth, self._prediction = truth, prediction
        self._spacing, self._tolerance, self._empty = spacing, tolerance, empty
        self._area, self._predicted = map(int, map(np.count_nonzero, (truth, prediction)))
        voxel_ml = math.prod(spacing) / 1000  # 1 ml is 1000 mm3
        self.truth_ml, self.predicted_ml = self._area * voxel_ml, self._predicted * voxel_ml

    @cached_property
    def overlap(self) -> dict[str, NDArray[np.float64]]:
        """dice, iou, precision, recall."""
        hits = np.count_nonzero(self._truth & self._prediction)
        return overlap_of_counts(hits, self._predicted, self._area, self._empty)

    @cached_property
    def boundary(self) -> BoundaryScores:
        """HD95 and surface Dice. Raises `InputError` if surface-distance is not installed."""
        return surface_scores(
            self._truth, self._prediction, self._tolerance or 0.0, self._empty, self._spacing
        )


def volume_scores(
    truth: NDArray[np.bool_],
    prediction: NDArray[np.bool_],
    spacing: tuple[float, float, float],
    tolerance: float | None = None,
    empty: str = "one",
) -> VolumeScores:
    """All scores of one volume, such as the CT of a patient.

    All voxels of the volume are counted together. So these are not the means of the scores of its
    slices, in which a slice with a small part of the organ counts as much as one with a large part.

    With tp, fp and fn the numbers of true positive, false positive and false negative voxels:
    dice = 2 tp / (2 tp + fp + fn), iou = tp / (tp + fp + fn), precision = tp / (tp + fp),
    recall = tp / (tp + fn). The volume difference, in ml, is that of the prediction minus that of
    the truth. HD95, in mm, and the surface Dice are those of `boundary.surface_scores`.

    Where there is no foreground:

    - empty truth: Dice, IoU, precision, recall and surface Dice have the value that `empty` gives;
      HD95 is not defined, nan. The volume difference is the predicted volume.
    - only the prediction is empty: Dice, IoU, precision, recall and surface Dice are 0, HD95 is
      the diagonal of the volume, and the volume difference is minus the true volume.

    Args:
        truth, prediction: `(X, Y, Z)` bool, in any order of the axes.
        spacing: size of a voxel in mm, along these axes.
        tolerance: of the surface Dice, in mm, 0 or more; None leaves HD95 and surface Dice out.
        empty: as in `overlap.overlap`: `"skip"`, `"one"` or `"zero"`.

    Raises:
        InputError: with `tolerance`, the package surface-distance is not installed.
        ValueError: arrays of another type, other than three dimensions or different shapes, a
            spacing that is not three positive numbers, a tolerance below 0, an unknown `empty`.

    >>> truth = np.zeros((4, 4, 4), bool)
    >>> truth[1:3, 1:3, 1:3] = True
    >>> scores = volume_scores(truth, np.roll(truth, 1, axis=0), (5.0, 5.0, 10.0))
    >>> scores.volume["dice"], scores.truth_ml
    (0.5, 2.0)
    """
    check_empty(empty)
    for name, array in (("truth", truth), ("prediction", prediction)):
        if array.ndim != 3 or not array.size or array.dtype != bool:
            raise ValueError(
                f"expected {name} (X, Y, Z) bool, got shape {array.shape} of {array.dtype}"
            )
    if truth.shape != prediction.shape:
        raise ValueError(
            f"expected truth and prediction of the same shape, got truth={truth.shape}, "
            f"prediction={prediction.shape}"
        )
    if len(spacing) != 3 or not all(0 < size < math.inf for size in spacing):
        raise ValueError(f"expected 3 positive numbers, got spacing={spacing}")
    view = VolumeView(truth, prediction, spacing, tolerance, empty)
    given = {"boundary"} if tolerance is not None else set()
    numbers = {
        metric.key: float(metric.function(view))
        for metric in VOLUME_METRICS["volume"]
        if not metric.needs or metric.needs in given
    }
    return VolumeScores(numbers, view.truth_ml, view.predicted_ml)

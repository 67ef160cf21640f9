"""HD95 and surface Dice: distances between outlines, by the package surface-distance."""

import math
from types import ModuleType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from polypseg.errors import InputError

from .ground_truth import GroundTruth
from .overlap import check_empty, empty_score


class BoundaryScores(NamedTuple):
    """Boundary scores of one image.

    Attributes:
        hd95: 95th percentile of the Hausdorff distance, in the unit of the spacing; 0 is best, nan
            for an empty mask.
        surface_dice: normalised surface Dice at the tolerance, in [0, 1], or nan; 1 is best.
    """

    hd95: float
    surface_dice: float


def boundary_scores(
    truth: GroundTruth,
    prediction: NDArray[np.bool_],
    tolerance: float,
    empty: str = "one",
    spacing: tuple[float, ...] = (1.0, 1.0),
) -> BoundaryScores:
    """HD95 and surface Dice, as DeepMind's package surface-distance computes them.

    The outline is a set of points, the corners of pixels where foreground and background meet.
    Outside of the image is background. Each point stands for a piece of the outline: with pixels of
    `sy` x `sx`, the length is `sx` on a horizontal edge, `sy` on a vertical edge, half the pixel's
    diagonal at a corner of the region, and the complete diagonal where two pixels touch at a
    corner. Distances are those from each point to the nearest point of the other outline.

    - HD95: for each of the two outlines, the smallest distance that is not exceeded on 95 % of its
      length; then the larger of the two. Most other programs take pixels in place of corners, and
      95 % of their number, whatever length each stands for.
    - Surface Dice: the length of both outlines that is at a distance of `tolerance` or less,
      divided by the length of both (Nikolov et al., *Clinically applicable segmentation of head and
      neck anatomy for radiotherapy*, JMIR 2021).

    Pixels that are ignored are removed from the prediction first; mask is False there already.

    Where an outline is missing:

    - empty mask: HD95 is not defined, nan; surface Dice has the value that `empty` gives to Dice.
    - only the prediction is empty: HD95 is the diagonal of the image (of the box around the pixels
      that count), the largest possible distance, because leaving the image out would reward a
      network that finds nothing. Surface Dice is 0.

    Args:
        truth: the mask.
        prediction: `(H, W)` bool.
        tolerance: the largest distance that counts as agreement, 0 or more, in the unit of
            `spacing`.
        empty: as in `overlap`.
        spacing: height and width of a pixel. By default distances are in pixels.

    Raises:
        InputError: surface-distance is not installed.
        ValueError: a tolerance below 0, a spacing that is not two positive numbers, an unknown
            `empty`, a prediction of another shape or with other values.

    >>> truth = GroundTruth([[0, 1, 1, 0, 0, 0]])
    >>> boundary_scores(truth, np.array([[0, 1, 1, 1, 1, 0]]) > 0, tolerance=2.0)
    BoundaryScores(hd95=2.0, surface_dice=1.0)
    """
    check_empty(empty)
    if not 0 <= tolerance < math.inf:
        raise ValueError(f"expected a tolerance of 0 or more, got tolerance={tolerance}")
    if len(spacing) != 2 or not all(0 < size < math.inf for size in spacing):
        raise ValueError(f"expected two positive numbers, got spacing={spacing}")
    package = _package()
    prediction = truth.counted_prediction(prediction)
    found = bool(prediction.any())
    if not truth.area:
        return BoundaryScores(math.nan, float(empty_score(empty, not found)))
    if not found:
        height, width = truth.mask.shape
        if truth.counted is not None:  # an ignored margin is as good as none
            rows, columns = (np.flatnonzero(truth.counted.any(axis=axis)) for axis in (1, 0))
            height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
        return BoundaryScores(math.hypot(height * spacing[0], width * spacing[1]), 0.0)
    distances = package.compute_surface_distances(truth.mask, prediction, spacing)
    return BoundaryScores(
        float(package.compute_robust_hausdorff(distances, 95)),
        float(package.compute_surface_dice_at_tolerance(distances, tolerance)),
    )


def surface_distance_version() -> str:
    """Version of the installed package surface-distance. Raises `InputError` if there is none."""
    return str(_package().__version__)


def _package() -> ModuleType:
    try:
        import surface_distance
    except ImportError as error:
        raise InputError(
            "expected the package surface-distance for boundary scores "
            f"(pip install surface-distance), got: {error}",
            "boundary",
        ) from error
    return surface_distance

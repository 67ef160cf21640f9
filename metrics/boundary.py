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
    """Boundary scores of one image or volume.

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
    prediction = truth.counted_prediction(prediction)
    extent: tuple[int, ...] = truth.mask.shape
    if truth.counted is not None:  # an ignored margin is as good as none
        lines = (np.flatnonzero(truth.counted.any(axis=axis)) for axis in (1, 0))
        extent = tuple(int(np.ptp(line)) + 1 for line in lines)
    return surface_scores(truth.mask, prediction, tolerance, empty, spacing, extent)


def surface_scores(
    truth: NDArray[np.bool_],
    prediction: NDArray[np.bool_],
    tolerance: float,
    empty: str,
    spacing: tuple[float, ...],
    extent: tuple[int, ...] | None = None,
) -> BoundaryScores:
    """`boundary_scores` of two arrays of two or three dimensions.

    In three dimensions the surface is a set of points, too: the corners of voxels where foreground
    and background meet. Each point stands for the area of the surface that runs through the cube
    around it (of marching cubes), in squares of the unit of `spacing`; "length" is then "area".

    Args:
        truth, prediction: `(H, W)` or `(X, Y, Z)` bool, of the same shape.
        tolerance, empty: as in `boundary_scores`.
        spacing: size of a pixel or voxel along each axis.
        extent: numbers of pixels or voxels along each axis; the diagonal of this box is HD95 if
            only the prediction is empty. Default: the shape.

    Raises:
        InputError: surface-distance is not installed.
        ValueError: as `boundary_scores`.
    """
    check_empty(empty)
    if not 0 <= tolerance < math.inf:
        raise ValueError(f"expected a tolerance of 0 or more, got tolerance={tolerance}")
    if len(spacing) != truth.ndim or not all(0 < size < math.inf for size in spacing):
        raise ValueError(f"expected {truth.ndim} positive numbers, got spacing={spacing}")
    package = _package()
    found = bool(prediction.any())
    if not truth.any():
        return BoundaryScores(math.nan, float(empty_score(empty, not found)))
    if not found:
        sides = (count * size for count, size in zip(extent or truth.shape, spacing))
        return BoundaryScores(math.hypot(*sides), 0.0)
    distances = package.compute_surface_distances(truth, prediction, spacing)
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
            f"(pip install surface-distance 'scipy<2'), got: {error}",
            "boundary",
        ) from error
    return surface_distance

"""Lesions that were found, and false alarms, of one image."""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from .ground_truth import GroundTruth


class LesionCounts(NamedTuple):
    """Numbers of one image.

    Attributes:
        lesions: connected components of the mask that are large enough.
        found: of these, those that were found.
        predicted: connected components of the prediction.
        false_positives: of these, those that find no lesion.
        specks: connected components of the mask that are too small.
    """

    lesions: int
    found: int
    predicted: int
    false_positives: int
    specks: int

    @property
    def true_positives(self) -> int:
        """Connected components of the prediction that find a lesion."""
        return self.predicted - self.false_positives


def count_lesions(
    truth: GroundTruth, prediction: NDArray[np.bool_], iou: float = 0.1, pixels: int = 10
) -> LesionCounts:
    """Count the lesions of a mask that a prediction finds.

    A lesion is a connected component of the mask with at least `pixels` pixels; pixels that touch
    at a corner are connected. Smaller components are specks of drawing or of JPEG: 143 of the 1,206
    components of Kvasir-SEG's masks have one pixel, and all others have 553 or more.

    A lesion is found if its IoU with one predicted component is above `iou`. A predicted component
    of any size is a false positive if its IoU with every lesion is `iou` or less; one that finds
    nothing but a speck does not count. So one component can find two lesions, and two components
    can find the same lesion. Pixels that are ignored are removed from the prediction first.

    Other rules: PI-CAI (`evaluate_case` of picai_eval) asks for an IoU of 0.1 too, in volumes. A
    component that overlaps a lesion enough is no false positive there either, but it can find one
    lesion only. nnDetection (Baumgartner et al., MICCAI 2021) compares boxes, one to one, at IoUs
    from 0.1 to 0.5. So two lesions under one blob count less there.

    Args:
        truth: the mask.
        prediction: `(H, W)` bool.
        iou: the limit, in [0, 1). With 0, one common pixel is enough.
        pixels: the smallest size of a lesion, 1 or more.

    Raises:
        ValueError: an `iou` outside [0, 1), `pixels` below 1, a prediction of another shape or
            with other values.

    >>> truth = GroundTruth([[1, 1, 0, 0, 1]])
    >>> count_lesions(truth, np.array([[True, False, False, False, False]]), pixels=1)
    LesionCounts(lesions=2, found=1, predicted=1, false_positives=0, specks=0)
    """
    if not 0 <= iou < 1:
        raise ValueError(f"expected iou from 0 to below 1, got iou={iou}")
    if pixels < 1:
        raise ValueError(f"expected pixels of 1 or more, got pixels={pixels}")
    prediction = truth.counted_prediction(prediction)
    x, y, width, height = cv2.boundingRect((truth.mask | prediction).view(np.uint8))
    if not width:
        return LesionCounts(0, 0, 0, 0, 0)
    box = slice(y, y + height), slice(x, x + width)
    lesions, lesion_of = _components(truth.mask[box])
    predicted, component_of = _components(prediction[box])
    lesion, component, shared = _overlaps(lesion_of, lesions + 1, component_of, predicted + 1)
    # The pairs with the background, label 0, are needed for the areas.
    lesion_area = np.bincount(lesion, shared)
    component_area = np.bincount(component, shared)
    # These numbers of pixels are exact, and a quotient is rounded like a literal such as 0.1. So an
    # IoU of exactly `iou` is not above it.
    above = shared / (lesion_area[lesion] + component_area[component] - shared) > iou
    above &= (lesion > 0) & (component > 0)
    of_speck = above & (lesion_area[lesion] < pixels)
    above &= ~of_speck
    specks = int(np.count_nonzero(lesion_area[1:] < pixels))
    predicted -= np.setdiff1d(component[of_speck], component[above]).size
    return LesionCounts(
        lesions - specks,
        np.unique(lesion[above]).size,
        predicted,
        predicted - np.unique(component[above]).size,
        specks,
    )


def largest_component(truth: GroundTruth, prediction: NDArray[np.bool_]) -> int:
    """The number of pixels of the largest connected component of a prediction; 0 without any.

    Arguments and errors are those of `count_lesions`. Pixels that are ignored are removed first.

    >>> largest_component(GroundTruth([[0, 0, 0, 0]]), np.array([[True, False, True, True]]))
    2
    """
    _, component_of = _components(truth.counted_prediction(prediction))
    return int(np.bincount(component_of.ravel())[1:].max(initial=0))


def _components(mask: NDArray[np.bool_]) -> tuple[int, NDArray[np.int32]]:
    """The number of connected components n, and `(H, W)` labels: 1 to n, 0 for the background.

    `connectedComponentsWithStats` would give the areas too, but takes several times as long.
    """
    labels, label_of = cv2.connectedComponents(mask.view(np.uint8), connectivity=8)
    return labels - 1, np.asarray(label_of, np.int32)


def _overlaps(
    first: NDArray[np.int32], firsts: int, second: NDArray[np.int32], seconds: int
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """The pairs of labels that occur at the same pixel, and the number of such pixels.

    Args:
        first, second: `(H, W)` labels from 0 to `firsts` - 1 and from 0 to `seconds` - 1.

    Returns:
        Three arrays of equal length: label in `first`, label in `second`, number of pixels.
    """
    # A table of all pairs is faster, but thousands of specks in both images make millions of pairs.
    if firsts * seconds <= first.size:
        counts = np.bincount((first * np.int32(seconds) + second).ravel())
        pairs = np.flatnonzero(counts)
        shared = counts[pairs]
    else:
        pairs, shared = np.unique(first * np.int64(seconds) + second, return_counts=True)
    return *np.divmod(pairs, seconds), shared

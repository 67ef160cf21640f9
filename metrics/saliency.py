"""S-measure, weighted F, E-measure and mean absolute error of one map, in NumPy float64.

All four follow the MATLAB code by the authors of the measures and by those of PraNet, so that
scores can be compared with the papers. `docs/metrics.md` has the formulas, and lists where other
programs differ.
"""

from functools import cached_property

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from .ground_truth import GroundTruth, as_binary, quarters
from .structure import EPS, Cell, cell_of, s_measure_of_cells

_GAUSSIAN = np.exp(-(np.arange(-3.0, 4.0) ** 2) / (2 * 5.0**2))
_GAUSSIAN /= _GAUSSIAN.sum()  # its outer product with itself is fspecial("gaussian", 7, 5)


def mae(mask: ArrayLike | GroundTruth, probability: ArrayLike) -> float:
    """Mean absolute error, mean |probability - mask|.

    Args:
        mask: `(H, W)` in {0, 1}, or its `GroundTruth`.
        probability: `(H, W)` in [0, 1].

    Returns:
        float in [0, 1]; 0 is best.

    Raises:
        ValueError: shapes that differ, or other values.

    >>> mae([[0, 1]], [[0.25, 1.0]])
    0.125
    """
    return FloatMap(*check_pair(mask, probability)).mae


def e_measure(mask: ArrayLike | GroundTruth, prediction: ArrayLike) -> float:
    """E-measure of a binary prediction (Fan et al., "Enhanced-alignment Measure for Binary
    Foreground Map Evaluation", IJCAI 2018).

    With m and p the mask and the prediction minus their means and a = 2 m p / (m^2 + p^2), it is
    sum (a + 1)^2 / 4 / (N - 1) over the N pixels. For an empty or a full mask it is the number of
    pixels that agree, divided by N - 1.

    Args:
        mask: `(H, W)` in {0, 1}, or its `GroundTruth`.
        prediction: `(H, W)` in {0, 1}.

    Returns:
        float in [0, N / (N - 1)]: the paper divides by N, its authors' code by N - 1.

    Raises:
        ValueError: shapes that differ, or other values.

    >>> round(e_measure([[1, 1, 0]], [[1, 1, 0]]), 4)
    1.5
    """
    truth, prediction = as_ground_truth(mask), as_binary(prediction, "prediction")
    check_shapes(truth, prediction)
    hits = np.count_nonzero(truth.mask & prediction)
    predicted = np.count_nonzero(truth.of_counted(prediction))
    return float(e_measure_of_counts(hits, predicted, truth.area, truth.pixels))


def e_measure_of_counts(
    hits: ArrayLike, predicted: ArrayLike, area: int, pixels: int
) -> NDArray[np.float64]:
    """Compute `e_measure` from numbers of pixels.

    The term of a pixel depends only on its labels in mask and prediction, so four counts suffice.

    Args:
        hits: true positive pixels; a number or an array.
        predicted: foreground pixels of the prediction; a number or an array, like `hits`.
        area: foreground pixels of the mask.
        pixels: all pixels of the image.
    """
    hits, predicted = np.asarray(hits, np.float64), np.asarray(predicted, np.float64)
    if area in (0, pixels):
        total = predicted if area else pixels - predicted
    else:
        m, p = area / pixels, predicted / pixels
        total = np.zeros_like(predicted)
        for count, a, b in (
            (hits, 1 - p, 1 - m),
            (predicted - hits, 1 - p, -m),
            (area - hits, -p, 1 - m),
            (pixels - area - predicted + hits, -p, -m),
        ):
            align = 2 * a * b / (a * a + b * b + EPS)
            total = total + count * (align + 1) ** 2 / 4
    return total / max(pixels - 1, 1)


def weighted_f(mask: ArrayLike | GroundTruth, probability: ArrayLike) -> float:
    """Weighted F-measure with beta 1 (Margolin et al., "How to Evaluate Foreground Maps?", CVPR
    2014).

    In the background, the weight of an error grows with its distance from the foreground. In the
    foreground, a pixel counts with its own error or with the mean error around it, whichever is
    smaller.

    Args:
        mask: `(H, W)` in {0, 1}, or its `GroundTruth`.
        probability: `(H, W)` in [0, 1].

    Returns:
        float in [0, 1]; 1 is best. nan for an empty mask.

    Raises:
        ValueError: shapes that differ, or other values.
    """
    return FloatMap(*check_pair(mask, probability)).weighted_f


def weighted_f_of_sums(
    truth: GroundTruth, false_positives: float, in_box: NDArray[np.float64]
) -> float:
    """Compute `weighted_f` from sums, for a mask that is not empty.

    Args:
        truth: the mask.
        false_positives: weighted false positives: the sum of the map times `truth.weights`.
        in_box: the part of the map in `truth.box`, float64.
    """
    error = 1.0 - in_box
    # A background pixel takes the error of the nearest foreground pixel. This matters only
    # where the 7 x 7 kernel around a foreground pixel reaches it.
    background, foreground = truth.nearest_foreground
    error.ravel()[background] = error.ravel()[foreground]
    smooth = cv2.sepFilter2D(
        error, cv2.CV_64F, _GAUSSIAN, _GAUSSIAN, borderType=cv2.BORDER_CONSTANT
    )
    inside = truth.mask[truth.box]
    # Each error is at most 1, but rounding may make their sum larger than the area. Precision could
    # then be 0/0.
    missed = min(float(np.minimum(error, smooth, out=smooth)[inside].sum()), float(truth.area))
    found = truth.area - missed
    recall, precision = found / truth.area, found / (EPS + found + false_positives)
    return float(2 * recall * precision / (EPS + recall + precision))


def s_measure(mask: ArrayLike | GroundTruth, probability: ArrayLike) -> float:
    """Structure measure with alpha 0.5 (Fan et al., "Structure-measure: A New Way to Evaluate
    Foreground Maps", ICCV 2017).

    It is the mean of two terms. The object term uses the mean and standard deviation of the map in
    the foreground and in the background. The region term is the SSIM of map and mask in the four
    parts that meet at the mask's centroid. For an empty or a full mask, the S-measure is 1 - mae.

    Args:
        mask: `(H, W)` in {0, 1}, or its `GroundTruth`.
        probability: `(H, W)` in [0, 1].

    Returns:
        float in [0, 1]; 1 is best.

    Raises:
        ValueError: shapes that differ, or other values.
    """
    return FloatMap(*check_pair(mask, probability)).s_measure


class FloatMap:
    """A map of floats and its errors |probability - mask|, for the scores of the map as it is.

    Args:
        truth: the mask.
        probability: `(H, W)` in [0, 1], as `check_pair` returns it.
    """

    def __init__(self, truth: GroundTruth, probability: NDArray[np.floating]):
        self._truth, self._probability = truth, probability

    @property
    def mae(self) -> float:
        """Mean absolute error."""
        total = 0.0
        for background, foreground in self._cells:
            total += background.pixels * background.mean
            total += foreground.pixels * (1.0 - foreground.mean)
        return total / self._truth.pixels

    @property
    def s_measure(self) -> float:
        """S-measure."""
        if self._truth.area in (0, self._truth.pixels):
            return 1.0 - self.mae
        return s_measure_of_cells(self._truth, self._cells)

    @property
    def weighted_f(self) -> float:
        """Weighted F; nan for an empty mask."""
        if not self._truth.area:
            return float("nan")
        # No dot product: NumPy would start threads for it in each process of a pool.
        false_positives = float(np.einsum("ij,ij", self._probability, self._truth.weights))
        return weighted_f_of_sums(self._truth, false_positives, self._in_box)

    @cached_property
    def _in_box(self) -> NDArray[np.float64]:
        return self._probability[self._truth.box].astype(np.float64)

    @cached_property
    def _cells(self) -> list[tuple[Cell, Cell]]:
        """The cells of the S-measure, (background, foreground) of each quadrant."""
        truth = self._truth
        inside, rows, columns = truth.mask[truth.box], *truth.box
        false_positives = self._probability * truth.background
        missed = (1.0 - self._in_box) * inside
        y, x = truth.centroid
        in_boxes = quarters(y - rows.start, x - columns.start)
        return [
            (
                _cell(self._probability[part], truth.background[part], false_positives[part], 0.0),
                _cell(self._in_box[in_box], inside[in_box], missed[in_box], 1.0),
            )
            for part, in_box in zip(truth.quadrants, in_boxes)
        ]


def _cell(
    probability: NDArray[np.floating],
    of_class: NDArray[np.bool_],
    errors: NDArray[np.floating],
    label: float,
) -> Cell:
    """One class of a quadrant.

    Args:
        probability: `(h, w)`, the map.
        of_class: `(h, w)`, the pixels of the class.
        errors: `(h, w)`, the errors of these pixels, 0 at the others.
        label: of the class in the mask, 0 or 1.
    """
    pixels = int(np.count_nonzero(of_class))
    if not pixels:
        return Cell(0, 0.0, 0.0)
    # OpenCV's sums are float64, also those of float32.
    total, of_squares = cv2.sumElems(errors)[0], cv2.norm(errors, cv2.NORM_L2SQR)
    squares = of_squares - total * total / pixels
    if squares < 0.01 * of_squares:  # too few digits are left, so subtract the mean first
        return cell_of(probability[of_class])
    return Cell(pixels, abs(label - total / pixels), squares)


def as_ground_truth(mask: ArrayLike | GroundTruth) -> GroundTruth:
    """Return a mask as a `GroundTruth`; a `GroundTruth` is returned as it is."""
    return mask if isinstance(mask, GroundTruth) else GroundTruth(mask)


def check_shapes(truth: GroundTruth, array: np.ndarray) -> None:
    """Raise ValueError unless a map has the mask's shape."""
    if truth.mask.shape != array.shape:
        raise ValueError(f"expected a map of the mask's size {truth.mask.shape}, got {array.shape}")


def check_pair(
    mask: ArrayLike | GroundTruth, probability: ArrayLike
) -> tuple[GroundTruth, NDArray[np.floating]]:
    """Check the two arguments of a score.

    Args:
        mask: `(H, W)` in {0, 1}, or its `GroundTruth`.
        probability: `(H, W)` of floats in [0, 1], or bool.

    Returns:
        the `GroundTruth` and the map, float32 or float64, contiguous.

    Raises:
        ValueError: shapes that differ, another dtype, or other values.
    """
    truth, probability = as_ground_truth(mask), np.asarray(probability)
    check_shapes(truth, probability)
    if probability.dtype.kind not in "fb":
        raise ValueError(f"expected a map of floats in [0, 1], got dtype {probability.dtype}")
    dtype = np.float32 if probability.dtype == np.float32 else np.float64
    probability = np.ascontiguousarray(probability, dtype)
    low, high = probability.min(), probability.max()
    if not (low >= 0 and high <= 1):  # true for nan, too
        raise ValueError(
            f"expected a map of numbers in [0, 1], got values from {low:g} to {high:g}"
        )
    return truth, probability

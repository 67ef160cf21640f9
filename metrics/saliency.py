"""S-measure, weighted F, E-measure and mean absolute error of one map, in NumPy float64.

All four follow the MATLAB code by the authors of the measures and by those of PraNet, so that
scores can be compared with the papers. `docs/metrics.md` has the formulas, and lists where other
programs differ.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from .ground_truth import GroundTruth, as_binary

EPS = np.finfo(np.float64).eps  # MATLAB's eps

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
    return mae_of_map(*check_pair(mask, probability))


def mae_of_map(truth: GroundTruth, probability: NDArray[np.float64]) -> float:
    """`mae` of arguments that `check_pair` has checked."""
    return float(truth.of_counted(np.abs(probability - truth.mask)).mean())


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
    truth, probability = check_pair(mask, probability)
    return weighted_f_of_map(truth, probability) if truth.area else float("nan")


def weighted_f_of_map(truth: GroundTruth, probability: NDArray[np.float64]) -> float:
    """`weighted_f` of arguments that `check_pair` has checked, for a mask that is not empty."""
    # No dot product: NumPy would start threads for it in each process of a pool.
    false_positives = float((probability * truth.weights).sum())
    in_box = np.ascontiguousarray(probability[truth.box])
    return weighted_f_of_sums(truth, false_positives, in_box)


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
    return s_measure_of_map(*check_pair(mask, probability))


def s_measure_of_map(truth: GroundTruth, probability: NDArray[np.float64]) -> float:
    """`s_measure` of arguments that `check_pair` has checked."""
    if truth.area in (0, truth.pixels):
        return 1.0 - mae_of_map(truth, probability)
    inside = probability[truth.mask]
    objects = [_moments(values) for values in (inside, probability[truth.background])]
    regions = []
    for part in truth.quadrants:
        values, mask = probability[part], truth.mask[part]
        if truth.counted is not None:
            counted = truth.counted[part]
            values, mask = values[counted], mask[counted]
        if values.size:
            mean, squares = _moments(values)
            area = int(np.count_nonzero(mask))
            products = float((values[mask] - mean).sum()) if squares else 0.0
            regions.append((values.size, area, mean, squares, products))
    return s_measure_of_moments(truth, objects, regions)


def s_measure_of_counts(
    truth: GroundTruth, counts: NDArray[np.intp], values: NDArray[np.float64]
) -> float:
    """Compute `s_measure` from the histogram of a map of 256 levels.

    Args:
        truth: a `GroundTruth` that is neither empty nor full.
        counts: `(4, 2, 256)`, number of pixels by quadrant, background or foreground, and level.
        values: `(256,)` float64, the probability of each level.
    """
    background, foreground = counts.sum(axis=0)
    objects = [_level_moments(foreground, values), _level_moments(background, values)]
    regions = []
    for background, foreground in counts:
        both = background + foreground
        size = int(both.sum())
        if size:
            mean, squares = _level_moments(both, values)
            products = float(foreground @ (values - mean)) if squares else 0.0
            regions.append((size, int(foreground.sum()), mean, squares, products))
    return s_measure_of_moments(truth, objects, regions)


def s_measure_of_moments(
    truth: GroundTruth,
    objects: Sequence[tuple[float, float]],
    regions: Sequence[tuple[int, int, float, float, float]],
) -> float:
    """Compute `s_measure` from means and sums of squared deviations.

    Args:
        truth: a `GroundTruth` that is neither empty nor full.
        objects: (mean, squares) of the map in the foreground and in the background, with
            squares = sum (map - mean)^2.
        regions: (pixels, foreground pixels, mean, squares, products) of each quadrant that is not
            empty, with products = sum (map - mean) (mask - mean of the mask).
    """
    share = truth.area / truth.pixels
    score = 0.0
    for (mean, squares), count, weight, inverted in zip(
        objects, (truth.area, truth.pixels - truth.area), (share, 1 - share), (False, True)
    ):
        mean = 1 - mean if inverted else mean
        deviation = np.sqrt(squares / max(count - 1, 1))
        score += float(0.5 * weight * 2 * mean / (mean * mean + 1 + deviation + EPS))
    for size, area, mean, squares, products in regions:
        mask_mean = area / size
        mask_squares = area * (size - area) / size  # sum (mask - its mean)^2
        n = max(size - 1, 1)
        alpha = 4 * mean * mask_mean * products / n
        beta = (mean * mean + mask_mean * mask_mean) * (squares + mask_squares) / n
        similarity = alpha / (beta + EPS) if alpha else float(beta == 0)
        score += float(0.5 * size / truth.pixels * similarity)
    return max(score, 0.0)


def as_ground_truth(mask: ArrayLike | GroundTruth) -> GroundTruth:
    """Return a mask as a `GroundTruth`; a `GroundTruth` is returned as it is."""
    return mask if isinstance(mask, GroundTruth) else GroundTruth(mask)


def check_shapes(truth: GroundTruth, array: np.ndarray) -> None:
    """Raise ValueError unless a map has the mask's shape."""
    if truth.mask.shape != array.shape:
        raise ValueError(f"expected a map of the mask's size {truth.mask.shape}, got {array.shape}")


def check_pair(
    mask: ArrayLike | GroundTruth, probability: ArrayLike
) -> tuple[GroundTruth, NDArray[np.float64]]:
    """Check the two arguments of a score.

    Args:
        mask: `(H, W)` in {0, 1}, or its `GroundTruth`.
        probability: `(H, W)` of floats in [0, 1], or bool.

    Returns:
        the `GroundTruth` and the map as float64.

    Raises:
        ValueError: shapes that differ, another dtype, or other values.
    """
    truth, probability = as_ground_truth(mask), np.asarray(probability)
    check_shapes(truth, probability)
    if probability.dtype.kind not in "fb":
        raise ValueError(f"expected a map of floats in [0, 1], got dtype {probability.dtype}")
    probability = probability.astype(np.float64, order="C")
    low, high = probability.min(), probability.max()
    if not (low >= 0 and high <= 1):  # true for nan, too
        raise ValueError(
            f"expected a map of numbers in [0, 1], got values from {low:g} to {high:g}"
        )
    return truth, probability


def _moments(values: NDArray[np.float64]) -> tuple[float, float]:
    """Mean of `values` and sum of their squared deviations from it."""
    mean = float(values.mean())
    deviations = values - mean
    squares = float(np.square(deviations, out=deviations).sum())
    # Because the mean is rounded, constant values would seem to vary a little. But the S-measure
    # treats a constant part differently.
    if squares < 1e-20 and values.min() == values.max():
        return float(values.flat[0]), 0.0
    return mean, squares


def _level_moments(counts: NDArray[np.intp], values: NDArray[np.float64]) -> tuple[float, float]:
    """`_moments` of values that occur `counts` times each; zeros if all counts are 0."""
    total = counts.sum()
    if not total:
        return 0.0, 0.0
    levels = np.flatnonzero(counts)
    if levels.size == 1:
        return float(values[levels[0]]), 0.0
    mean = float(counts @ values / total)
    return mean, float(counts @ (values - mean) ** 2)

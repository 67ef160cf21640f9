"""What the scores derive from a mask, computed once for all maps of this mask."""

from functools import cached_property

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

# Offsets of all pixels at a distance of at most sqrt(18), nearest first. A background pixel within
# 3 rows and 3 columns of the foreground has its nearest foreground pixel at one of these
# offsets. If several are equally near, the leftmost counts, and of these the topmost, as in SciPy.
_RADIUS = 4
_OFFSETS = sorted(
    (
        (y, x)
        for y in range(-_RADIUS, _RADIUS + 1)
        for x in range(-_RADIUS, _RADIUS + 1)
        if 0 < y * y + x * x <= 18
    ),
    key=lambda offset: (offset[0] ** 2 + offset[1] ** 2, offset[1], offset[0]),
)
# The weights 2 - 0.5 ** (distance / 5), by squared distance. In float64, they are 2 from a distance
# of 300 on.
_MAX_SQUARE = 300**2
_WEIGHT_BY_SQUARE = 2.0 - 0.5 ** (np.sqrt(np.arange(_MAX_SQUARE + 1)) / 5.0)
_WEIGHT_BY_SQUARE[0] = 0.0  # the foreground


def as_binary(array: ArrayLike, name: str) -> NDArray[np.bool_]:
    """Check a mask and return it as bool.

    Args:
        array: `(H, W)`, bool or values in {0, 1} of any dtype.
        name: name of the array in error messages.

    Raises:
        ValueError: another number of dimensions, no pixels, or other values.
    """
    array = np.asarray(array)
    if array.ndim != 2 or array.size == 0:
        raise ValueError(f"expected {name} (H, W), got {name} of shape {array.shape}")
    if array.dtype == bool:
        return array
    found = array == 1
    if not (found | (array == 0)).all():
        raise ValueError(f"expected {name} in {{0, 1}}, got values {np.unique(array)[:5]}")
    return found


class GroundTruth:
    """A mask and what the scores derive from it, computed on first use.

    Pass it to `score` in place of the mask to score several maps against one mask, or to leave
    pixels out of the scores.

    Args:
        mask: `(H, W)`, bool or values in {0, 1} of any dtype.
        ignored: of the same kind, 1 for pixels that are left out of all sums; default: none. Where
            it is 1, the value of the mask does not matter.

    Attributes:
        mask: `(H, W)` bool; False where pixels are ignored.
        counted: `(H, W)` bool, False where pixels are ignored; None if none are.
        pixels: number of pixels that count.
        area: number of pixels of the foreground.

    Raises:
        ValueError: a mask of another shape or with other values, or no pixel that counts.

    >>> truth = GroundTruth([[0, 1, 1]])
    >>> truth.pixels, truth.area
    (3, 2)
    """

    def __init__(self, mask: ArrayLike, ignored: ArrayLike | None = None):
        self.counted: NDArray[np.bool_] | None = None
        if ignored is not None and (left_out := as_binary(ignored, "ignored")).any():
            mask = np.where(left_out, 0, mask)
            self.counted = ~left_out
        self.mask = np.ascontiguousarray(as_binary(mask, "mask"))
        self.pixels = self.mask.size
        if self.counted is not None:
            self.pixels = int(np.count_nonzero(self.counted))
            if not self.pixels:
                raise ValueError("expected pixels that count, got only ignored ones")
        self.area = int(np.count_nonzero(self.mask))

    def counted_prediction(self, prediction: ArrayLike) -> NDArray[np.bool_]:
        """A binary prediction `(H, W)` without the pixels that are ignored, bool.

        Raises:
            ValueError: another shape than the mask's, or other values than 0 and 1.
        """
        prediction = as_binary(prediction, "prediction")
        if prediction.shape != self.mask.shape:
            raise ValueError(
                f"expected a prediction of the mask's size {self.mask.shape}, "
                f"got {prediction.shape}"
            )
        return prediction if self.counted is None else prediction & self.counted

    def of_counted(self, array: np.ndarray) -> np.ndarray:
        """The values of an array `(H, W)` at the pixels that count, `(pixels,)` if some do not."""
        return array if self.counted is None else array[self.counted]

    @cached_property
    def background(self) -> NDArray[np.bool_]:
        """`(H, W)` bool: the pixels of the background that count."""
        return ~self.mask if self.counted is None else self.counted & ~self.mask

    @cached_property
    def quadrants(self) -> tuple[tuple[slice, slice], ...]:
        """Rows and columns of the four parts that meet at the foreground's centroid: top left, top
        right, bottom left, bottom right. Some may be empty. (Fan et al., ICCV 2017.)
        """
        height, width = self.mask.shape
        rows, columns = (np.count_nonzero(self.mask, axis=axis) for axis in (1, 0))
        # As in MATLAB: positions count from 1, and a half is rounded up. The division
        # (2 s + n) // (2 n) rounds s / n without a rounding error of floats.
        y, x = (
            (2 * int(line @ np.arange(1, line.size + 1)) + self.area) // (2 * self.area)
            if self.area
            else (line.size + 1) // 2
            for line in (rows, columns)
        )
        top, bottom, left, right = slice(0, y), slice(y, height), slice(0, x), slice(x, width)
        return (top, left), (top, right), (bottom, left), (bottom, right)

    @cached_property
    def weights(self) -> NDArray[np.float64]:
        """Weights of false positives `(H, W)`: 2 - 0.5 ** (d / 5) with d the distance in pixels to
        the nearest foreground pixel; 0 in the foreground and where pixels are ignored. All 2 for an
        empty mask. (Margolin et al., CVPR 2014.)
        """
        if not self.area:
            return np.where(self.background, 2.0, 0.0)
        background = np.logical_not(self.mask).view(np.uint8)
        distance = cv2.distanceTransform(background, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        # A squared distance is a whole number, so rounding removes the error of OpenCV's float32.
        np.multiply(distance, distance, out=distance)
        np.rint(distance, out=distance)
        np.minimum(distance, _MAX_SQUARE, out=distance)
        weights = _WEIGHT_BY_SQUARE.take(distance.astype(np.int32))
        return weights if self.counted is None else weights * self.counted

    @cached_property
    def box(self) -> tuple[slice, ...]:
        """Rows and columns of the foreground's bounding box with a margin of three pixels, or less
        at the image's border. The mask must not be empty.
        """
        ends = []
        for axis in (1, 0):
            found = np.flatnonzero(self.mask.any(axis=axis))
            ends.append(slice(max(int(found[0]) - 3, 0), int(found[-1]) + 4))
        return tuple(ends)

    @cached_property
    def nearest_foreground(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Two arrays of the same length, with flat positions in `mask[box]`: the background pixels
        within 3 rows and 3 columns of the foreground, and the foreground pixel nearest to each.
        """
        mask = np.ascontiguousarray(self.mask[self.box])
        near = cv2.dilate(mask.view(np.uint8), np.ones((7, 7), np.uint8), borderValue=0).view(bool)
        padded = np.pad(mask, _RADIUS)
        rows, columns = np.nonzero(near & ~mask)
        # In the padded mask, no offset leaves the array. So an offset adds a constant to the flat
        # position.
        start = (rows + _RADIUS) * padded.shape[1] + columns + _RADIUS
        nearest, pending = np.empty_like(start), np.arange(start.size)
        padded = padded.ravel()
        stride = mask.shape[1] + 2 * _RADIUS
        for y, x in _OFFSETS:
            candidates = start[pending] + (y * stride + x)
            hit = padded[candidates]
            nearest[pending[hit]] = candidates[hit]
            pending = pending[~hit]
            if not pending.size:
                break
        row, column = np.divmod(nearest, stride)
        width = mask.shape[1]
        return rows * width + columns, (row - _RADIUS) * width + column - _RADIUS

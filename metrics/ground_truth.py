"""What the scores derive from a mask, computed once for all maps of this mask."""

from functools import cached_property

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

# A background pixel within 3 rows and 3 columns of the foreground is at most at the squared
# distance 18 from it, so its nearest foreground pixel is at most 4 rows and columns away.
_NEAR, _RADIUS = 18, 4


def _offsets() -> NDArray[np.intp]:
    """`(19, 8, 2)`: for each squared distance, the offsets (rows, columns) at this distance.

    If several of these pixels are foreground, the leftmost counts, and of these the topmost, as in
    SciPy. So this is their order. Where there are fewer than eight, the last one is repeated.
    """
    offsets = np.zeros((_NEAR + 1, 8, 2), np.intp)
    steps = range(-_RADIUS, _RADIUS + 1)
    for square in range(_NEAR + 1):
        found = [(y, x) for x in steps for y in steps if y * y + x * x == square]
        if found:  # no whole numbers have the sum of squares 3, 6 or 7
            offsets[square] = found + found[-1:] * (8 - len(found))
    return offsets


_OFFSETS = _offsets()
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
    def centroid(self) -> tuple[int, int]:
        """Numbers of rows and of columns up to the foreground's centroid; half of all rows and
        columns for an empty mask.
        """
        inside = self.mask[self.box]
        # As in MATLAB: positions count from 1, and a half is rounded up. The division
        # (2 s + n) // (2 n) rounds s / n without a rounding error of floats.
        y, x = (
            (2 * int(line @ np.arange(box.start + 1, box.start + 1 + line.size)) + self.area)
            // (2 * self.area)
            if self.area
            else (size + 1) // 2
            for line, box, size in zip(
                (np.count_nonzero(inside, axis=axis) for axis in (1, 0)), self.box, self.mask.shape
            )
        )
        return y, x

    @cached_property
    def quadrants(self) -> tuple[tuple[slice, slice], ...]:
        """Rows and columns of the four parts that meet at the foreground's centroid: top left, top
        right, bottom left, bottom right. Some may be empty. (Fan et al., ICCV 2017.)
        """
        return quarters(*self.centroid)

    @cached_property
    def squared_distances(self) -> NDArray[np.int32]:
        """`(H, W)`: squared distance in pixels to the nearest foreground pixel. The mask must not
        be empty.
        """
        background = np.logical_not(self.mask).view(np.uint8)
        distance = cv2.distanceTransform(background, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        # A squared distance is a whole number, so rounding removes the error of OpenCV's float32.
        squares = cv2.multiply(distance, distance, dtype=cv2.CV_32S)
        return squares.astype(np.int32, copy=False)

    @cached_property
    def weights(self) -> NDArray[np.float64]:
        """Weights of false positives `(H, W)`: 2 - 0.5 ** (d / 5) with d the distance in pixels to
        the nearest foreground pixel; 0 in the foreground and where pixels are ignored. All 2 for an
        empty mask. (Margolin et al., CVPR 2014.)
        """
        if not self.area:
            return np.where(self.background, 2.0, 0.0)
        weights = _WEIGHT_BY_SQUARE.take(self.squared_distances, mode="clip")
        return weights if self.counted is None else weights * self.counted

    @cached_property
    def weight(self) -> float:
        """The sum of `weights`."""
        return float(self.weights.sum())

    @cached_property
    def box(self) -> tuple[slice, slice]:
        """Rows and columns of the foreground's bounding box with a margin of three pixels, or less
        at the image's border. For an empty mask, a box at the top left.
        """
        x, y, width, height = cv2.boundingRect(self.mask.view(np.uint8))
        return slice(max(y - 3, 0), y + height + 3), slice(max(x - 3, 0), x + width + 3)

    @cached_property
    def nearest_foreground(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Two arrays of the same length, with flat positions in `mask[box]`: the background pixels
        within 3 rows and 3 columns of the foreground (and some more), and the foreground pixel
        nearest to each. The mask must not be empty.
        """
        mask, squares = self.mask[self.box], self.squared_distances[self.box]
        height, width = mask.shape
        stride = width + 2 * _RADIUS
        padded = np.zeros((height + 2 * _RADIUS, stride), bool)
        padded[_RADIUS:-_RADIUS, _RADIUS:-_RADIUS] = mask
        rows, columns = np.nonzero((squares <= _NEAR) & ~mask)
        # In the padded mask, no offset leaves the array. So an offset adds a constant to the flat
        # position.
        start = (rows + _RADIUS) * stride + columns + _RADIUS
        steps, square = _OFFSETS @ (stride, 1), squares[rows, columns]
        nearest, pending = np.empty_like(start), np.arange(start.size)
        padded = padded.ravel()
        for candidate in range(8):
            positions = start[pending] + steps[square[pending], candidate]
            hit = padded[positions]
            nearest[pending[hit]] = positions[hit]
            pending = pending[~hit]
        row, column = np.divmod(nearest, stride)
        return rows * width + columns, (row - _RADIUS) * width + column - _RADIUS


def quarters(y: int, x: int) -> tuple[tuple[slice, slice], ...]:
    """Slices of an array's four parts that meet after `y` rows and `x` columns."""
    top, bottom, left, right = slice(0, y), slice(y, None), slice(0, x), slice(x, None)
    return (top, left), (top, right), (bottom, left), (bottom, right)

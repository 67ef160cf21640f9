"""What the scores need to know of a mask, found once however many maps are scored against it."""

from functools import cached_property

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

# Offsets of all pixels nearer than 4.3: no other can be the nearest foreground of a background
# pixel that shares a 7 x 7 window with some. Of equally near ones the leftmost counts, then the
# topmost (as in SciPy).
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
# Beyond 300 pixels 2 - 0.5 ** (distance / 5) is 2 in float64.
_MAX_SQUARE = 300**2
_WEIGHT_BY_SQUARE = 2.0 - 0.5 ** (np.sqrt(np.arange(_MAX_SQUARE + 1)) / 5.0)
_WEIGHT_BY_SQUARE[0] = 0.0  # the foreground


def as_binary(array: ArrayLike, name: str) -> NDArray[np.bool_]:
    """`(H, W)`, bool or values in {0, 1}, as bool. Raises ValueError for anything else."""
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
    """A mask `(H, W)` in {0, 1} and, computed when first asked for, what the scores derive from it.

    Attributes:
        mask: `(H, W)` bool.
        pixels, area: numbers of pixels, of all and of the foreground.
        quadrants: four slices that meet at the foreground's centroid (left and right of the top,
            then of the bottom); some may be empty.
        weights: `(H, W)` float64, 2 - 0.5 ** (d / 5) with d the distance to the nearest foreground
            pixel; 0 in the foreground. All 2 for an empty mask.
    """

    def __init__(self, mask: ArrayLike):
        self.mask = np.ascontiguousarray(as_binary(mask, "mask"))
        self.pixels = self.mask.size
        self.area = int(np.count_nonzero(self.mask))

    @cached_property
    def quadrants(self) -> tuple[tuple[slice, slice], ...]:
        height, width = self.mask.shape
        rows, columns = (np.count_nonzero(self.mask, axis=axis) for axis in (1, 0))
        # As in MATLAB: counted from 1, a half rounded up. 2 s + n // 2 n is the rounded s / n in
        # integers.
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
        if not self.area:
            return np.full(self.mask.shape, 2.0)
        background = np.logical_not(self.mask).view(np.uint8)
        distance = cv2.distanceTransform(background, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        # Squared distances are whole numbers; rounded to them, OpenCV's float32 is exact.
        np.multiply(distance, distance, out=distance)
        np.rint(distance, out=distance)
        np.minimum(distance, _MAX_SQUARE, out=distance)
        return _WEIGHT_BY_SQUARE.take(distance.astype(np.int32))

    @cached_property
    def box(self) -> tuple[slice, ...]:
        """Slices of the foreground's bounding box, three pixels wider on every side (or cut at the
        border).
        """
        ends = []
        for axis in (1, 0):
            found = np.flatnonzero(self.mask.any(axis=axis))
            ends.append(slice(max(int(found[0]) - 3, 0), int(found[-1]) + 4))
        return tuple(ends)

    @cached_property
    def nearest_foreground(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Flat positions, in `mask[box]`, of background pixels at most 3 rows and columns away
        from the foreground, and those of the foreground pixels nearest to each."""
        mask = np.ascontiguousarray(self.mask[self.box])
        near = cv2.dilate(mask.view(np.uint8), np.ones((7, 7), np.uint8), borderValue=0).view(bool)
        padded = np.pad(mask, _RADIUS)
        rows, columns = np.nonzero(near & ~mask)
        # Positions in the padded mask, where every offset is one step of the flat index.
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

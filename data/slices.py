"""From a volume to its slices, and from maps of the slices back to the volume's grid.

A slice is shown as radiologists see it. Axial: the patient's right on the left, anterior on top.
Coronal: right on the left, superior on top. Sagittal: anterior on the left, superior on top.
"""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from polypseg.errors import InputError, expect

from .images import resize_image, resize_mask
from .preparation import Preparation
from .volume import Volume

# Along which axis of an array in RAS order the slices of a plane follow each other.
AXES = {"axial": 2, "coronal": 1, "sagittal": 0}
_SAME = 0.01  # relative difference of two spacings that count as equal
_LARGEST = 8192  # side of a slice in pixels

# What is on the left and on the right of a slice: the right side of a patient is on the left.
SIDES = {"sagittal": ("A", "P"), "coronal": ("R", "L"), "axial": ("R", "L")}


def plane_of(array: NDArray[Any], plane: str, index: int) -> NDArray[Any]:
    """A view of one slice.

    Args:
        array: `(X, Y, Z)` in RAS order, see `Volume`.
        plane: one of `preparation.PLANES`.
        index: of the slice; it grows to the right, anterior or superior.

    Returns:
        `(rows, columns)`, as the module describes.

    >>> plane_of(np.arange(8).reshape(2, 2, 2), "axial", 1)
    array([[7, 3],
           [5, 1]])
    """
    return np.moveaxis(array, AXES[plane], 0)[index, ::-1, ::-1].T


def spacing_of(spacing: tuple[float, float, float], plane: str) -> tuple[float, float, float]:
    """From the spacing of a volume to that of a plane: of a row, of a column, between slices.

    >>> spacing_of((0.7, 0.8, 2.5), "coronal")
    (2.5, 0.7, 0.8)
    """
    row, column = reversed([size for axis, size in enumerate(spacing) if axis != AXES[plane]])
    return row, column, spacing[AXES[plane]]


class Slicer:
    """The slices of a volume, as `preparation` says they are made.

    Attributes:
        size: height and width of the images.
        spacing: in mm: height of a row, width of a column, distance of the slices.

    Raises:
        InputError: the preparation has no window, or its spacing makes slices too large or small.

    >>> slicer = Slicer(read_volume("ct.nii.gz"), Preparation((-100, 240)))  # doctest: +SKIP
    >>> slicer.image(len(slicer) // 2).shape  # doctest: +SKIP
    (512, 512, 3)
    """

    def __init__(self, volume: Volume, preparation: Preparation) -> None:
        if not preparation.window:
            expected = "expected the Hounsfield units that become black and white"
            raise InputError(f"{expected}, got nothing", "window")
        self._window = preparation.window
        self._volume, self._preparation = volume, preparation
        self._shape = self._plane(volume.array, 0).shape
        rows, columns, between = spacing_of(volume.spacing, preparation.plane)
        target = preparation.spacing
        if target is None:
            equal = abs(rows - columns) <= _SAME * min(rows, columns)
            target = None if equal else min(rows, columns)
        height, width = self._shape
        if target is not None:
            height, width = round(height * rows / target), round(width * columns / target)
        expect(
            1 <= min(height, width) and max(height, width) <= _LARGEST,
            "spacing",
            f"a spacing that gives slices of 1 to {_LARGEST} pixels",
            f"{target or rows:g} mm, which gives {width} x {height} pixels in {volume.path}",
        )
        self.size = height, width
        self.spacing = (
            rows * self._shape[0] / height,
            columns * self._shape[1] / width,
            between,
        )
        self._table = _window_table(self._window)

    def __len__(self) -> int:
        return int(self._volume.array.shape[AXES[self._preparation.plane]])

    def _plane(self, array: NDArray[Any], index: int) -> NDArray[Any]:
        return plane_of(array, self._preparation.plane, index)

    def image(self, index: int) -> NDArray[np.uint8]:
        """One slice as an image `(H, W, 3)` uint8, with its neighbours as channels if wanted.

        The first and the last slice stand in for the neighbours that they lack.
        """
        grey: NDArray[Any] = self._grey(index)
        if self._preparation.neighbours:
            below, above = max(index - 1, 0), min(index + 1, len(self) - 1)
            grey = np.dstack([self._grey(below), grey, self._grey(above)])
        if grey.shape[:2] != self.size:
            grey = resize_image(np.ascontiguousarray(grey), self.size)
        return np.dstack([grey] * 3) if grey.ndim == 2 else grey

    def _grey(self, index: int) -> NDArray[np.uint8]:
        """The slice at the volume's own size, windowed, C-contiguous."""
        plane = np.ascontiguousarray(self._plane(self._volume.array, index))
        if plane.dtype == np.int16:
            levels: NDArray[np.uint8] = self._table[plane.view(np.uint16)]
            return levels
        return _windowed(plane, self._window)

    def mask(self, index: int, labels: NDArray[Any]) -> NDArray[np.uint8]:
        """The ground truth of one slice.

        Args:
            index: of the slice.
            labels: `(X, Y, Z)` integers in RAS order.

        Returns:
            `(H, W)` uint8 in {0, 1}.
        """
        plane, label = self._plane(labels, index), self._preparation.label
        chosen = np.isin(plane, label) if label else plane > 0
        mask: NDArray[np.uint8] = np.ascontiguousarray(chosen, np.uint8)
        return mask if mask.shape == self.size else resize_mask(mask, self.size)

    def empty_map(self) -> NDArray[np.float32]:
        """An array of zeros for `put`, `(X, Y, Z)`. In memory its axial slices are in one piece."""
        return np.zeros(self._volume.array.shape, np.float32, order="F")

    def put(
        self, index: int, map_: NDArray[np.float32], out: NDArray[Any], add: bool = False
    ) -> None:
        """Write the map of one slice to the volume's grid.

        Args:
            index: of the slice.
            map_: `(H, W)` float32; it is resampled bilinearly to the voxels.
            out: `(X, Y, Z)` in RAS order, which is changed.
            add: add the map to what is there.
        """
        if self.size != self._shape:
            size = self._shape[::-1]
            map_ = np.asarray(cv2.resize(map_, size, interpolation=cv2.INTER_LINEAR), np.float32)
            map_ = map_.reshape(self._shape)
        plane = self._plane(out, index)
        if add:
            plane += map_
        else:
            plane[...] = map_


def _windowed(levels: NDArray[Any], window: tuple[float, float]) -> NDArray[np.uint8]:
    low, high = window
    scaled = (levels.astype(np.float32) - np.float32(low)) * np.float32(255 / (high - low))
    return np.rint(np.clip(scaled, 0, 255)).astype(np.uint8)


def _window_table(window: tuple[float, float]) -> NDArray[np.uint8]:
    """The grey level of each int16, indexed by its bits as uint16."""
    return _windowed(np.arange(2**16, dtype=np.uint16).view(np.int16), window)

"""A volume in memory, and where its voxels lie."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from polypseg.errors import InputError, expect

MOST_VOXELS = 2**30
SPACINGS = 0.1, 20.0  # mm: what a voxel of a CT of a person can measure
_LEAST_RANGE = 100  # Hounsfield units between the lowest and the highest voxel


def load_nibabel() -> Any:
    try:
        import nibabel
    except ImportError as error:
        raise InputError(
            "expected the package nibabel for volumes (pip install nibabel SimpleITK), "
            f"got: {error}"
        ) from error
    return nibabel


@dataclass(frozen=True, eq=False)
class Grid:
    """Where the voxels of a file lie.

    Attributes:
        shape: number of voxels along each axis of the file.
        affine: `(4, 4)` float64, from the index of a voxel to its centre in mm. The coordinates
            grow to the patient's right, anterior and superior, as in NIfTI.
    """

    shape: tuple[int, int, int]
    affine: NDArray[np.float64]

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Size of a voxel in mm, along the file's axes."""
        x, y, z = np.linalg.norm(self.affine[:3, :3], axis=0).tolist()
        return x, y, z

    @property
    def voxel_ml(self) -> float:
        """Volume of a voxel in millilitres."""
        return float(abs(np.linalg.det(self.affine[:3, :3]))) / 1000

    @cached_property
    def _orientation(self) -> NDArray[np.float64]:
        return load_nibabel().orientations.io_orientation(self.affine)

    @property
    def orientation(self) -> str:
        """Where the file's axes point to, such as "LPS"."""
        return "".join(load_nibabel().orientations.ornt2axcodes(self._orientation))

    @property
    def ras_affine(self) -> NDArray[np.float64]:
        """The affine of an array in RAS order."""
        turn = load_nibabel().orientations.inv_ornt_aff(self._orientation, self.shape)
        affine: NDArray[np.float64] = self.affine @ turn
        return affine

    def to_ras(self, stored: NDArray[Any]) -> NDArray[Any]:
        """A view of an array of the file, `shape`, in RAS order."""
        apply: Any = load_nibabel().orientations.apply_orientation
        array: NDArray[Any] = apply(stored, self._orientation)
        return array

    def from_ras(self, array: NDArray[Any]) -> NDArray[Any]:
        """A view of an array in RAS order, in the order of the file."""
        orientations = load_nibabel().orientations
        ras = orientations.axcodes2ornt("RAS")
        back = orientations.ornt_transform(ras, self._orientation)
        stored: NDArray[Any] = orientations.apply_orientation(array, back)
        return stored


@dataclass(frozen=True, eq=False)
class Volume:
    """A volume in memory.

    Attributes:
        path: the file, or the folder of the DICOM files.
        array: `(X, Y, Z)` in RAS order. Of a CT: Hounsfield units, int16, or float32 if they are no
            integers. Of labels: uint8 or uint16. Of probabilities: float32 or bool.
        grid: that of the file.
        spacing: size of a voxel in mm, along the axes of `array`.
        files: of a DICOM series its files, one for each slice along the third axis of the grid.
        header: of a NIfTI file its header without texts, which could name the patient.
    """

    path: Path
    array: NDArray[Any]
    grid: Grid
    spacing: tuple[float, float, float]
    files: tuple[Path, ...] = ()
    header: Any = None


def make_volume(
    path: Path, stored: NDArray[Any], grid: Grid, files: Iterable[Path] = (), header: Any = None
) -> Volume:
    """A `Volume` from an array in the order of the file."""
    array = grid.to_ras(stored)
    x, y, z = np.linalg.norm(grid.ras_affine[:3, :3], axis=0).tolist()
    return Volume(path, array, grid, (x, y, z), tuple(files), header)


def check_shape(shape: Sequence[int], path: Path, argument: str) -> tuple[int, int, int]:
    """A shape without axes of length 1 at its end. Raises `InputError` unless it has three."""
    sizes = list(map(int, shape))
    while len(sizes) > 3 and sizes[-1] == 1:
        sizes.pop()
    shown = " x ".join(map(str, shape))
    good = len(sizes) == 3 and min(sizes) > 0
    expect(good, argument, "a volume of three dimensions", f"{path} of {shown}")
    count = int(np.prod(sizes, dtype=object))
    expect(count <= MOST_VOXELS, argument, f"at most {MOST_VOXELS} voxels", f"{path} of {shown}")
    return sizes[0], sizes[1], sizes[2]


def check_grid(grid: Grid, path: Path, argument: str) -> None:
    """Raise `InputError` for an affine that is no grid of a scanner."""
    axes = grid.affine[:3, :3]
    good = np.isfinite(grid.affine).all() and abs(np.linalg.det(axes)) > 0
    expect(good, argument, "an affine that can be inverted", f"another one in {path}")
    low, high = SPACINGS
    shown = " x ".join(f"{size:.3g}" for size in grid.spacing)
    good = all(low <= size <= high for size in grid.spacing)
    unit = " (in metres?)" if max(grid.spacing) < low else ""
    expect(good, argument, f"voxels of {low:g} to {high:g} mm", f"{path} of {shown} mm{unit}")
    cosines = axes / np.linalg.norm(axes, axis=0)
    skewed = np.abs(cosines.T @ cosines - np.eye(3)).max() > 0.02
    expect(not skewed, argument, "axes at right angles", f"{path}, whose affine is skewed")


def check_hounsfield(volume: Volume, argument: str) -> None:
    """Raise `InputError` unless the numbers can be Hounsfield units: air and fat are below 0.

    The lowest value may stand for what the scanner did not see. If all others are 0 or more, the
    scanner's own numbers were not converted.
    """
    array = volume.array
    low, high = float(array.min()), float(array.max())
    second = float(np.min(array, where=array > low, initial=high))
    expect(
        low < 0
        and (second < 0 or second == high)
        and high - low >= _LEAST_RANGE
        and array.dtype != np.int32,
        argument,
        "a CT in Hounsfield units, in which air is near -1000 and fat near -100",
        f"{low:g} to {high:g} in {volume.path}",
    )


def check_same_grid(volume: Volume, labels: Volume, argument: str = "labels") -> None:
    """Raise `InputError` unless the voxels of both lie at the same places, within a tenth of one.

    The order of the axes in the files may differ.
    """
    shapes = [
        " x ".join(map(str, one.array.shape)) + f" voxels in {one.path}" for one in (volume, labels)
    ]
    expect(volume.array.shape == labels.array.shape, argument, shapes[0], shapes[1])
    ends = np.array([[0, 0, 0, 1], [*(length - 1 for length in volume.array.shape), 1]])
    away = (volume.grid.ras_affine - labels.grid.ras_affine) @ ends.T
    distance = float(np.linalg.norm(away[:3], axis=0).max())
    expect(
        distance <= 0.1 * min(volume.spacing),
        argument,
        f"the affine of {volume.path}",
        f"{labels.path}, whose voxels lie up to {distance:.3g} mm away (another scan?)",
    )

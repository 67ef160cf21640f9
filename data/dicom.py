"""Read a DICOM series of a CT: headers by pydicom, voxels by SimpleITK.

Nothing of a header but numbers and the Series Instance UID reaches a message.
"""

import importlib
import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from polypseg.errors import InputError, expect, reading
from polypseg.runtime import quiet

from .volume import Grid, Volume, check_grid, check_shape, make_volume

# A gap between slices that differs from the others by more than this share is an error.
_SAME_GAP = 0.1
_TAGS = [
    "SeriesInstanceUID",
    "Modality",
    "SamplesPerPixel",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "PixelSpacing",
    "ImageOrientationPatient",
    "ImagePositionPatient",
]


class _Slice(NamedTuple):
    """What the header of one file says. Positions and directions are in mm and LPS order."""

    path: Path
    series: str
    modality: str
    problem: str
    size: tuple[int, int]  # columns, rows
    spacing: tuple[float, float]  # of rows, of columns
    directions: tuple[float, ...]  # of a row, of a column
    position: tuple[float, ...]
    coding: str  # name of the transfer syntax


def is_dicom(path: Path) -> bool:
    """Whether a file has the mark of a DICOM file."""
    try:
        with open(path, "rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def has_dicom(paths: Iterable[Path]) -> bool:
    """Whether one of the paths is a DICOM file."""
    return any(is_dicom(path) for path in paths if path.is_file())


def read_series(folder: Path, series: str | None, argument: str) -> Volume:
    """Read the series in a folder and its subfolders.

    Args:
        folder: the folder; files that are not DICOM are ignored.
        series: Series Instance UID; not needed if there is only one.
        argument: the argument that errors name.

    Raises:
        InputError: see `data.volumes.read_volume`.
    """
    slices = _choose(_read_headers(folder, argument), folder, series, argument)
    for slice_ in slices:
        if slice_.problem:
            raise InputError(f"expected slices of a CT, got {slice_.problem}", argument)
    slices, grid = _sorted(slices, folder, argument)
    files = [slice_.path for slice_ in slices]
    voxels = _read_voxels(files, folder, slices[0].coding, argument)
    return make_volume(folder, voxels, grid, files)


def _read_headers(folder: Path, argument: str) -> list[_Slice]:
    pydicom = _package("pydicom", "highdicom")
    found = []
    with reading(folder, "a readable folder", argument):
        files = sorted(path for path in folder.rglob("*") if path.is_file())
    for path in filter(is_dicom, files):
        with reading(path, "a complete DICOM file", argument):
            header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=_TAGS)
            if "Modality" in header or "Rows" in header:  # no index of the folder (DICOMDIR)
                found.append(_slice(path, header))
    expect(found, argument, "a folder with a DICOM series", f"none in {folder}")
    return found


def _slice(path: Path, header: Any) -> _Slice:
    modality = str(header.get("Modality", "")) or "an unknown modality"
    samples, frames = header.get("SamplesPerPixel", 1), header.get("NumberOfFrames") or 1
    problem = ""
    if modality != "CT":
        problem = f"{modality} in {path}"
    elif samples != 1:
        problem = f"an image in colour in {path}"
    elif frames != 1:
        problem = f"{frames} frames in {path}; one slice a file is read"
    elif any(not header.get(tag) for tag in _TAGS[4:]):
        problem = f"{path} without {next(tag for tag in _TAGS[4:] if not header.get(tag))}"
    numbers = {tag: () if problem else tuple(map(float, header[tag].value)) for tag in _TAGS[6:]}
    return _Slice(
        path,
        str(header.get("SeriesInstanceUID", "")),
        modality,
        problem,
        (0, 0) if problem else (int(header.Columns), int(header.Rows)),
        numbers["PixelSpacing"],  # type: ignore[arg-type]  # two numbers, as DICOM has it
        numbers["ImageOrientationPatient"],
        numbers["ImagePositionPatient"],
        str(header.file_meta.TransferSyntaxUID.name),
    )


def _choose(
    slices: Sequence[_Slice], folder: Path, series: str | None, argument: str
) -> list[_Slice]:
    """The slices of one series. Raises `InputError` if it is not clear which one is wanted."""
    known = defaultdict(list)
    for slice_ in slices:
        known[slice_.series].append(slice_)
    if series is None and len(known) == 1:
        return list(slices)
    if series is not None and series in known:
        return known[series]
    listed = "; ".join(
        f"{uid} ({len(members)} {members[0].modality} files of "
        f"{members[0].size[0]} x {members[0].size[1]})"
        for uid, members in known.items()
    )
    if series is None:
        raise InputError(
            f"expected one series, got {len(known)} in {folder}; choose one with `series`: "
            f"{listed}",
            argument,
        )
    raise InputError(f"expected a series of {folder}: {listed}; got {series}", "series")


def _sorted(slices: list[_Slice], folder: Path, argument: str) -> tuple[list[_Slice], Grid]:
    """The slices along their normal, and the grid of the volume. Raises `InputError` for gaps."""
    first = slices[0]
    for other in slices[1:]:
        same = other.size == first.size and np.allclose(
            (*other.spacing, *other.directions), (*first.spacing, *first.directions), atol=1e-3
        )
        expect(
            same,
            argument,
            "slices of one size, spacing and orientation",
            f"{first.path.name} and {other.path.name} in {folder}, which differ",
        )
    expect(len(slices) > 1, argument, "two or more slices", f"one in {folder}")
    row, column = np.reshape(first.directions, (2, 3))
    normal = np.cross(row, column)
    slices = sorted(slices, key=lambda slice_: float(normal @ slice_.position))
    positions = np.array([slice_.position for slice_ in slices])
    gaps = np.diff(positions @ normal)
    usual = float(np.median(gaps))
    for index in np.flatnonzero(np.abs(gaps - usual) > max(_SAME_GAP * usual, 0.01)):
        what = "is a slice missing?" if gaps[index] > usual else "is a slice there twice?"
        raise InputError(
            f"expected equal distances between slices, got {usual:.4g} mm and, between "
            f"{slices[index].path.name} and {slices[index + 1].path.name}, {gaps[index]:.4g} mm "
            f"in {folder} ({what})",
            argument,
        )
    step = (positions[-1] - positions[0]) / (len(slices) - 1)
    affine = np.eye(4)
    height, width = first.spacing
    affine[:3] = np.stack([row * width, column * height, step, positions[0]], axis=1)
    affine[:2] *= -1  # from LPS to RAS
    shape = check_shape((*first.size, len(slices)), folder, argument)
    grid = Grid(shape, affine)
    check_grid(grid, folder, argument)
    return slices, grid


def _read_voxels(files: Sequence[Path], folder: Path, coding: str, argument: str) -> NDArray[Any]:
    """`(columns, rows, slices)` in Hounsfield units, int16 or float32."""
    itk = _package("SimpleITK", "SimpleITK")
    reader = itk.ImageSeriesReader()
    reader.SetFileNames([os.fspath(path) for path in files])
    try:
        with quiet():
            image = reader.Execute()
    except RuntimeError as error:  # its text names files of SimpleITK's own
        raise InputError(
            f"expected complete files that SimpleITK can decode, got {folder} (their coding is "
            f"{coding})",
            argument,
        ) from error
    voxels = itk.GetArrayViewFromImage(image)  # valid as long as the image is there
    kind = np.int16 if voxels.dtype.kind in "iu" else np.float32
    if kind is np.float32:
        whole = all((part == np.rint(part)).all() for part in voxels)
        kind = np.int16 if whole else np.float32
    if kind is np.int16:
        expect(
            voxels.min() >= -(2**15) and voxels.max() < 2**15,
            argument,
            "Hounsfield units below 32768",
            f"{voxels.min():g} to {voxels.max():g} in {folder}",
        )
    array: NDArray[Any] = voxels.astype(kind).T
    return array


def _package(module: str, package: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InputError(
            f"expected the package {package} for DICOM (pip install {package}), got: {error}"
        ) from error

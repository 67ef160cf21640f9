"""Read a DICOM series of a CT: headers by pydicom, voxels by SimpleITK.

Nothing of a header but numbers and the Series Instance UID reaches a message.
"""

import importlib
import os
import re
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from polypseg.errors import InputError, Note, expect, reading
from polypseg.runtime import quiet

from .volume import Grid, Volume, check_grid, check_shape, make_volume

# Slices that lie off the grid, or gaps that differ, by more than this share of a gap are an error.
# Besides, scanners round positions to a tenth of a millimetre.
_SHARE, _ROUNDING = 0.1, 0.1
_SUFFIXES = (".dcm", ".dicom", ".ima")
_TAGS = [
    "SeriesInstanceUID",
    "Modality",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "NumberOfFrames",
    "RescaleSlope",
    "RescaleIntercept",
    "Rows",
    "Columns",
    "PixelSpacing",
    "ImageOrientationPatient",
    "ImagePositionPatient",
]
_GEOMETRY = _TAGS[-5:]


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
    rescaled: bool  # whether it says how its numbers become Hounsfield units


def files_below(folder: Path, argument: str) -> Iterator[Path]:
    """The files in a folder and its subfolders, but hidden ones. Raises `InputError`."""

    def refuse(error: OSError) -> None:
        raise error

    with reading(folder, "a folder that can be read", argument):
        for parent, folders, names in os.walk(folder, onerror=refuse):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(names):
                path = Path(parent, name)
                if not name.startswith(".") and path.is_file():
                    yield path


def has_dicom(paths: Iterable[Path], argument: str) -> bool:
    """Whether one of the files is a DICOM file. Raises `InputError` for one that cannot be read."""
    return any(_is_dicom(path, argument) for path in paths)


def _is_dicom(path: Path, argument: str) -> bool:
    """Whether a file has the mark of a DICOM file. Raises `InputError` if it should have it."""
    with reading(path, "a file that can be read", argument), open(path, "rb") as file:
        marked = file.read(132)[128:] == b"DICM"
        if not marked and path.suffix.lower() in _SUFFIXES:
            raise ValueError("no DICOM file, or one without a preamble")
        return marked


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
    found, others = [], 0
    for path in files_below(folder, argument):
        if not _is_dicom(path, argument):
            others += 1
            continue
        with reading(path, "a complete DICOM file", argument):
            header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=_TAGS)
            if "Modality" in header or "Rows" in header:  # no index of the folder (DICOMDIR)
                found.append(_slice(path, header))
    expect(found, argument, "a folder with a DICOM series", f"none in {folder}")
    if others:
        what = f"{others} file{'s' * (others > 1)} in {folder} that are not DICOM"
        warnings.warn(f"not read: {what}", Note, stacklevel=1)
    return found


def _slice(path: Path, header: Any) -> _Slice:
    modality = str(header.get("Modality", ""))
    if not re.fullmatch("[A-Z]{2,16}", modality):
        modality = "an unknown modality"
    samples, frames = header.get("SamplesPerPixel", 1), header.get("NumberOfFrames") or 1
    lacking = [tag for tag in _GEOMETRY if not header.get(tag)]
    problem = ""
    if modality != "CT":
        problem = f"{modality} in {path}"
    elif samples != 1:
        problem = f"an image in colour in {path}"
    elif frames != 1:
        problem = f"{frames} frames in {path}; one slice a file is read"
    elif header.get("PhotometricInterpretation", "MONOCHROME2") != "MONOCHROME2":
        problem = f"inverted grey levels (not MONOCHROME2) in {path}"
    elif lacking:
        problem = f"{path} without {lacking[0]}"
    numbers = {
        tag: () if problem else tuple(map(float, header[tag].value)) for tag in _GEOMETRY[2:]
    }
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
        "RescaleSlope" in header and "RescaleIntercept" in header,
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
    scans = [uid for uid, members in known.items() if members[0].modality == "CT"]
    if series is None and len(scans) == 1:
        others = Counter(slice_.modality for slice_ in slices if slice_.series != scans[0])
        what = ", ".join(f"{count} {modality}" for modality, count in others.items())
        warnings.warn(f"not read: {what} in {folder}, beside the CT", Note, stacklevel=1)
        return known[scans[0]]
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
        same = (other.size, other.rescaled) == (first.size, first.rescaled) and np.allclose(
            (*other.spacing, *other.directions), (*first.spacing, *first.directions), atol=1e-3
        )
        expect(
            same,
            argument,
            "slices of one size, spacing, orientation and rescaling",
            f"{first.path.name} and {other.path.name} in {folder}, which differ",
        )
    expect(len(slices) > 1, argument, "two or more slices", f"one in {folder}")
    row, column = np.reshape(first.directions, (2, 3))
    normal = np.cross(row, column)
    slices = sorted(slices, key=lambda slice_: float(normal @ slice_.position))
    positions = np.array([slice_.position for slice_ in slices])
    gaps = np.diff(positions @ normal)
    usual = float(np.median(gaps))
    twice = gaps < 0.01
    limit = _SHARE * usual + _ROUNDING
    for index in np.flatnonzero(twice if twice.any() else np.abs(gaps - usual) > limit):
        what = "is a slice there twice?" if twice.any() else "is a slice missing?"
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
    off = np.abs(positions - positions[0] - np.arange(len(slices))[:, None] * step).max()
    expect(
        off <= limit,
        argument,
        "slices on a grid, at equal distances and one above the other",
        f"one that lies {off:.3g} mm off in {folder}",
    )
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

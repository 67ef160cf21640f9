"""From CT volumes and their labels to a folder of slices that `train.py` reads."""

import hashlib
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from polypseg.errors import InputError, InputErrors, Note
from polypseg.files import csv_text, write_text

from .dicom_order import in_dicom_order
from .images import write_png
from .listed import some
from .preparation import VOLUME_JSON, Preparation, patient_and_slice
from .presets.base import VolumePreset
from .slices import Slicer, plane_of
from .splits import write_split
from .volume import Volume
from .volumes import check_same_grid, find_volumes, read_labels, read_volume

VOLUMES_CSV = "volumes.csv"


class Case(NamedTuple):
    """A volume and its labels.

    Attributes:
        patient: name of the patient, see `data.volumes.patient_name`.
        volume: a NIfTI file, or a folder with a DICOM series.
        labels: a NIfTI file.
    """

    patient: str
    volume: Path
    labels: Path


class Row(NamedTuple):
    """A line of `volumes.csv`.

    Attributes:
        patient: its name.
        file: name of the file, or of the folder of a DICOM series.
        shape, spacing: number of voxels, and their size in mm, along the axes of the file.
        orientation: where these axes point to, such as `LPS`.
        slices: number of slices of the volume in the plane of the preparation.
        kept: number of slices that were written.
        slice_spacing: of the written slices, in mm: height of a row, width of a column, distance
            between slices.
        label_voxels: number of foreground voxels of the volume.
        label_ml: their volume in millilitres.
    """

    patient: str
    file: str
    shape: str
    spacing: str
    orientation: str
    slices: int
    kept: int
    slice_spacing: str
    label_voxels: int
    label_ml: float


def find_cases(volumes: Sequence[str], labels: Sequence[str]) -> list[Case]:
    """Match volumes and label volumes by the name of the patient.

    Args:
        volumes, labels: files and folders, see `data.volumes.find_volumes`.

    Raises:
        InputErrors: volumes without labels, or labels without a volume.
        InputError: see `find_volumes`.
    """
    found, labelled = find_volumes(volumes, "volumes"), find_volumes(labels, "labels")
    errors = []
    for argument, this, other, what in (
        ("labels", found, labelled, "a label volume for each volume"),
        ("volumes", labelled, found, "a volume for each label volume"),
    ):
        alone = [name for name in this if name not in other]
        if alone:
            has = ", ".join(path.name for path in list(other.values())[:2]) + ", ..."
            errors.append(
                InputError(f"expected {what}, got none for {some(alone)} among {has}", argument)
            )
    if errors:
        raise InputErrors(errors)
    return [Case(patient, path, labelled[patient]) for patient, path in found.items()]


def find_published_cases(preset: VolumePreset, source: Path) -> list[Case]:
    """The cases of an unpacked archive. A `Note` names those that are missing.

    Raises:
        InputError: there are none, or volumes without labels.
    """
    volumes, labels = preset.find(source)
    without = sorted(volumes.keys() - labels.keys())
    if not volumes or without:
        found = f"no labels of {some(without)}" if volumes else "no volumes"
        raise InputError(
            f"expected {preset.layout}, got {found} in {source}; the data are at {preset.source}",
            "source",
        )
    missing = [name for name in preset.patients if name not in volumes]
    if missing:
        names = ", ".join(missing) if len(missing) <= 10 else some(missing)
        warnings.warn(
            f"{len(missing)} of the {len(preset.patients)} cases are missing: {names} "
            f"({preset.absent})",
            Note,
            stacklevel=2,
        )
    return [Case(patient, volumes[patient], labels[patient]) for patient in sorted(volumes)]


def write_slices(
    cases: Sequence[Case],
    folder: Path,
    preparation: Preparation,
    keep_empty: float = 1.0,
    series: str | None = None,
    arguments: tuple[str, str] = ("volumes", "labels"),
    dicom_order: bool = False,
    workers: int | None = os.cpu_count(),
    on_case: Callable[[], object] = lambda: None,
) -> list[Row]:
    """Write `images/PATIENT-SLICE.png`, masks of the same names, `volumes.csv` and `volume.json`.

    All volumes are checked, and all problems reported together. After the first one nothing more
    is written, and the folder is to be thrown away.

    Args:
        cases: what `find_cases` returns.
        folder: an empty folder.
        preparation: how slices are made.
        keep_empty: fraction of the slices without foreground that are written, 0 to 1. They are
            spread evenly over those of a volume.
        series: as for `data.volumes.read_volume`.
        arguments: the arguments that errors name for volumes and for labels.
        dicom_order: of a `VolumePreset`.
        workers: number of threads.
        on_case: called after each case.

    Returns:
        A row for each case.

    Raises:
        InputError: a name that is not UTF-8.
        InputErrors: for each volume that cannot be used its problem: it cannot be read, its labels
            have another shape or affine, it has the same voxels as another one; and if a label of
            the preparation is in no file.
        OSError: a file cannot be written.
    """
    for case in cases:
        try:
            case.volume.name.encode()
        except UnicodeEncodeError as error:  # csv files are UTF-8
            got = f"{case.volume} with other bytes"
            raise InputError(f"expected a name in UTF-8, got {got}", arguments[0]) from error
    for name in ("images", "masks"):
        (folder / name).mkdir()
    rows: list[Row] = []
    errors: list[InputError] = []
    counts: dict[int, int] = dict.fromkeys(preparation.label or (), 0)
    seen: dict[str, Path] = {}
    levels: set[int] = set()
    for case in cases:
        try:
            volume, labels = _read(case, series, arguments, dicom_order, seen)
            foreground = _foreground(labels.array, preparation.label, counts, levels)
            slicer = Slicer(volume, preparation)
            filled = [
                bool(plane_of(foreground, preparation.plane, index).any())
                for index in range(len(slicer))
            ]
            kept = _kept(filled, keep_empty)
            rows.append(_row(case, volume, slicer, len(kept), int(np.count_nonzero(foreground))))
            if not errors:
                _write(case.patient, folder, slicer, labels.array, kept, workers)
        except InputError as error:
            errors.append(error)
        on_case()
    if not errors:
        errors = _absent_labels(rows, counts, levels, arguments[1])
    if errors:
        raise InputErrors(errors)
    empty = [row.patient for row in rows if not row.label_voxels]
    if empty:
        warnings.warn(f"no foreground in {some(empty)}", Note, stacklevel=2)
    write_text(folder / VOLUMES_CSV, csv_text(rows[0]._asdict(), rows))
    write_text(folder / VOLUME_JSON, preparation.to_json())
    return rows


def write_patient_splits(folder: Path, splits: Mapping[str, Mapping[str, Sequence[str]]]) -> None:
    """Write `splits/NAME/{train,val,test}.txt`, the stems of the slices of the patients.

    A split in which a subset would be empty is not written. A `Note` says so.

    Args:
        folder: with `images/`.
        splits: for each name the patients in each subset.
    """
    stems: dict[str, list[str]] = {}
    for path in sorted((folder / "images").iterdir()):
        parts = patient_and_slice(path.stem)
        if parts:
            stems.setdefault(parts[0], []).append(path.stem)
    for name, split in splits.items():
        listed = {
            subset: [stem for patient in patients for stem in stems.get(patient, [])]
            for subset, patients in split.items()
        }
        if all(listed.values()):
            write_split(folder / "splits" / name, listed)
        else:
            lacking = ", ".join(subset for subset in listed if not listed[subset])
            warnings.warn(f"no split {name}: no slices for {lacking}", Note, stacklevel=2)


def _read(
    case: Case,
    series: str | None,
    arguments: tuple[str, str],
    dicom_order: bool,
    seen: dict[str, Path],
) -> tuple[Volume, Volume]:
    """Read and check a volume and its labels.

    Args:
        seen: the path of each volume so far by the hash of its voxels; the volume is added.
    """
    volume = read_volume(case.volume, series, arguments[0])
    labels = read_labels(case.labels, arguments[1])
    if dicom_order:
        labels = in_dicom_order(volume, labels, arguments[1])
    check_same_grid(volume, labels, arguments[1])
    other = seen.setdefault(_digest(volume.array), case.volume)
    if other != case.volume:
        raise InputError(
            f"expected each patient once, got the same voxels in {other} and {case.volume}",
            arguments[0],
        )
    return volume, labels


def _digest(voxels: NDArray[Any]) -> str:
    """A hash of the voxels, the same for each order of the axes in memory."""
    found = hashlib.blake2b(digest_size=8)
    # A part has the width of a cache line, so that no order is slow, and is all that is copied.
    for begin in range(0, len(voxels), 32):
        found.update(voxels[begin : begin + 32].tobytes())
    return found.hexdigest()


def _foreground(
    labels: NDArray[Any], wanted: tuple[int, ...] | None, counts: dict[int, int], levels: set[int]
) -> NDArray[np.bool_]:
    """Where the foreground is.

    Adds the number of voxels of each wanted label to `counts`, and if one is not there, all levels
    of the labels to `levels`.
    """
    if wanted is None:
        return labels > 0
    foreground = np.zeros_like(labels, bool)
    for label in dict.fromkeys(wanted):
        here = labels == label
        count = int(np.count_nonzero(here))
        if not count:
            levels.update(np.unique(labels).tolist())
        counts[label] += count
        foreground |= here
    return foreground


def _kept(filled: Sequence[bool], keep_empty: float) -> list[int]:
    """The indices of the slices to write: those with foreground, and a share of the others.

    >>> _kept([False, False, True, False, False], 0.5)
    [1, 2, 4]
    """
    empty = [index for index, has_foreground in enumerate(filled) if not has_foreground]
    count = round(keep_empty * len(empty))
    # The middles of `count` equal stretches.
    chosen = {empty[int((place + 0.5) * len(empty) / count)] for place in range(count)}
    return [index for index in range(len(filled)) if filled[index] or index in chosen]


def _write(
    patient: str,
    folder: Path,
    slicer: Slicer,
    labels: NDArray[Any],
    kept: Sequence[int],
    workers: int | None,
) -> None:
    def write(index: int) -> None:
        name = f"{patient}-{index:04d}.png"
        write_png(folder / "images" / name, slicer.image(index))
        write_png(folder / "masks" / name, slicer.mask(index, labels) * np.uint8(255))

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(write, kept))  # raises the errors of the threads


def _row(case: Case, volume: Volume, slicer: Slicer, kept: int, voxels: int) -> Row:
    grid = volume.grid
    return Row(
        case.patient,
        case.volume.name,
        " ".join(map(str, grid.shape)),
        " ".join(f"{size:.6g}" for size in grid.spacing),
        grid.orientation,
        len(slicer),
        kept,
        " ".join(f"{size:.6g}" for size in slicer.spacing),
        voxels,
        round(voxels * grid.voxel_ml, 3),
    )


def _absent_labels(
    rows: Sequence[Row], counts: Mapping[int, int], levels: set[int], argument: str
) -> list[InputError]:
    """An error if a wanted label, or all foreground, is in no file."""
    absent = [label for label, count in counts.items() if not count]
    if absent:
        listed = ", ".join(map(str, absent))
        there = sorted(levels - {0})
        has = ", ".join(map(str, there[:20])) + (", ..." if len(there) > 20 else "")
        got = f"{listed}, which no label volume has (there are: {has or 'none'})"
        return [InputError(f"expected labels that are there, got {got}", "label")]
    if not any(row.label_voxels for row in rows):
        return [InputError("expected foreground in some label volume, got none", argument)]
    return []

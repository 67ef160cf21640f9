"""The patients of a data set of slices, as `prepare_data.py` writes them."""

import csv
import math
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from polypseg.data.preparation import patient_and_slice
from polypseg.data.prepare import VOLUMES_CSV
from polypseg.errors import InputError, Note, expect, reading
from polypseg.files import from_spreadsheet

from ..sources import Item, Source

_COLUMNS = ("patient", "slices", "kept", "slice_spacing")


class SlicedVolume(NamedTuple):
    """A line of `volumes.csv`.

    Attributes:
        slices: number of slices of the volume.
        kept: number of slices that were written as images.
        spacing: in mm: distance of the slices, height of a row, width of a column.
    """

    slices: int
    kept: int
    spacing: tuple[float, float, float]


class Patient(NamedTuple):
    """The slices of one volume.

    Attributes:
        name: of the patient.
        items: by the index of the slice, in rising order.
        volume: its size.
    """

    name: str
    items: dict[int, Item]
    volume: SlicedVolume


def has_volumes(source: Source) -> bool:
    """Whether the images of a source are slices of volumes: `volumes.csv` lies beside them."""
    return os.path.lexists(_csv_of(source))


def _csv_of(source: Source) -> Path:
    return source.items[0].mask.parent.parent / VOLUMES_CSV


def read_volumes_csv(path: Path, argument: str) -> dict[str, SlicedVolume]:
    """The lines of a file `volumes.csv`, by patient.

    Raises:
        InputError: the file cannot be read, or was not written by `prepare_data.py`; the error
            names `argument`.
    """
    with reading(path, f"the {VOLUMES_CSV} of prepare_data.py", argument):
        with open(path, newline="", encoding="utf-8") as file:
            lines = csv.DictReader(file, strict=True)
            missing = set(_COLUMNS) - set(lines.fieldnames or ())
            if missing:
                raise ValueError(f"expected the column {min(missing)}")
            return {from_spreadsheet(line["patient"]): _volume(line) for line in lines}


def _volume(line: Mapping[str, str]) -> SlicedVolume:
    numbers = [float(part) for part in line["slice_spacing"].split()]
    slices, kept = int(line["slices"]), int(line["kept"])
    good = len(numbers) == 3 and all(0 < number < math.inf for number in numbers)
    if not good or not 0 <= kept <= slices:
        raise ValueError(f"expected numbers that fit together, got those of {line['patient']}")
    row, column, between = numbers
    return SlicedVolume(slices, kept, (between, row, column))


def patients_of(source: Source) -> list[Patient]:
    """The patients of a source of slices.

    Raises:
        InputError: there is no `volumes.csv`, a name is not `PATIENT-SLICE`, or a patient is not
            in `volumes.csv` or has not all of its slices: a part of a volume has another Dice.
    """
    argument = "masks" if source.items[0].map else "data_path"
    path = _csv_of(source)
    expect(
        has_volumes(source),
        argument,
        f"slices of prepare_data.py with a file {VOLUMES_CSV}, which has the size of the voxels",
        f"no {path}",
    )
    volumes = read_volumes_csv(path, argument)
    slices: dict[str, dict[int, Item]] = {}
    for item in source.items:
        parts = patient_and_slice(item.stem)
        if not parts:
            raise InputError(f"expected names PATIENT-SLICE, got {item.stem}", argument)
        slices.setdefault(parts[0], {})[parts[1]] = item
    if source.subset in ("all", None):
        without = [name for name, one in volumes.items() if one.kept and name not in slices]
        expect(not without, argument, f"slices of each patient in {path}", f"none of {without[:3]}")
    patients = []
    for name, of_patient in sorted(slices.items()):
        volume = volumes.get(name)
        if volume is None:
            raise InputError(f"expected {name} in {path}, got no such patient", argument)
        _check_complete(name, of_patient, volume, source, argument)
        patients.append(Patient(name, dict(sorted(of_patient.items())), volume))
    _note_left_out(patients, volumes, source)
    return patients


def _check_complete(
    name: str, items: Mapping[int, Item], volume: SlicedVolume, source: Source, argument: str
) -> None:
    got = f"{len(items)} in {source.data}"
    if source.subset in ("train", "val", "test"):
        got += ", whose split divides patients"
    expect(len(items) == volume.kept, argument, f"all {volume.kept} slices of {name}", got)
    last = max(items)
    expect(last < volume.slices, argument, f"{volume.slices} slices of {name}", f"number {last}")


def _note_left_out(
    patients: list[Patient], volumes: Mapping[str, SlicedVolume], source: Source
) -> None:
    left_out = sum(patient.volume.slices - patient.volume.kept for patient in patients)
    if left_out:
        warnings.warn(
            f"{left_out} of {sum(patient.volume.slices for patient in patients)} slices in "
            f"{source.data} were left out by prepare_data.py (`keep_empty`): false alarms there do "
            "not count",
            Note,
            stacklevel=2,
        )
    nothing = [name for name, one in volumes.items() if not one.kept]
    if nothing and source.subset in ("all", None):
        warnings.warn(
            f"not scored: {len(nothing)} patients in {source.data} without any slice "
            f"({', '.join(nothing[:3])}{', ...' if len(nothing) > 3 else ''})",
            Note,
            stacklevel=2,
        )

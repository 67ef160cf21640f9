"""Read CT volumes, label volumes and saved probability volumes, and find them in folders.

NIfTI files are read by nibabel (`data/nifti.py`), DICOM series by SimpleITK (`data/dicom.py`).
Arrays are in RAS order: the index grows to the patient's right, anterior and superior, whatever
order the file has.
"""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from polypseg.errors import expect, reading

from .dicom import files_below, has_dicom, read_series
from .nifti import NIFTI_SUFFIXES, expect_nifti, is_nifti, read_nifti, write_nifti
from .volume import Grid, Volume, check_hounsfield, check_same_grid

__all__ = [
    "Grid",
    "Volume",
    "check_same_grid",
    "find_volumes",
    "patient_name",
    "read_labels",
    "read_probability",
    "read_volume",
    "write_nifti",
]


def read_volume(
    path: str | os.PathLike[str], series: str | None = None, argument: str = "volume"
) -> Volume:
    """Read a CT volume.

    Args:
        path: a NIfTI file, or a folder with the files of a DICOM series.
        series: the Series Instance UID, if the folder has several.
        argument: the argument that errors name.

    Raises:
        InputError: a package is missing, or the file is damaged, not three-dimensional, in colour,
            not a CT, not in Hounsfield units (nothing is below 0), or of an impossible size; for a
            DICOM folder also: several series, missing slices, unequal distances.

    >>> read_volume("ct.nii.gz").array.shape  # doctest: +SKIP
    (512, 512, 300)
    """
    path = Path(path)
    if os.path.isdir(path):
        volume = read_series(path, series, argument)
    else:
        expect_nifti(path, argument, "or a folder with a DICOM series")
        volume = read_nifti(path, argument)
    check_hounsfield(volume, argument)
    return volume


def read_labels(path: str | os.PathLike[str], argument: str = "labels") -> Volume:
    """Read a NIfTI file of labels: integers of 0 or more, in any type of number.

    Raises:
        InputError: as for `read_volume`, or other numbers.
    """
    path = Path(path)
    expect_nifti(path, argument)
    volume = read_nifti(path, argument)
    array = volume.array
    low, high = int(array.min()), int(array.max())
    good = array.dtype != np.float32 and 0 <= low and high < 2**16
    got = "numbers that are no integers" if array.dtype == np.float32 else f"{low} to {high}"
    expect(good, argument, "labels, integers from 0 to 65535", f"{got} in {path}")
    return replace(volume, array=array.astype(np.uint8 if high < 2**8 else np.uint16))


def read_probability(path: str | os.PathLike[str], argument: str = "predictions") -> Volume:
    """Read a NIfTI file of probabilities, or a mask.

    Returns:
        A volume of float32 in [0, 1]; of bool for a file of integers, whose levels are 0 and 1, or
        0 and 255.

    Raises:
        InputError: as for `read_volume`, or other numbers.
    """
    path = Path(path)
    expect_nifti(path, argument)
    volume = read_nifti(path, argument)
    array = volume.array
    if array.dtype == np.float32:
        good = 0 <= array.min() and array.max() <= 1
        got = f"{array.min():g} to {array.max():g} in {path}"
        expect(good, argument, "probabilities from 0 to 1", got)
        return volume
    levels = np.unique(array).tolist()
    good = levels in ([0], [1], [255], [0, 1], [0, 255])
    shown = " ".join(map(str, levels[:5])) + (" ..." if len(levels) > 5 else "")
    expect(good, argument, "a mask of 0 and 1, or probabilities", f"the levels {shown} in {path}")
    return replace(volume, array=array > 0)


def find_volumes(paths: Sequence[str | os.PathLike[str]], argument: str) -> dict[str, Path]:
    """Find volumes: NIfTI files, and folders with DICOM files.

    Args:
        paths: files, DICOM folders, or folders that contain such files or folders. A folder with
            one DICOM folder and nothing else counts as that patient's folder.
        argument: the argument that errors name.

    Returns:
        The path of each volume by the name of its patient, see `patient_name`, sorted by it.

    Raises:
        InputError: a path with no volume or that cannot be read, or two volumes of one name.
    """
    found: list[Path] = []
    for given in map(Path, paths):
        if not os.path.isdir(given):
            expect_nifti(given, argument, "or a folder")
            found.append(given)
            continue
        with reading(given, "a folder that can be read", argument):
            inside = sorted(path for path in given.iterdir() if not path.name.startswith("."))
        here = [path for path in inside if is_nifti(path) and path.is_file()]
        if has_dicom((path for path in inside if path.is_file()), argument):
            here.append(given)
        else:
            folders = [path for path in inside if path.is_dir()]
            below = [path for path in folders if has_dicom(files_below(path, argument), argument)]
            # One folder in it, named after the study: the folder that is given is the patient's.
            here += [given] if len(below) == 1 and not here else below
        expect(here, argument, "NIfTI files or DICOM series", f"none in {given}")
        found += here
    volumes: dict[str, Path] = {}
    for path in found:
        other = volumes.setdefault(patient_name(path), path)
        same = os.path.realpath(other) == os.path.realpath(path)
        what = f"{other} and {path}, both of {patient_name(path)}"
        expect(same, argument, "one volume for each patient", what)
    return dict(sorted(volumes.items()))


def patient_name(path: str | os.PathLike[str]) -> str:
    """The name of a file or folder without its suffix; "_" replaces hyphens and spaces.

    >>> patient_name("scans/case-12.nii.gz")
    'case_12'
    """
    name = os.path.basename(os.path.abspath(path))
    for suffix in NIFTI_SUFFIXES:
        if name.lower().endswith(suffix):
            name = name[: -len(suffix)]
            break
    return "_".join(name.replace("-", "_").split())

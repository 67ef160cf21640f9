"""Pancreas-CT of the NIH, "CT-82". Roth et al., MICCAI 2015; doi:10.7937/K9/TCIA.2016.tNB1kqBU."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from polypseg.errors import InputError

from .base import Split, VolumePreset

# The first and the last case of each published fold, as in Zhou et al., MICCAI 2017.
FOLDS = ((1, 20), (21, 40), (41, 61), (62, 82))

_PATIENT = re.compile(r"PANCREAS_\d{4}")
_VOLUME = re.compile(r"(PANCREAS_\d{4})\.nii(?:\.gz)?")
_LABEL = re.compile(r"label(\d{4})\.nii(?:\.gz)?")


def find(source: Path) -> tuple[dict[str, Path], dict[str, Path]]:
    """The volumes and labels in the folders that TCIA's download makes, or as NIfTI files.

    Raises:
        InputError: two volumes or two labels of one patient.
    """
    volumes: dict[str, Path] = {}
    labels: dict[str, Path] = {}

    def add(found: dict[str, Path], patient: str, path: Path) -> None:
        if patient in found:
            raise InputError(f"expected {patient} once, got {found[patient]} and {path}", "source")
        found[patient] = path

    for name, folders, files in os.walk(source):
        for folder in sorted(filter(_PATIENT.fullmatch, folders)):
            add(volumes, folder, Path(name, folder))
            folders.remove(folder)  # what is in it is one series of DICOM files
        for file in sorted(files):
            if match := _VOLUME.fullmatch(file):
                add(volumes, match[1], Path(name, file))
            elif match := _LABEL.fullmatch(file):
                add(labels, f"PANCREAS_{match[1]}", Path(name, file))
    return volumes, labels


def folds(patients: Sequence[str]) -> dict[str, Split]:
    """The four published folds, by the number of the case.

    The published folds have no images for validation; every eighth of the other patients is taken.
    """
    splits = {}
    for number, (first, last) in enumerate(FOLDS, 1):
        test = [name for name in patients if first <= int(name[-4:]) <= last]
        others = [name for name in patients if name not in test]
        val = others[::8]
        train = [name for name in others if name not in val]
        splits[f"fold-{number}"] = {"train": train, "val": val, "test": test}
    return splits


PRESET = VolumePreset(
    title="Pancreas-CT of the NIH (CT-82)",
    source="https://www.cancerimagingarchive.net/collection/pancreas-ct/",
    terms="CC BY 3.0, TCIA data usage policy",
    layout="PANCREAS_0001/.../*.dcm (or PANCREAS_0001.nii.gz) and label0001.nii.gz, in any folders",
    window=(-100.0, 240.0),
    label=(1,),
    find=find,
    patients=tuple(f"PANCREAS_{number:04d}" for number in range(1, 83)),
    absent="TCIA withdrew 25 and 70; the folds go by the number of the case, so they stay the same",
    dicom_order=True,
    folds=folds,
)

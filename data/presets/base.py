"""The description of a published data set: of images, or of CT volumes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

# `{"train": [...], "val": [...], "test": [...]}`, of stems or of patients.
Split = dict[str, list[str]]


class RandomSplit(NamedTuple):
    """A published split that `data.draw_splits.random_split(stems, fraction, seed)` draws.

    Attributes:
        name: of its folder in `splits/`.
        fraction, seed: as for `random_split`.
        images: their number. With another one it would be another split.
    """

    name: str
    fraction: float
    seed: int
    images: int


@dataclass(frozen=True, kw_only=True)
class Published:
    """What all published data sets have.

    Attributes:
        title: name of the data set.
        source: address of its web page.
        terms: permitted use, as stated by its publishers.
        layout: what the unpacked archive contains, for messages.
    """

    title: str
    source: str
    terms: str
    layout: str


@dataclass(frozen=True, kw_only=True)
class ImagePreset(Published):
    """A published data set of images and masks.

    Attributes:
        images, masks: folders of its archive, whose files match by stem.
        parts: for each folder that `prepare_data.py` writes, the folder of the archive that has
            the folders of images and masks. The name `""` is the folder itself.
        listed_split: name of the published split in the files `train.txt` and `val.txt` that some
            archives have beside the images.
        random_split: a published split that was drawn by chance.
        sequence_of: gives the sequence of frames that a stem belongs to. Raises ValueError for a
            stem that the data set does not have.
        splits: for some parts a function that gives splits by name for the sorted stems.
    """

    images: str
    masks: str
    parts: Mapping[str, str] = field(default_factory=lambda: {"": ""})
    listed_split: str = ""
    random_split: RandomSplit | None = None
    sequence_of: Callable[[str], int] | None = None
    splits: Mapping[str, Callable[[Sequence[str]], dict[str, Split]]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class VolumePreset(Published):
    """A published data set of CT volumes and their labels.

    Attributes:
        window: Hounsfield units that become black and white.
        label: the labels that are foreground.
        find: gives the volumes (files or DICOM folders) and the label files in the unpacked
            archive, both by patient. Raises `InputError`.
        patients: names of all patients of the data set; empty if they are not known.
        absent: why some of them may be missing.
        dicom_order: whether label files whose affine says nothing are in the order of the DICOM
            files, see `data.dicom_order`.
        folds: gives the published splits by name, of the patients that are there; None if no
            split was published.
    """

    window: tuple[float, float]
    label: tuple[int, ...]
    find: Callable[[Path], tuple[dict[str, Path], dict[str, Path]]]
    patients: tuple[str, ...] = ()
    absent: str = ""
    dicom_order: bool = False
    folds: Callable[[Sequence[str]], dict[str, Split]] | None = None

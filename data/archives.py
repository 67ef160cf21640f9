"""From the unpacked archive of a published data set of images to folders that `train.py` reads."""

import os
import shutil
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from polypseg.errors import InputError, InputErrors, Note, of_argument
from polypseg.files import csv_text, write_text

from .draw_splits import random_split
from .listed import some
from .pairs import Pair, find_pairs
from .presets.base import ImagePreset
from .splits import Split, read_split, write_split
from .verify import verify

SEQUENCES_CSV = "sequences.csv"


class Part(NamedTuple):
    """A folder that will be written.

    Attributes:
        pairs: its images and masks, sorted by stem.
        splits: by name.
        sequences: the sequence of each stem; {} if the data set has none.
    """

    pairs: list[Pair]
    splits: dict[str, Split]
    sequences: dict[str, int]


def find_parts(preset: ImagePreset, source: Path) -> dict[str, Part]:
    """The parts of an unpacked archive, by the name of their folder.

    A `Note` names missing parts and files without a partner, and says why a published split does
    not apply.

    Args:
        preset: of the data set.
        source: folder of the archive, or a folder that contains it and no other folder.

    Raises:
        InputError: the first part is missing, or there is a stem that the data set does not have.
    """
    root, found = _find_pairs(preset, source)
    if missing := [below for name, below in preset.parts.items() if name not in found]:
        _note(f"left out, since {root} does not have them: {some(missing)}")
    left = [path.relative_to(root) for _, orphans in found.values() for path in orphans]
    if left:
        _note(f"left out, since they are in no pair: {some(map(str, left))}")
    with of_argument("source"):
        return {name: _part(preset, name, pairs) for name, (pairs, _) in found.items()}


def write_parts(
    parts: Mapping[str, Part], folder: Path, on_pair: Callable[[], object] = lambda: None
) -> None:
    """Copy images and masks as they are, and write `splits/` and `sequences.csv`.

    Args:
        parts: what `find_parts` returns.
        folder: an empty folder.
        on_pair: called after each pair.

    Raises:
        InputErrors: for each bad file (see `data.verify`) its problem. Nothing is written then.
        OSError: a file cannot be read or written.
    """
    report = verify([pair for part in parts.values() for pair in part.pairs])
    if report.errors:
        raise InputErrors(
            [InputError(f"{error.path}: {error.message}", "source") for error in report.errors]
        )
    for name, part in parts.items():
        for kind in ("images", "masks"):
            (folder / name / kind).mkdir(parents=True)
        for pair in part.pairs:
            shutil.copyfile(pair.image, folder / name / "images" / pair.image.name)
            shutil.copyfile(pair.mask, folder / name / "masks" / pair.mask.name)
            on_pair()
        for split_name, split in part.splits.items():
            write_split(folder / name / "splits" / split_name, split)
        if part.sequences:
            table = csv_text(["stem", "sequence"], part.sequences.items())
            write_text(folder / name / SEQUENCES_CSV, table)


_Found = dict[str, tuple[list[Pair], list[Path]]]


def _find_pairs(preset: ImagePreset, source: Path) -> tuple[Path, _Found]:
    """The folder of the archive, and for each part what `find_pairs` returns."""
    roots = [source]
    inside = [path for path in source.iterdir() if path.is_dir()] if source.is_dir() else []
    inside = [path for path in inside if path.name != "__MACOSX"]  # in archives made on a Mac
    roots += inside if len(inside) == 1 else []
    problem = ""
    for root in roots:
        try:
            return root, {name: find_pairs(root / below) for name, below in _there(preset, root)}
        except InputError as error:
            problem = problem or error.message
    raise InputError(
        f"expected {preset.layout}, got {source} ({problem}); the data are at {preset.source}",
        "source",
    )


def _there(preset: ImagePreset, root: Path) -> list[tuple[str, str]]:
    """The parts of an archive: the first must be there; others may have been left out."""
    first, *others = preset.parts.items()
    return [first, *(part for part in others if os.path.lexists(root / part[1]))]


def _part(preset: ImagePreset, name: str, pairs: list[Pair]) -> Part:
    stems, root = [pair.stem for pair in pairs], pairs[0].image.parent.parent
    splits: dict[str, Split] = {}
    drawn = preset.random_split
    if drawn and len(stems) == drawn.images:
        splits[drawn.name] = random_split(stems, drawn.fraction, drawn.seed)
    elif drawn:
        _note(f"no split {drawn.name}: it is one of {drawn.images} images, not of {len(stems)}")
    if preset.listed_split and (root / "train.txt").is_file():
        splits[preset.listed_split] = read_split(root, stems, pairs)
    try:
        if name in preset.splits:
            splits |= preset.splits[name](stems)
        sequences = {stem: preset.sequence_of(stem) for stem in stems} if preset.sequence_of else {}
    except ValueError as error:
        raise InputError(str(error)) from error
    return Part(pairs, splits, sequences)


def _note(text: str) -> None:
    warnings.warn(text, Note, stacklevel=3)

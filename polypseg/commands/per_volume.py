"""`test.py --per-volume`: scores of patients, each as one volume."""

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from polypseg.console.run import say
from polypseg.errors import InputError

from .network import print_engines

if TYPE_CHECKING:
    from polypseg.scoring.sources import Source
    from polypseg.scoring.volumes.rows import VolumeRow

_NOT_BY_PATIENT = {
    "group_by": "the patients are the groups",
    "strata": "these are properties of images",
    "resize": "the size of a voxel would not be known",
    "csv_long": "per_patient.csv has all scores",
}
_NOT_OF_FILES = {
    "mask_color": "label volumes have numbers",
    "recursive": "give the folders that hold the volumes",
}


def check_per_volume(options: object, files: bool) -> None:
    """Raise `InputError` for an option that is for images alone.

    Args:
        options: of `test.py`.
        files: whether predictions and masks are volumes, and not slices.
    """
    for name, why in (_NOT_BY_PATIENT | (_NOT_OF_FILES if files else {})).items():
        if getattr(options, name):
            raise InputError(f"not for scores of volumes: {why}", name)


def score_patients(
    sources: "Sequence[Source]", out: str | None, save_maps: bool, how: Mapping[str, Any]
) -> None:
    """Score, print the tables and, with `out`, write everything.

    Args:
        sources: slices or volumes.
        out: folder for the results.
        save_maps: whether the networks' maps of slices are written too.
        how: the options of `scoring.volumes.run.score_volumes`.
    """
    from polypseg.scoring.volumes import outputs, run, tables

    count = sum(len(source.items) for source in sources)
    with contextlib.ExitStack() as stack:
        folder = None
        if out:
            folder = outputs.volume_folder(Path(out), sources, save_maps)
            stack.enter_context(folder)
        with tqdm(total=count, unit=" files", leave=False, disable=None) as bar:
            rows = run.score_volumes(sources, **how, folder=folder, on_item=bar.update)
        say(tables.terminal_volume_tables(rows))
        print_engines(rows)
        _print_empty(rows)
        if folder:
            outputs.write_volume_tables(folder, rows)
    if folder:
        say(f"written: {', '.join(folder.written)}")


def _print_empty(rows: "Sequence[VolumeRow]") -> None:
    """Print how many patients have no foreground, and how this affects the scores."""
    meaning = {
        "skip": "left out of the means of Dice, IoU, precision and recall",
        "zero": "their overlap scores are 0",
        "one": "their overlap scores are 1 if nothing is found, else 0",
    }
    for row in rows:
        if row.empty:
            say(
                f"{row.source.data}: {row.empty} of {row.total['n']} patients have no foreground "
                f"in the mask: {meaning[row.rules.empty]} (--empty {row.rules.empty})"
            )

"""Volumes that are scored: saved predictions, and label volumes as the truth."""

import os
from collections.abc import Sequence
from pathlib import Path

from polypseg.data.nifti import is_nifti
from polypseg.data.pairs import Pair
from polypseg.data.volumes import find_volumes
from polypseg.errors import InputError, reading

from ..row_names import descriptive_name
from ..selection import read_stem_lists, stems_of_list
from ..sources import (
    Item,
    Source,
    check_complete,
    masks_for_each,
    note_left_out,
    with_distinct_names,
)

_IMAGE_FOLDERS = ("images", "volumes", "imagesTr", "imagesTs")


def hold_volumes(paths: Sequence[str | Path], argument: str) -> bool:
    """Whether one of these paths is a NIfTI file, or a folder with NIfTI files.

    Hidden files do not count, since macOS writes a `._NAME` beside each file of some drives.

    Raises:
        InputError: a folder that cannot be read; the error names `argument`.
    """
    for path in paths:
        names = [os.fspath(path)]
        if os.path.isdir(path):
            with reading(path, "a readable folder", argument):
                names = [name for name in os.listdir(path) if not name.startswith(".")]
        if any(map(is_nifti, names)):
            return True
    return False


def volume_sources(
    predictions: Sequence[str | Path],
    masks: Sequence[str | Path],
    stems: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
) -> list[Source]:
    """The sources of folders of predictions; each item is the volume of a patient.

    Args:
        predictions: NIfTI files, or folders of them.
        masks: label volumes of the same names: one folder or file for all, or one for each.
        stems: files with one patient per line, one for all or one for each; the others are left
            out.
        names: a name for each of `predictions`; default: taken from its path.

    Raises:
        InputError: a path or list that cannot be used; masks without a prediction.
    """
    masks = masks_for_each(predictions, masks, names)
    lists = read_stem_lists(stems, len(predictions), "predictions")
    sources = []
    for index, (maps_path, masks_path, listed) in enumerate(zip(predictions, masks, lists)):
        maps = find_volumes([maps_path], "predictions")
        wanted = find_volumes([masks_path], "masks")
        if os.path.isfile(maps_path) and os.path.isfile(masks_path):  # whatever their names
            maps = dict(zip(wanted, maps.values()))
        if listed:
            known = {name: Pair(name, path, path) for name, path in wanted.items()}
            chosen = stems_of_list(listed, known, f"masks in {masks_path}")
            wanted = {name: path for name, path in wanted.items() if name in chosen}
        check_complete(maps, wanted, maps_path, masks_path)
        if not listed:
            extra = [maps[name] for name in sorted(maps.keys() - wanted.keys())]
            note_left_out(extra, f"in {maps_path} without a mask")
        images = _images_beside(masks_path)
        data = descriptive_name(masks_path)
        items = [Item(name, path, images.get(name), maps[name]) for name, path in wanted.items()]
        model = names[index] if names else descriptive_name(maps_path, data)
        sources.append(Source(model, data, items, Path(maps_path)))
    return with_distinct_names(sources)


def _images_beside(masks: str | Path) -> dict[str, Path]:
    """The CT volumes beside a folder of label volumes, for the report; may be empty."""
    for name in _IMAGE_FOLDERS:
        folder = Path(masks).resolve().parent / name
        if folder.is_dir():
            try:
                return find_volumes([folder], "masks")
            except InputError:
                return {}
    return {}

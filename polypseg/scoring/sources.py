"""What is to be scored: the pictures of a network's split, or the maps that a program saved."""

import os
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from polypseg.errors import InputError, Note, expect, of_argument, reading
from polypseg.experiment.fingerprints import FILES, fingerprints, read_fingerprints
from polypseg.experiment.run import open_run
from polypseg.inference.formats import exported_as

# Folder names that say nothing about whose maps or masks they hold.
_PLAIN = {
    "masks",
    "mask",
    "gt",
    "ground truth",
    "images",
    "predictions",
    "prediction",
    "maps",
    "pred",
    "preds",
}


class Item(NamedTuple):
    """A mask, the picture it belongs to (if known) and the saved map of it (if it is not to be
    computed).
    """

    stem: str
    mask: Path
    image: Path | None
    map: Path | None = None


@dataclass
class Source:
    """One row of the table: a network or a program's maps, on one data set."""

    model: str
    data: str
    items: list
    path: Path  # of the network, or the folder of maps
    config: dict | None = None  # of the run
    network: dict = field(default_factory=dict)  # what was scored: subset, input_size, tta, ...


def network_sources(models, data_paths, subset, stems=None, names=None):
    """The `Source`s of networks: each with the data its run was trained on, or with each of
    `data_paths`.

    Args:
        subset: of the run's split, or "all".
        stems: files with a stem a line, one or one for each of `data_paths`: these pictures instead
            of the subset.

    Raises InputError.
    """
    from polypseg.data.pairs import find_pairs

    expect(
        names is None or len(names) == len(models),
        "names",
        f"a name for each of {len(models)} models",
        names and " ".join(names),
    )
    lists = _lists(stems, len(data_paths or [None]), "data_path")
    sources = []
    for index, model in enumerate(models):
        path = Path(model)
        run = None if os.path.isfile(path) or exported_as(path) else open_run(path)
        folder, config = (run.folder, run.config) if run else (None, None)
        if not data_paths:
            expect(
                config and config.get("data_path"),
                "data_path",
                f"a folder with images/ and masks/, since {path} does not name one",
            )
        for data_path, listed in zip(data_paths or [config["data_path"]], lists):
            with of_argument("data_path"):
                pairs, orphans = find_pairs(data_path)
            _note_left_out(orphans, f"in {data_path} without a partner")
            chosen, part = pairs, ""
            if listed:
                chosen = _listed(pairs, listed, data_path)
            elif subset != "all":
                chosen, part = _split(folder, subset, pairs, data_path), f" {subset}"
                _check_same(folder, chosen, data_path)
            sources.append(
                Source(
                    names[index] if names else (folder or path).name,
                    _telling_name(data_path) + part,
                    [Item(pair.stem, pair.mask, pair.image) for pair in chosen],
                    path,
                    config,
                    {"subset": "listed" if listed else subset},
                )
            )
    return _told_apart(sources)


def _note_left_out(files, which):
    if files:
        names = ", ".join(Path(file).name for file in files[:3])
        more = ", ..." if len(files) > 3 else ""
        count = f"{len(files)} file{'s' * (len(files) > 1)}"
        warnings.warn(f"not scored: {count} {which} ({names}{more})", Note, stacklevel=1)


def _check_same(folder, pairs, data_path):
    """Raise `InputError` where files of the run's names are others than the run's."""
    if not os.path.exists(folder / FILES):  # an early version
        return
    begun, now = read_fingerprints(folder, "model"), fingerprints(pairs)
    other = [stem for stem in now if now[stem] != begun[stem]]
    if other:
        raise InputError(
            f"expected the run's images, got {len(other)} others of the same names in {data_path} "
            f"({', '.join(other[:3])}): score them with `subset` all, or with `stems`",
            "data_path",
        )


def _told_apart(sources):
    """Rows of one name get the network's path as the name, and if that is the same too, the
    data's.
    """
    for name, path in (
        ("model", lambda source: source.path),
        ("data", lambda source: source.items[0].mask.parent),
    ):
        names = [(source.model, source.data) for source in sources]
        for source, own in zip(sources, names):
            if names.count(own) > 1:
                setattr(source, name, str(path(source)))
    return sources


def _split(folder, subset, pairs, data_path):
    expect(folder, "subset", "all, since a model file brings no split", subset)
    path = folder / "split" / f"{subset}.txt"
    with reading(path, f"the run's list of its {subset} split", "model"):
        stems = path.read_text(encoding="utf-8").split("\n")
    wanted = {stem for stem in stems if stem}
    missing = sorted(wanted - {pair.stem for pair in pairs})
    if missing or not wanted:
        raise InputError(
            f"expected the {len(wanted)} pictures of the run's {subset} split in "
            f"{data_path}, got {len(wanted) - len(missing)} of them"
            + (f"; missing: {', '.join(missing[:5])}" if missing else ""),
            "data_path",
        )
    return [pair for pair in pairs if pair.stem in wanted]


def _listed(pairs, listed, data_path):
    stems, path = listed
    missing = sorted(stems - {pair.stem for pair in pairs})
    expect(
        not missing,
        "stems",
        f"stems of pairs in {data_path}",
        f"also {', '.join(missing)} in {path}",
    )
    return [pair for pair in pairs if pair.stem in stems]


def _lists(paths, count, argument):
    """`(stems, path)` for each of `count` data sets; None where there is no list."""
    if paths is None:
        return [None] * count
    expect(
        len(paths) in (1, count),
        "stems",
        f"one file, or one for each of {count} {argument}",
        f"{len(paths)} files",
    )
    lists = []
    for path in paths:
        try:
            stems = {
                line.strip() for line in Path(path).read_text(encoding="utf-8-sig").splitlines()
            } - {""}
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(
                f"expected a text file with a stem a line, got {path} ({error})", "stems"
            ) from error
        expect(stems, "stems", "a text file with a stem a line", f"the empty file {path}")
        lists.append((stems, path))
    return lists * count if len(lists) == 1 else lists


def saved_sources(predictions, masks, stems=None, names=None):
    """The `Source`s of folders of maps, each with its folder of masks, or all with the only one.

    `stems`: files with a stem a line, one or one for each folder of maps: only these masks.

    Raises InputError, which names every mask that has no map.
    """
    from polypseg.data.images import IMAGE_SUFFIXES
    from polypseg.data.maps import MAP_SUFFIXES

    expect(
        len(masks) in (1, len(predictions)),
        "masks",
        f"one folder, or one for each of {len(predictions)} `predictions`",
        f"{len(masks)} folders",
    )
    expect(
        names is None or len(names) == len(predictions),
        "names",
        f"a name for each of {len(predictions)} `predictions`",
        names and " ".join(names),
    )
    masks = list(masks) * len(predictions) if len(masks) == 1 else masks
    lists = _lists(stems, len(predictions), "predictions")
    sources = []
    for index, (maps_folder, masks_folder, listed) in enumerate(zip(predictions, masks, lists)):
        maps, wanted = (
            _files(argument, folder, suffixes)
            for argument, folder, suffixes in (
                ("predictions", maps_folder, MAP_SUFFIXES),
                ("masks", masks_folder, IMAGE_SUFFIXES),
            )
        )
        if listed:
            absent = sorted(listed[0] - wanted.keys())
            expect(
                not absent,
                "stems",
                f"stems of masks in {masks_folder}",
                f"also {', '.join(absent)} in {listed[1]}",
            )
            wanted = {stem: mask for stem, mask in wanted.items() if stem in listed[0]}
        missing = [stem for stem in wanted if stem not in maps]
        if missing:
            raise InputError(
                f"expected a map for each of the {len(wanted)} masks in "
                f"{masks_folder}, "
                f"got {len(wanted) - len(missing)} in {maps_folder}; missing: {', '.join(missing)}",
                "predictions",
            )
        extra = [maps[stem] for stem in sorted(maps.keys() - wanted.keys())]
        if not listed:
            _note_left_out(extra, f"in {maps_folder} without a mask")
        images = _pictures_beside(masks_folder)
        data = _telling_name(masks_folder)
        sources.append(
            Source(
                names[index] if names else _telling_name(maps_folder, data),
                data,
                [Item(stem, mask, images.get(stem), maps[stem]) for stem, mask in wanted.items()],
                Path(maps_folder),
            )
        )
    return _told_apart(sources)


def _files(argument, folder, suffixes):
    from polypseg.data.pairs import files_by_stem

    with of_argument(argument):
        files = files_by_stem(folder, suffixes)
    expect(files, argument, f"files ending in {', '.join(suffixes)}", f"none in {folder}")
    return files


def _pictures_beside(masks_folder):
    """The pictures of a data set in the usual layout, by stem, for a report to show; may be
    empty.
    """
    from polypseg.data.pairs import IMAGE_FOLDERS, files_by_stem

    for name in IMAGE_FOLDERS:
        folder = Path(masks_folder).resolve().parent / name
        if folder.is_dir():
            try:
                return files_by_stem(folder)
            except InputError:
                return {}
    return {}


def _telling_name(folder, data=None):
    """The last part of a path that says something, other than the name of the data set."""
    parts = [part for part in Path(folder).resolve().parts[1:] if part.lower() not in _PLAIN]
    telling = [part for part in parts if part != data]
    return (telling or parts or [str(folder)])[-1]

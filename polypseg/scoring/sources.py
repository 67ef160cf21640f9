"""What is scored: networks on data sets, or maps that a program saved."""

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from polypseg.data.images import IMAGE_SUFFIXES
from polypseg.data.maps import MAP_SUFFIXES
from polypseg.data.pairs import IMAGE_FOLDERS, Pair, files_by_stem, find_pairs, unread_files
from polypseg.data.preparation import VOLUME_JSON, Preparation
from polypseg.errors import InputError, Note, expect, of_argument
from polypseg.experiment.fingerprints import fingerprints
from polypseg.experiment.run import open_run
from polypseg.experiment.trained import seen_images
from polypseg.inference.ensemble import Where, find_members, preparation_of
from polypseg.inference.formats import exported_as

from .columns import Column
from .row_names import descriptive_name
from .selection import pairs_of_list, pairs_of_splits, read_stem_lists, stems_of_list


class Item(NamedTuple):
    """A mask, and what belongs to it.

    Attributes:
        stem: the name of its file, without the suffix.
        mask: path of the mask.
        image: path of the image; None if there is none.
        map: path of the saved map; None if a network computes the map.
    """

    stem: str
    mask: Path
    image: Path | None
    map: Path | None = None


@dataclass
class Source:
    """A row of the tables: a network, or a folder of maps, on one data set.

    Attributes:
        model, data: names of both, for the tables.
        items: what is scored, at least one.
        path: of the network, of each member of an ensemble, or of the folder of maps.
        config: options of the training run, if `path` is one; of an ensemble, of its first run.
        subset: "train", "val", "test", "all", or "listed" (by a file of stems); None for all maps
            of a folder.
        groups: the group of each image, by stem; None if there are no groups.
        columns: other properties by which the images are divided.
        preparation: how the images were made, if they are slices of volumes.
    """

    model: str
    data: str
    items: list[Item]
    path: Path | tuple[Path, ...]
    config: dict[str, Any] | None = None
    subset: str | None = None
    groups: Mapping[str, str] | None = None
    columns: Sequence[Column] = ()
    preparation: Preparation | None = None

    @property
    def path_text(self) -> str:
        """The path, or those of an ensemble, for people."""
        return ", ".join(map(str, self.path)) if isinstance(self.path, tuple) else str(self.path)


class _Network(NamedTuple):
    """A network to score, or an ensemble.

    Attributes:
        name: for the tables.
        path, config: as in `Source`.
        runs: the run folder, or those of the members; None for a file.
        preparation: how slices of volumes were made, as far as a run says so.
    """

    name: str
    path: Path | tuple[Path, ...]
    config: dict[str, Any] | None
    runs: list[Path | None]
    preparation: Preparation | None = None


def network_sources(
    models: Sequence[Where],
    data_paths: Sequence[str | Path] | None,
    subset: str,
    stems: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
    recursive: bool = False,
    mask_suffix: str | None = None,
) -> list[Source]:
    """The sources of networks, each on every data set.

    Args:
        models: run folders or model files; or ensembles, as for `Predictor.load`.
        data_paths: data sets; default: the one that the run was trained on.
        subset: "train", "val" or "test" of the run's split, or "all".
        stems: files with one stem per line, one for all data sets or one for each; they replace
            `subset`.
        names: a name for each of `models`; default: the name of its file or folder.
        recursive: read subfolders too, see `find_pairs`; always if the run did.
        mask_suffix: as for `find_pairs`; default: that of the run.

    Raises:
        InputError: a network, data set or list that cannot be used.
    """
    expect(
        names is None or len(names) == len(models),
        "names",
        f"a name for each of {len(models)} models",
        names and " ".join(names),
    )
    lists = read_stem_lists(stems, len(data_paths or [""]), "data_path")
    sources = []
    for index, model in enumerate(models):
        network = _find(model)
        config = network.config
        data_sets = data_paths or [(config or {}).get("data_path") or ""]
        if not data_sets[0]:
            raise InputError(
                "expected a folder with images/ and masks/, since "
                f"{model if isinstance(model, str) else network.name} does not say which data it "
                "was trained on, got nothing",
                "data_path",
            )
        for data_path, listed in zip(map(str, data_sets), lists):
            with of_argument("data_path"):
                below = recursive or bool(config and config.get("recursive"))
                suffix = mask_suffix or (config or {}).get("mask_suffix") or ""
                pairs, orphans = find_pairs(data_path, below, suffix)
            note_left_out(orphans, f"in {data_path} without a partner")
            data = descriptive_name(data_path)
            if listed:
                pairs = pairs_of_list(pairs, listed, data_path)
            elif subset != "all":
                pairs = pairs_of_splits(network.runs, subset, pairs, data_path)
                data = f"{data} {subset}"
            if len(network.runs) > 1 and (listed or subset == "all"):
                _note_seen(network, pairs, data_path)
            source = Source(
                names[index] if names else network.name,
                data,
                [Item(pair.stem, pair.mask, pair.image) for pair in pairs],
                network.path,
                config,
                "listed" if listed else subset,
                preparation=Preparation.read(data_path, "data_path"),
            )
            if config is not None:  # a file says it when it is loaded
                check_slices(source, network.preparation)
            sources.append(source)
    return with_distinct_names(sources)


def _find(model: Where) -> _Network:
    members = find_members(model)
    if not members:
        path = Path(model)  # type: ignore[arg-type]  # a list has members
        run = None if os.path.isfile(path) or exported_as(path) else open_run(path)
        if run is None:
            return _Network(path.name, path, None, [None])
        return _Network(run.folder.name, path, run.config, [run.folder], run.preparation)
    if isinstance(model, str | os.PathLike):
        given: Path | tuple[Path, ...] = Path(model)
        names = [members[0].path.parent.name]
    else:
        given, names = tuple(map(Path, model)), [Path(one).name for one in model]
    configs = [member.config for member in members if member.run]
    config = dict(configs[0]) if configs else None
    if config and len({one.get("data_path") for one in configs}) > 1:
        config["data_path"] = None
    shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    runs = [member.run for member in members]
    return _Network(
        f"mean of {len(members)} ({shown})", given, config, runs, preparation_of(members)
    )


def check_slices(source: Source, trained: Preparation | None) -> None:
    """Compare the slices of volumes that a network was trained on with those of a data set.

    Only one of them known gives a `Note`.

    Args:
        source: the network and the data set.
        trained: how the slices of the training were made, if this is known.

    Raises:
        InputError: they were made in different ways.
    """
    scored = source.preparation
    if trained and scored:
        different = trained.differences(scored)
        expect(
            not different,
            "data_path",
            f"slices as {source.path_text} was trained on ({trained.describe()})",
            f"another {' and another '.join(different)} in {source.data} ({scored.describe()})",
        )
    elif trained:
        note = (
            f"{source.path_text} was trained on slices of volumes ({trained.describe()}), and "
            f"{source.data} has no {VOLUME_JSON} that says how its images were made"
        )
        warnings.warn(note, Note, stacklevel=1)
    elif scored:
        note = (
            f"{source.data} has slices of volumes ({scored.describe()}), and {source.path_text} "
            "does not say that it was trained on such"
        )
        warnings.warn(note, Note, stacklevel=1)


def _note_seen(network: _Network, pairs: Sequence[Pair], data_path: str) -> None:
    """Warn with a `Note` if members of an ensemble were trained on some of the images."""
    argument = "ensemble" if isinstance(network.path, tuple) else "model"
    known = set().union(*(seen_images(run, argument) for run in network.runs if run))
    with of_argument("data_path"):
        seen = sum(image in known for image, _ in fingerprints(pairs).values())
    if seen:
        warnings.warn(
            f"{seen} of {len(pairs)} images in {data_path} are known to members of the "
            f"{network.name}, which were trained on them or chosen by them: scores on them say "
            "little about new images",
            Note,
            stacklevel=1,
        )


def saved_sources(
    predictions: Sequence[str | Path],
    masks: Sequence[str | Path],
    stems: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
    recursive: bool = False,
) -> list[Source]:
    """The sources of folders of saved maps.

    Args:
        predictions: folders of maps.
        masks: folders of masks, one for all folders of maps or one for each.
        stems: files with one stem per line, one for all folders of maps or one for each; masks
            that are not listed are left out.
        names: a name for each of `predictions`; default: taken from its path.
        recursive: read subfolders too, see `files_by_stem`.

    Raises:
        InputError: a folder or list that cannot be used; masks without a map, all of them listed.
    """
    masks = masks_for_each(predictions, masks, names)
    lists = read_stem_lists(stems, len(predictions), "predictions")
    sources = []
    for index, (maps_folder, masks_folder, listed) in enumerate(zip(predictions, masks, lists)):
        maps = _files("predictions", maps_folder, MAP_SUFFIXES, recursive)
        wanted = _files("masks", masks_folder, IMAGE_SUFFIXES, recursive)
        for folder, suffixes in ((maps_folder, MAP_SUFFIXES), (masks_folder, IMAGE_SUFFIXES)):
            note_left_out(
                unread_files(folder, suffixes, recursive), f"in {folder} of a type that is not read"
            )
        if listed:
            known = {stem: Pair(stem, mask, mask) for stem, mask in wanted.items()}
            chosen = stems_of_list(listed, known, f"masks in {masks_folder}")
            wanted = {stem: mask for stem, mask in wanted.items() if stem in chosen}
        check_complete(maps, wanted, maps_folder, masks_folder)
        if not listed:
            extra = [maps[stem] for stem in sorted(maps.keys() - wanted.keys())]
            note_left_out(extra, f"in {maps_folder} without a mask")
        images = _images_beside(masks_folder, recursive)
        data = descriptive_name(masks_folder)
        sources.append(
            Source(
                names[index] if names else descriptive_name(maps_folder, data),
                data,
                [Item(stem, mask, images.get(stem), maps[stem]) for stem, mask in wanted.items()],
                Path(maps_folder),
                subset="listed" if listed else None,
            )
        )
    return with_distinct_names(sources)


def masks_for_each(
    predictions: Sequence[object], masks: Sequence[str | Path], names: Sequence[str] | None
) -> list[str | Path]:
    """The masks of each of `predictions`. Raises `InputError` if the numbers do not fit."""
    count = len(predictions)
    expect(
        len(masks) in (1, count),
        "masks",
        f"one folder, or one for each of {count} `predictions`",
        f"{len(masks)} folders",
    )
    expect(
        names is None or len(names) == count,
        "names",
        f"a name for each of {count} `predictions`",
        names and " ".join(names),
    )
    return list(masks) * (count if len(masks) == 1 else 1)


def check_complete(
    maps: Mapping[str, Path],
    masks: Mapping[str, Path],
    maps_folder: str | Path,
    masks_folder: str | Path,
) -> None:
    """Raise `InputError` for masks without a map."""
    missing = [stem for stem in masks if stem not in maps]
    if missing:
        names = ", ".join(missing[:20])
        if len(missing) > 20:
            names += f", ... ({len(missing)}; `stems` scores only some)"
        raise InputError(
            f"expected a map for each of the {len(masks)} masks in {masks_folder}, got "
            f"{len(masks) - len(missing)} in {maps_folder}; missing: {names}",
            "predictions",
        )


def note_left_out(files: Sequence[Path], which: str) -> None:
    """Say with a `Note` which files are not scored, if there are any."""
    if files:
        names = ", ".join(file.name for file in files[:3])
        more = ", ..." if len(files) > 3 else ""
        count = f"{len(files)} file{'s' * (len(files) > 1)}"
        warnings.warn(f"not scored: {count} {which} ({names}{more})", Note, stacklevel=1)


def with_distinct_names(sources: list[Source]) -> list[Source]:
    """Make the names of all sources different.

    If sources have the same names, the paths of their networks are used as names. If these are
    also the same, the paths of their data are used.
    """
    for source in _with_equal_names(sources):
        source.model = source.path_text
    for source in _with_equal_names(sources):
        source.data = str(source.items[0].mask.parent)
    return sources


def _with_equal_names(sources: list[Source]) -> list[Source]:
    names = [(source.model, source.data) for source in sources]
    return [source for source, name in zip(sources, names) if names.count(name) > 1]


def _files(
    argument: str, folder: str | Path, suffixes: tuple[str, ...], recursive: bool
) -> dict[str, Path]:
    with of_argument(argument):
        files = files_by_stem(folder, suffixes, recursive)
    expect(files, argument, f"files ending in {', '.join(suffixes)}", f"none in {folder}")
    return files


def _images_beside(masks_folder: str | Path, recursive: bool) -> dict[str, Path]:
    """The images beside a folder of masks, by stem, for the report; may be empty."""
    for name in IMAGE_FOLDERS:
        folder = Path(masks_folder).resolve().parent / name
        if folder.is_dir():
            try:
                return files_by_stem(folder, recursive=recursive)
            except InputError:
                return {}
    return {}

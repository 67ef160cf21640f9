"""The data of a run: found, split, checked and decoded; the folds of a cross-validation."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from polypseg.data.draw_splits import fold_splits, random_split
from polypseg.data.earlier_folds import earlier_fold_splits
from polypseg.data.loading import Arrays, load, training_size
from polypseg.data.masks import MaskFile, read_masks
from polypseg.data.pairs import Pair, find_pairs
from polypseg.data.problems import Report
from polypseg.data.splits import Split, group_names, read_folds, read_split
from polypseg.data.verify import Hashes
from polypseg.errors import InputError, of_argument, reading
from polypseg.experiment.checkpoint import is_complete, read_history, saved_epoch
from polypseg.experiment.config import TrainConfig
from polypseg.experiment.fingerprints import check_unchanged, fingerprints, read_fingerprints
from polypseg.experiment.run import FOLDS


class BadFiles(InputError):
    """Files that no network can be trained on; `report` names each of them."""

    def __init__(self, report: Report):
        first = f"{report.errors[0].path}: {report.errors[0].message}"
        super().__init__(
            f"expected readable pairs, got {len(report.errors)} bad files; the first: {first}",
            "data_path",
        )
        self.report = report


class Data(NamedTuple):
    """Checked pairs of each subset, `{"train": [Pair, ...], "val": ..., "test": ...}`.

    `report` says what the check found, or is the text of it where a run is resumed; `files` are
    the hashes of all files by stem; `arrays` has those of "train" and "val", or nothing where no
    epoch is left to train.
    """

    subsets: dict[str, list[Pair]]
    report: Report | str
    files: dict[str, Hashes]
    arrays: dict[str, Arrays]

    @property
    def split(self) -> Split:
        """The stems of each subset."""
        return {name: [pair.stem for pair in part] for name, part in self.subsets.items()}

    @property
    def found(self) -> str:
        """The report in words, every file named."""
        return self.report if isinstance(self.report, str) else self.report.text(None)


def load_data(config: TrainConfig) -> Data:
    """Find, split, check and decode the data; each file is opened once.

    Raises:
        BadFiles: files that cannot be trained on.
        InputError: there are none or, on resuming, others; no room for the arrays.
    """
    pairs, orphans, stems = _find(config)
    given = Path(config.resume, "split") if config.resume else config.split_dir
    masks = None
    if given:
        with of_argument("resume" if config.resume else "split_dir"):
            split = read_split(given, stems)
        if config.group_by:
            with of_argument("group_by"):
                _check_groups(split, group_names(stems, config.group_by))
    else:
        masks = read_masks(pairs)
        groups = _groups(config, stems)
        with of_argument("group_by" if config.group_by else "data_split"):
            split = random_split(
                stems, config.data_split, config.seed, groups, _with_foreground(masks)
            )
    subsets = _subsets(pairs, split)
    used = [pair for part in subsets.values() for pair in part]
    return _load(config, used, orphans, [(config.resume, subsets)], split, masks)[0]


def load_folds(config: TrainConfig) -> list[Data]:
    """A `Data` for each fold of a cross-validation; all share one report and the arrays. Raises as
    `load_data`.
    """
    pairs, orphans, stems = _find(config)
    folds, masks = config.folds or 0, None
    if config.resume and os.path.lexists(stored := Path(config.resume, FOLDS)):
        with of_argument("resume"):
            splits = read_folds(stored)
    else:
        groups = _groups(config, stems)
        with of_argument("folds"):
            if config.resume:
                splits = earlier_fold_splits(stems, folds, config.data_split, config.seed, groups)
            else:
                masks = read_masks(pairs)
                foreground = _with_foreground(masks)
                splits = fold_splits(
                    stems, folds, config.data_split, config.seed, groups, foreground
                )
    runs = [
        (config.resume and f"{config.resume}/fold-{number}", _subsets(pairs, split))
        for number, split in enumerate(splits, 1)
    ]
    return _load(config, pairs, orphans, runs, masks=masks)


def _groups(config: TrainConfig, stems: Iterable[str]) -> dict[str, str] | None:
    with of_argument("group_by"):
        return group_names(stems, config.group_by) if config.group_by else None


def _with_foreground(masks: Mapping[str, MaskFile]) -> set[str]:
    return {stem for stem, mask in masks.items() if mask.foreground}


def _find(config):
    """Pairs, orphans and stems; of a run that is resumed, those with which it began."""
    with of_argument("data_path"):
        pairs, orphans = find_pairs(config.data_path)
    if not config.resume:
        return pairs, orphans, [pair.stem for pair in pairs]
    begun = read_fingerprints(Path(config.resume))
    return [pair for pair in pairs if pair.stem in begun], [], list(begun)


def _load(config, pairs, orphans, runs, split=None, masks=None):
    """A `Data` for each of `runs`, `(folder that is resumed, subsets)`."""
    done = [bool(folder) and _is_complete(Path(folder), config) for folder, _ in runs]
    if all(done):  # nothing is to be decoded
        files = fingerprints(pairs)
        check_unchanged(Path(config.resume), files)
        return [Data(subsets, _earlier_report(config), files, {}) for _, subsets in runs]
    sizes = {"train": training_size(config.input_size, config.augment), "val": config.input_size}
    wanted = [
        ([] if is_done else subsets[name], size)
        for (_, subsets), is_done in zip(runs, done)
        for name, size in sizes.items()
    ]
    loaded = load(pairs, wanted, config.cache_gb, orphans, split, masks)
    if config.resume:
        check_unchanged(Path(config.resume), loaded.files)
    if loaded.report.errors:
        raise BadFiles(loaded.report)
    report = _earlier_report(config) if config.resume else loaded.report
    arrays = iter(loaded.arrays)
    return [
        Data(subsets, report, loaded.files, {name: next(arrays) for name in sizes})
        for _, subsets in runs
    ]


def _is_complete(folder, config):
    """Whether no epoch of the run in `folder` is left to train."""
    rows = read_history(folder / "history.csv")
    return is_complete(rows[: saved_epoch(folder / "last.keras")], config)


def _check_groups(split, groups):
    """Raise `InputError` where given lists part a group."""
    subsets = {}
    for name, part in split.items():
        for stem in part:
            subsets.setdefault(groups[stem], set()).add(name)
    parted = sorted(group for group, names in subsets.items() if len(names) > 1)
    if parted:
        raise InputError(
            f"expected each group in one subset of `split_dir`, got {len(parted)} "
            f"parted, {parted[0]} among them"
        )


def _earlier_report(config):
    path = Path(config.resume) / "data.txt"
    with reading(path, "the run's report on its data", "resume"):
        return path.read_text(encoding="utf-8").rstrip("\n")


def _subsets(pairs, split):
    """The pairs of each subset that are there."""
    by_stem = {pair.stem: pair for pair in pairs}
    return {
        name: [by_stem[stem] for stem in stems if stem in by_stem] for name, stems in split.items()
    }

"""Find, split, check and decode the data of a run, of a cross-validation or of several seeds."""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from polypseg.data.draw_splits import fold_splits, random_split
from polypseg.data.earlier_folds import earlier_fold_splits
from polypseg.data.groups import group_names
from polypseg.data.loading import Arrays, load, training_size
from polypseg.data.masks import MaskFile, read_masks
from polypseg.data.pairs import Pair, find_pairs
from polypseg.data.preparation import VOLUME_JSON, Preparation
from polypseg.data.problems import Report
from polypseg.data.splits import Split, read_folds, read_split
from polypseg.data.verify import ONE_COLOUR, Hashes
from polypseg.errors import InputError, expect, of_argument, reading
from polypseg.experiment.checkpoint import is_complete, is_final, read_history, saved_epoch
from polypseg.experiment.config import TrainConfig, as_window
from polypseg.experiment.fingerprints import check_unchanged, fingerprints, read_fingerprints
from polypseg.experiment.run import FOLDS


class BadFiles(InputError):
    """Some files are damaged or do not fit; `report` lists all of them."""

    def __init__(self, report: Report) -> None:
        first = f"{report.errors[0].path}: {report.errors[0].message}"
        super().__init__(
            f"expected readable pairs, got {len(report.errors)} bad files; the first: {first}",
            "data_path",
        )
        self.report = report


class Data(NamedTuple):
    """The data of a run, checked and decoded.

    Attributes:
        subsets: the pairs of `"train"`, `"val"` and `"test"`.
        report: the result of the check; if a run is resumed, the text that it stored.
        files: hashes of image and mask of all pairs, by stem.
        arrays: decoded pairs of `"train"` and `"val"`; {} if no epoch is left to train.
        preparation: how the images were made, if they are slices of volumes.
    """

    subsets: dict[str, list[Pair]]
    report: Report | str
    files: dict[str, Hashes]
    arrays: dict[str, Arrays]
    preparation: Preparation | None = None

    @property
    def split(self) -> Split:
        """The stems in each subset."""
        return {name: [pair.stem for pair in part] for name, part in self.subsets.items()}

    @property
    def report_text(self) -> str:
        """The complete report, with every file that has a problem."""
        if isinstance(self.report, str):
            return self.report
        report = self.report.text(None)
        return "\n".join([*slices_line(self.preparation), report])


def slices_line(preparation: Preparation | None) -> list[str]:
    """The line that says how slices of volumes were made; [] if the images are none."""
    return [f"slices of CT volumes: {preparation.describe()}"] if preparation else []


def load_data(config: TrainConfig) -> Data:
    """Find, split, check and decode the data of a run. Each file is opened once.

    Args:
        config: the options of the run, without `folds` and `seeds`.

    Raises:
        BadFiles: some files are damaged or do not fit.
        InputError: there are no pairs, the split is not possible, the data of a run that is resumed
            have changed, or the arrays need too much space.

    >>> data = load_data(TrainConfig(data_path="datasets/kvasir-seg"))  # doctest: +SKIP
    >>> {name: len(pairs) for name, pairs in data.subsets.items()}  # doctest: +SKIP
    {'train': 800, 'val': 100, 'test': 100}
    """
    return _load_split(config, [config.resume])[0]


def load_seeds(config: TrainConfig) -> list[Data]:
    """Find, split, check and decode the data of runs with several seeds. Each file is opened once.

    Args:
        config: the options of the runs, with `seeds`.

    Returns:
        A `Data` for each seed. They share everything; one whose run is trained has no arrays.

    Raises:
        BadFiles, InputError: as for `load_data`.
    """
    names = config.member_names
    return _load_split(
        config, [f"{config.resume}/{name}" if config.resume else None for name in names]
    )


def _load_split(config: TrainConfig, folders: Sequence[str | None]) -> list[Data]:
    """Load the data of runs on the same split.

    Args:
        config: their options.
        folders: for each run its folder if it is resumed, else None.
    """
    preparation = read_preparation(config)
    pairs, orphans, stems = _find(config)
    split_path = Path(config.resume, "split") if config.resume else config.split_dir
    masks: dict[str, MaskFile] | None = None
    if split_path:
        with of_argument("resume" if config.resume else "split_dir"):
            split = read_split(split_path, stems, pairs)
        if config.group_by:
            with of_argument("group_by"):
                _check_groups(split, group_names(stems, config.group_by))
    else:
        groups = _groups(config, stems)
        masks = read_masks(pairs, config.mask_rule)
        with of_argument("group_by" if config.group_by else "data_split"):
            split = random_split(
                stems, config.data_split, config.seed, groups, _with_foreground(masks)
            )
    subsets = _subsets(pairs, split)
    used = [pair for part in subsets.values() for pair in part]
    runs = [(folder, subsets) for folder in folders]
    return _decode(config, used, orphans, runs, preparation, split, masks)


def load_folds(config: TrainConfig) -> list[Data]:
    """Find, split, check and decode the data of a cross-validation. Each file is opened once.

    Args:
        config: the options of the run, with `folds`.

    Returns:
        A `Data` for each fold. They share the report and the arrays.

    Raises:
        BadFiles, InputError: as for `load_data`.
    """
    preparation = read_preparation(config)
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
                masks = read_masks(pairs, config.mask_rule)
                foreground = _with_foreground(masks)
                splits = fold_splits(
                    stems, folds, config.data_split, config.seed, groups, foreground
                )
    names = config.member_names
    runs = [
        (f"{config.resume}/{name}" if config.resume else None, _subsets(pairs, split))
        for name, split in zip(names, splits, strict=True)
    ]
    tested = {name: split["test"] for name, split in zip(names, splits)}
    return _decode(config, pairs, orphans, runs, preparation, tested, masks)


def read_preparation(config: TrainConfig) -> Preparation | None:
    """How the images of a run were made, if they are slices of volumes.

    Raises:
        InputError: the file that says it is damaged; it says something else than when the run
            began that is resumed; or an option is not for slices.
    """
    preparation = Preparation.read(config.data_path or "", "data_path")
    expect(
        preparation is None or not config.color_exchange,
        "color_exchange",
        "0 for slices of volumes, whose channels are no colours",
        config.color_exchange,
    )
    if config.resume:
        begun = Preparation.read(config.resume, "resume")
        expect(
            begun == preparation,
            "data_path",
            f"the {VOLUME_JSON} with which the run began, {_one_line(begun)}",
            f"{_one_line(preparation)} in {config.data_path}",
        )
    return preparation


def _one_line(preparation: Preparation | None) -> str:
    return json.dumps(preparation.as_dict()) if preparation else "none"


def _groups(config: TrainConfig, stems: Iterable[str]) -> dict[str, str] | None:
    """The group of each stem; None if there are no groups."""
    with of_argument("group_by"):
        return group_names(stems, config.group_by) if config.group_by else None


def _with_foreground(masks: Mapping[str, MaskFile]) -> set[str]:
    return {stem for stem, mask in masks.items() if mask.foreground}


def _find(config: TrainConfig) -> tuple[list[Pair], list[Path], list[str]]:
    """Find the pairs, the files without a partner, and the stems.

    If a run is resumed, these are the stems with which it began, and the pairs that still exist.
    """
    with of_argument("data_path"):
        pairs, orphans = find_pairs(
            config.data_path or "", config.recursive, config.mask_suffix or ""
        )
    if not config.resume:
        return pairs, orphans, [pair.stem for pair in pairs]
    begun = read_fingerprints(Path(config.resume))
    return [pair for pair in pairs if pair.stem in begun], [], list(begun)


def _decode(
    config: TrainConfig,
    pairs: Sequence[Pair],
    orphans: Iterable[Path],
    runs: Sequence[tuple[str | None, dict[str, list[Pair]]]],
    preparation: Preparation | None,
    split: Split | None = None,
    masks: Mapping[str, MaskFile] | None = None,
) -> list[Data]:
    """Check the pairs, and decode those that are trained or validated on.

    Args:
        config: the options of the run.
        pairs: of all subsets.
        orphans: files without a partner.
        runs: for each run, its folder if it is resumed, and its subsets.
        preparation: of the data, from `read_preparation`.
        split: of the runs, or the test images of each fold.
        masks: of the pairs, if they have been read already.

    Returns:
        A `Data` for each of `runs`.
    """
    done = [folder is not None and _is_complete(Path(folder), config) for folder, _ in runs]
    if config.resume and all(done):  # nothing has to be decoded
        files = fingerprints(pairs)
        check_unchanged(Path(config.resume), files)
        stored = _stored_report(config.resume)
        return [Data(subsets, stored, files, {}, preparation) for _, subsets in runs]
    sizes = {"train": training_size(config.input_size, config.augment), "val": config.input_size}
    wanted = [
        ([] if is_done else subsets[name], size)
        for (_, subsets), is_done in zip(runs, done)
        for name, size in sizes.items()
    ]
    masks = read_masks(pairs, config.mask_rule) if masks is None else masks
    loaded = load(
        pairs,
        wanted,
        config.cache_gb,
        orphans,
        split,
        masks,
        as_window(config.window),
        grouped=bool(config.group_by),
    )
    if config.resume:
        check_unchanged(Path(config.resume), loaded.files)
    if loaded.report.errors:
        raise BadFiles(loaded.report)
    if not config.resume:
        _check_learnable(config, loaded.report, masks, [subsets for _, subsets in runs])
    report = _stored_report(config.resume) if config.resume else loaded.report
    arrays = iter(loaded.arrays)
    return [
        Data(subsets, report, loaded.files, {name: next(arrays) for name in sizes}, preparation)
        for _, subsets in runs
    ]


def _check_learnable(
    config: TrainConfig,
    report: Report,
    masks: Mapping[str, MaskFile],
    splits: Iterable[Mapping[str, Sequence[Pair]]],
) -> None:
    """Raise `InputError` for data from which nothing can be learnt, or not judged."""
    one_colour = sum(problem.message == ONE_COLOUR for problem in report.problems)
    if one_colour == report.checked:
        raise InputError(f"expected images, got {one_colour} of one colour each", "data_path")
    if not any(mask.background for mask in masks.values()):
        raise InputError(
            f"expected masks with background, got {len(masks)} that are all foreground; a shape "
            "that is in the alpha channel has to be saved as grey levels",
            "data_path",
        )
    for split in splits:
        for name, pairs in split.items():
            if pairs and not any(masks[pair.stem].foreground for pair in pairs):
                raise InputError(
                    f"expected masks with foreground in the subset {name}, got {len(pairs)} empty "
                    "masks",
                    "split_dir" if config.split_dir else "data_path",
                )


def _is_complete(folder: Path, config: TrainConfig) -> bool:
    """Whether no epoch of the run in `folder` is left to train, and no temperature to fit."""
    rows = read_history(folder / "history.csv")[: saved_epoch(folder / "last.keras")]
    return is_complete(rows, config) and is_final(folder / "best.keras", rows)


def _check_groups(split: Split, groups: Mapping[str, str]) -> None:
    """Raise `InputError` if a group is in several subsets of the split."""
    subsets: dict[str, set[str]] = {}
    for name, stems in split.items():
        for stem in stems:
            subsets.setdefault(groups[stem], set()).add(name)
    divided = sorted(group for group, names in subsets.items() if len(names) > 1)
    if divided:
        raise InputError(
            f"expected each group in one subset of `split_dir`, got {len(divided)} in several "
            f"subsets, such as {divided[0]}"
        )


def _stored_report(folder: str) -> str:
    """The report that a run stored when it began."""
    path = Path(folder) / "data.txt"
    with reading(path, "the run's report on its data", "resume"):
        return path.read_text(encoding="utf-8").rstrip("\n")


def _subsets(pairs: Iterable[Pair], split: Split) -> dict[str, list[Pair]]:
    """The pairs of each subset; stems without a pair are left out."""
    by_stem = {pair.stem: pair for pair in pairs}
    return {
        name: [by_stem[stem] for stem in stems if stem in by_stem] for name, stems in split.items()
    }

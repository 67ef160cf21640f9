"""The data of a run: found, split and checked; the folds of a cross-validation."""

from pathlib import Path
from typing import NamedTuple

from polypseg.data.folds import fold_splits
from polypseg.data.pairs import find_pairs
from polypseg.data.splits import group_names, random_split, read_split
from polypseg.data.verify import verify
from polypseg.errors import InputError, of_argument, reading
from polypseg.experiment.fingerprints import check_unchanged, fingerprints


class Data(NamedTuple):
    """Checked pairs of each subset, `{"train": [Pair, ...], "val": ..., "test": ...}`.

    `report` says what the check found: a `data.verify.Report`, or its text where a run is resumed;
    `files` are the fingerprints of all pairs.
    """

    subsets: dict
    report: object
    files: dict

    def check(self):
        """Raise `InputError` where the check found bad files."""
        errors = [] if isinstance(self.report, str) else self.report.errors
        if errors:
            first = f"{errors[0].path}: {errors[0].message}"
            raise InputError(
                f"expected readable pairs, got {len(errors)} bad files; the first: {first}",
                "data_path",
            )

    @property
    def found(self):
        """The report in words, every file named."""
        return self.report if isinstance(self.report, str) else self.report.text(None)


def prepare_data(config):
    """Find, split and verify the data. Raises `InputError` when there are none or, on resuming,
    others.
    """
    with of_argument("data_path"):
        pairs, orphans = find_pairs(config.data_path)
    if config.resume:
        pairs, files = check_unchanged(Path(config.resume), pairs)
        with of_argument("resume"):
            split = read_split(Path(config.resume) / "split", [pair.stem for pair in pairs])
        return Data(_subsets(pairs, split), _earlier_report(config), files)
    stems = [pair.stem for pair in pairs]
    if config.split_dir:
        with of_argument("split_dir"):
            split = read_split(config.split_dir, stems)
    else:
        with of_argument("group_by" if config.group_by else "data_split"):
            groups = group_names(stems, config.group_by) if config.group_by else None
            split = random_split(stems, config.data_split, config.seed, groups)
    subsets = _subsets(pairs, split)
    used = [pair for part in subsets.values() for pair in part]
    if config.split_dir and config.group_by:
        with of_argument("group_by"):
            _check_groups(split, group_names(stems, config.group_by))
    report = verify(used, orphans, split)
    return Data(subsets, report, {} if report.errors else fingerprints(used))


def _check_groups(split, groups):
    """Raise `InputError` where given lists part a group."""
    subsets = {}
    for name, part in split.items():
        for stem in part:
            subsets.setdefault(groups[stem], set()).add(name)
    parted = sorted(group for group, names in subsets.items() if len(names) > 1)
    if parted:
        raise InputError(
            f"expected each group in one subset of --split-dir, got {len(parted)} "
            f"parted, {parted[0]} among them"
        )


def _earlier_report(config):
    path = Path(config.resume) / "data.txt"
    with reading(path, "the run's report on its data", "resume"):
        return path.read_text(encoding="utf-8").rstrip("\n")


def _subsets(pairs, split):
    by_stem = {pair.stem: pair for pair in pairs}
    return {name: [by_stem[stem] for stem in stems] for name, stems in split.items()}


def prepare_folds(config):
    """A `Data` for each fold of a cross-validation; all share one report. Raises as
    `prepare_data`.
    """
    with of_argument("data_path"):
        pairs, orphans = find_pairs(config.data_path)
    if config.resume:
        pairs, files = check_unchanged(Path(config.resume), pairs)
        report = _earlier_report(config)
    else:
        report = verify(pairs, orphans)
        files = {} if report.errors else fingerprints(pairs)
    stems = [pair.stem for pair in pairs]
    with of_argument("group_by"):
        groups = group_names(stems, config.group_by) if config.group_by else None
    with of_argument("folds"):
        splits = fold_splits(stems, config.folds, config.data_split, config.seed, groups)
    return [Data(_subsets(pairs, split), report, files) for split in splits]

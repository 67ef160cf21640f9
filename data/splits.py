"""Who trains, who validates, who tests: drawn by a seed, or read from lists.

A split is a dict `{"train": [...], "val": [...], "test": [...]}` of sorted stems.
"""

import csv
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from polypseg.errors import InputError, reading
from polypseg.files import write_text

from .images import IMAGE_SUFFIXES

Split = dict[str, list[str]]
SUBSETS = ("train", "val", "test")


def random_split(
    stems: Iterable[str],
    fraction: float,
    seed: int,
    groups: Mapping[str, str] | None = None,
) -> Split:
    """Draw `fraction` of the stems for val, as many for test, and leave the others to train.

    Without groups this is scikit-learn's `train_test_split(..., test_size=int(fraction * n),
    random_state=seed)` called twice over the sorted stems, the second time on what the first one
    left, so that the published 80/10/10 split of Kvasir-SEG comes out for `seed=12`.

    With `groups` (stem -> group, see `group_names`) the frames of a group stay together. Groups
    are taken in an order drawn with the seed; val, then test, takes each that brings its number
    of frames closer to `fraction * n`, and the smallest one if none does.

    Raises:
        InputError: a fraction outside (0, 0.5), a stem twice or without a group, fewer than three
            groups, or too few stems to give every part one.
    """
    stems = sorted(stems)
    _check_unique(stems, "stems")
    if not 0 < fraction < 0.5:
        raise InputError(f"expected a fraction in (0, 0.5), got fraction={fraction}")
    if groups is not None:
        return _grouped_split(stems, fraction, seed, groups)
    count = int(fraction * len(stems))
    if count < 1:  # train gets the rest, which is never empty because fraction < 0.5
        raise InputError(
            "expected stems for each of train, val and test, "
            f"got {len(stems)} stems and fraction={fraction}"
        )
    rest, val = _draw(stems, count, seed)
    train, test = _draw(rest, count, seed)
    return {"train": sorted(train), "val": sorted(val), "test": sorted(test)}


def group_names(stems: Iterable[str], pattern: str) -> dict[str, str]:
    """Name each stem's group: what the first capturing group of `pattern` matches, or all of it.

    Raises InputError for a pattern that is no regular expression or does not match every stem.

    >>> group_names(["PANCREAS_0001-1106", "PANCREAS_0002-0033"], r"^[^-]+")
    {'PANCREAS_0001-1106': 'PANCREAS_0001', 'PANCREAS_0002-0033': 'PANCREAS_0002'}
    """
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise InputError(f"expected a regular expression, got {pattern!r} ({error})") from error
    first = min(expression.groups, 1)
    found = {stem: match[first] for stem in stems if (match := expression.search(stem))}
    strangers = [stem for stem in stems if found.get(stem) is None]
    if strangers:
        raise InputError(f"expected {pattern!r} to match every stem, got {_some(strangers)}")
    return found


def read_split(path: str | os.PathLike, stems: Iterable[str]) -> Split:
    """Read a split, whose stems may be some of `stems` only.

    `path` is a folder with `train.txt`, `val.txt` and perhaps `test.txt`; or the start of three
    such files, as `splits/kvasir_80_10_10` is of `splits/kvasir_80_10_10_train.txt`; or a CSV
    file with the header `stem,subset`. Entries are stems or file names.

    Raises:
        InputError: nothing of this kind at `path`, an entry that is not in `stems` or comes
            twice, or no entries for train or val.
    """
    path, known = Path(path), set(stems)
    entries = _read_csv(path) if os.path.isfile(path) else _read_lists(path)
    split = {subset: sorted(_stem(entry, known) for entry in entries[subset]) for subset in SUBSETS}
    drawn = [stem for subset in SUBSETS for stem in split[subset]]
    strangers = [stem for stem in drawn if stem not in known]
    if strangers:
        raise InputError(f"split {path}: expected stems of the data, got {_some(strangers)}")
    _check_unique(drawn, f"split {path}")
    for subset in ("train", "val"):
        if not split[subset]:
            raise InputError(f"split {path}: expected stems for {subset}, got none")
    return split


def write_split(folder: str | os.PathLike, split: Mapping[str, Iterable[str]]) -> None:
    """Write `train.txt`, `val.txt` and `test.txt`, one stem a line, for `read_split`."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for subset in SUBSETS:
        text = "".join(f"{stem}\n" for stem in split[subset])
        write_text(folder / f"{subset}.txt", text)


def _draw(items: list[str], count: int, seed: int) -> tuple[list[str], list[str]]:
    # RandomState, not Generator: this is the stream that scikit-learn's splits are drawn from.
    order = np.random.RandomState(seed).permutation(len(items))
    return [items[i] for i in order[count:]], [items[i] for i in order[:count]]


def _grouped_split(
    stems: list[str], fraction: float, seed: int, groups: Mapping[str, str]
) -> Split:
    strangers = [stem for stem in stems if stem not in groups]
    if strangers:
        raise InputError(f"expected a group for every stem, got none for {_some(strangers)}")
    members: dict[str, list[str]] = {}
    for stem in stems:
        members.setdefault(groups[stem], []).append(stem)
    if len(members) < 3:
        raise InputError(f"expected at least 3 groups, got {len(members)}: {_some(members)}")
    names = sorted(members)
    left = [names[i] for i in np.random.RandomState(seed).permutation(len(names))]
    split = {}
    for subset, parts_after in (("val", 2), ("test", 1)):
        sizes = {name: len(members[name]) for name in left}
        taken = _fill(sizes, fraction * len(stems), len(left) - parts_after)
        split[subset] = sorted(stem for name in taken for stem in members[name])
        left = [name for name in left if name not in taken]
    return {"train": sorted(stem for name in left for stem in members[name]), **split}


def _fill(sizes: dict[str, int], target: float, most: int) -> list[str]:
    taken: list[str] = []
    count = 0
    for name, size in sizes.items():
        if len(taken) < most and abs(count + size - target) < abs(count - target):
            taken.append(name)
            count += size
    return taken or [min(sizes, key=lambda name: sizes[name])]


def _read_lists(path: Path) -> dict[str, list[str]]:
    start = f"{path}{os.sep}" if os.path.isdir(path) else f"{path}_"
    files = {subset: Path(f"{start}{subset}.txt") for subset in SUBSETS}
    for subset in ("train", "val"):
        if not os.path.isfile(files[subset]):
            raise InputError(
                f"split {path}: expected a CSV file, or {subset}.txt in a folder or behind a "
                f"prefix, got no {files[subset]}"
            )
    return {subset: _lines(file) if os.path.lexists(file) else [] for subset, file in files.items()}


def _read_csv(path: Path) -> dict[str, list[str]]:
    with reading(path, "a CSV file stem,subset"):
        header, *rows = list(csv.reader(_lines(path))) or [[]]
    if [name.strip() for name in header] != ["stem", "subset"]:
        raise InputError(f"split {path}: expected the header stem,subset, got {','.join(header)}")
    entries: dict[str, list[str]] = {subset: [] for subset in SUBSETS}
    for row in rows:
        if len(row) != 2 or row[1].strip() not in SUBSETS:
            raise InputError(
                f"split {path}: expected a stem and train, val or test, got {','.join(row)}"
            )
        entries[row[1].strip()].append(row[0])
    return entries


def _lines(path: Path) -> list[str]:
    with reading(path, "text in UTF-8"):
        text = path.read_text(encoding="utf-8-sig")
    return [line for line in text.splitlines() if line.strip()]


def _stem(entry: str, known: set[str]) -> str:
    if entry in known:  # with the spaces around it
        return entry
    entry = entry.strip()
    suffix = Path(entry).suffix
    is_file_name = entry not in known and suffix.lower() in IMAGE_SUFFIXES
    return entry[: -len(suffix)] if is_file_name else entry


def _check_unique(stems: list[str], where: str) -> None:
    seen, twice = set(), {}
    for stem in stems:
        if stem in seen:
            twice[stem] = True
        seen.add(stem)
    if twice:
        raise InputError(f"{where}: expected every stem once, got twice {_some(twice)}")


def _some(names: Iterable[str]) -> str:
    names = list(names)
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more

"""The lists of a split: which images train, validate and test.

A split is a dict `{"train": [...], "val": [...], "test": [...]}` of sorted stems.
"""

import csv
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from polypseg.errors import InputError, reading
from polypseg.files import csv_text, write_text

from .images import IMAGE_SUFFIXES

Split = dict[str, list[str]]
SUBSETS = ("train", "val", "test")


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
        raise InputError(f"expected {pattern!r} to match every stem, got {some(strangers)}")
    return found


def read_split(path: str | os.PathLike[str], stems: Iterable[str]) -> Split:
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
        raise InputError(f"split {path}: expected stems of the data, got {some(strangers)}")
    check_unique(drawn, f"split {path}")
    for subset in ("train", "val"):
        if not split[subset]:
            raise InputError(f"split {path}: expected stems for {subset}, got none")
    return split


def write_split(folder: str | os.PathLike[str], split: Mapping[str, Iterable[str]]) -> None:
    """Write `train.txt`, `val.txt` and `test.txt`, one stem a line, for `read_split`."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for subset in SUBSETS:
        text = "".join(f"{stem}\n" for stem in split[subset])
        write_text(folder / f"{subset}.txt", text)


def write_folds(path: str | os.PathLike[str], folds: Sequence[Mapping[str, Iterable[str]]]) -> None:
    """Write the splits of a cross-validation as a CSV file for `read_folds`: a row a stem, with its
    subset in each fold.
    """
    subsets = [{stem: name for name in SUBSETS for stem in split[name]} for split in folds]
    names = [f"fold-{number}" for number in range(1, len(folds) + 1)]
    rows = ([stem, *(of[stem] for of in subsets)] for stem in sorted(subsets[0]))
    write_text(Path(path), csv_text(["stem", *names], rows))


def read_folds(path: str | os.PathLike[str]) -> list[Split]:
    """What `write_folds` wrote. Raises `InputError`."""
    path = Path(path)
    with reading(path, "a CSV file stem,fold-1,fold-2,..."):
        with open(path, newline="", encoding="utf-8", errors="surrogateescape") as file:
            (_, *names), *rows = csv.reader(file, strict=True)
        splits: list[Split] = [{subset: [] for subset in SUBSETS} for _ in names]
        for stem, *subsets in rows:
            for split, subset in zip(splits, subsets, strict=True):
                split[subset].append(stem)
    return splits


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


def check_unique(stems: list[str], where: str) -> None:
    seen, twice = set(), {}
    for stem in stems:
        if stem in seen:
            twice[stem] = True
        seen.add(stem)
    if twice:
        raise InputError(f"{where}: expected every stem once, got twice {some(twice)}")


def some(names: Iterable[str]) -> str:
    names = list(names)
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more

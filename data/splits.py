"""Read and write splits: the lists of images to train, validate and test on.

A split is a dict `{"train": [...], "val": [...], "test": [...]}` of sorted stems.
"""

import csv
import itertools
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from polypseg.errors import InputError, reading
from polypseg.files import csv_rows, csv_text, write_text

from .listed import check_unique, listed_stems
from .pairs import Pair

Split = dict[str, list[str]]
SUBSETS = ("train", "val", "test")


def read_split(
    path: str | os.PathLike[str], stems: Iterable[str], pairs: Iterable[Pair] = ()
) -> Split:
    """Read a split. It may leave out some of the stems.

    Args:
        path: one of

            - a folder with `train.txt`, `val.txt` and, optionally, `test.txt`;
            - the common prefix of such files: `splits/kvasir_80_10_10` stands for
              `splits/kvasir_80_10_10_train.txt` and so on;
            - a CSV file with the header `stem,subset`.

            The entries are stems or paths, see `listed_stems`.
        stems: all stems of the data set.
        pairs: the files of these stems, with which paths are compared.

    Raises:
        InputError: `path` is none of these, an entry is wrong (see `listed_stems`) or listed twice,
            or there are no entries for train or val.
    """
    path = Path(path)
    known = dict.fromkeys(stems) | {pair.stem: pair for pair in pairs}
    entries = _read_csv(path) if os.path.isfile(path) else _read_lists(path)
    listed = listed_stems(itertools.chain(*entries.values()), known, f"split {path}", "the data")
    check_unique(listed, f"split {path}")
    rest = iter(listed)
    split = {name: sorted(itertools.islice(rest, len(lines))) for name, lines in entries.items()}
    for subset in ("train", "val"):
        if not split[subset]:
            raise InputError(f"split {path}: expected stems for {subset}, got none")
    return split


def write_split(folder: str | os.PathLike[str], split: Mapping[str, Iterable[str]]) -> None:
    """Write `train.txt`, `val.txt` and `test.txt`, one stem per line, for `read_split`.

    Args:
        folder: is made if it does not exist.
        split: stems of each subset.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for subset in SUBSETS:
        text = "".join(f"{stem}\n" for stem in split[subset])
        write_text(folder / f"{subset}.txt", text)


def write_folds(path: str | os.PathLike[str], folds: Sequence[Mapping[str, Iterable[str]]]) -> None:
    """Write the splits of a cross-validation as a CSV file for `read_folds`.

    The file has one row per stem, with its subset in each fold:

        stem,fold-1,fold-2
        a,train,test
    """
    subsets = [{stem: name for name in SUBSETS for stem in split[name]} for split in folds]
    names = [f"fold-{number}" for number in range(1, len(folds) + 1)]
    rows = ([stem, *(of[stem] for of in subsets)] for stem in sorted(subsets[0]))
    write_text(Path(path), csv_text(["stem", *names], rows))


def read_folds(path: str | os.PathLike[str]) -> list[Split]:
    """Read the splits that `write_folds` wrote. Raises `InputError`."""
    path = Path(path)
    with reading(path, "a CSV file stem,fold-1,fold-2,..."):
        rows = [list(row.values()) for row in csv_rows(path)]
        splits: list[Split] = [{subset: [] for subset in SUBSETS} for _ in rows[0][1:]]
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
                f"split {path}: expected a CSV file, or {subset}.txt in a folder or after a "
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

"""Read and write splits: the lists of images to train, validate and test on.

A split is a dict `{"train": [...], "val": [...], "test": [...]}` of sorted stems.
"""

import csv
import itertools
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from polypseg.errors import InputError, reading
from polypseg.files import csv_text, write_text

from .images import IMAGE_SUFFIXES
from .pairs import IMAGE_FOLDERS, Pair

Split = dict[str, list[str]]
SUBSETS = ("train", "val", "test")


def group_names(stems: Iterable[str], pattern: str) -> dict[str, str]:
    """The group of each stem, by a regular expression.

    Args:
        stems: names of images without suffix.
        pattern: a regular expression, which is searched in each stem. The name of the group is the
            match of the first capturing group, or the complete match if there is none.

    Raises:
        InputError: `pattern` is no regular expression, takes too long, or does not match some text
            in every stem.

    >>> group_names(["PANCREAS_0001-1106", "PANCREAS_0002-0033"], r"^[^-]+")
    {'PANCREAS_0001-1106': 'PANCREAS_0001', 'PANCREAS_0002-0033': 'PANCREAS_0002'}
    """
    stems = list(stems)
    groups = dict(zip(stems, _search(pattern, stems), strict=True))
    unmatched = [stem for stem in stems if not groups[stem]]
    if unmatched:
        raise InputError(
            f"expected {pattern!r} to match some text in every stem, got none in {some(unmatched)}"
        )
    return {stem: group or "" for stem, group in groups.items()}


# Python cannot stop a search that takes years, as `(a+)+$` may, so it runs in another process.
_SEARCH = """
import json, re, sys
pattern, stems = json.load(sys.stdin)
try:
    expression = re.compile(pattern)
    first = min(expression.groups, 1)
    matches = map(expression.search, stems)
    answer = {"groups": [match and match[first] for match in matches]}
except Exception as error:
    answer = {"error": str(error) or type(error).__name__}
json.dump(answer, sys.stdout)
"""


def _search(pattern: str, stems: list[str], seconds: float = 5) -> list[str | None]:
    """What the pattern matches in each stem, as `group_names` describes it; None for nothing."""
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-c", _SEARCH],
            input=json.dumps([pattern, stems]).encode(),
            capture_output=True,
            timeout=seconds,
        )
        answer = json.loads(done.stdout or '{"error": "it needs too much memory"}')
    except subprocess.TimeoutExpired:
        raise InputError(
            f"expected a regular expression that is quick, got {pattern!r}, which was stopped after"
            f" {seconds:g} seconds; repetitions inside repetitions, as in (a+)+, are slow"
        ) from None
    if "error" in answer:
        raise InputError(f"expected a regular expression, got {pattern!r} ({answer['error']})")
    return answer["groups"]


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


def listed_stems(
    lines: Iterable[str], pairs: Mapping[str, Pair | None], listed_in: str, data: str
) -> list[str]:
    """The stem that each line of a list names.

    A line is a stem, the path of an image, or two paths: that of the image and, behind a space,
    tab, comma or semicolon, that of its mask. Suffixes are not compared. Folders are compared if
    some stems have them (`p1/a`), up to the folder of the images.

    Args:
        lines: of the list, none of them empty.
        pairs: the known stems, with their files if these are known.
        listed_in: the name of the list, with which messages begin.
        data: what has these stems, for messages.

    Raises:
        InputError: a line names no known image, or another mask than that of its image.

    >>> listed_stems(["images/a.jpg masks/a.png", "b"], {"a": None, "b": None}, "list", "data")
    ['a', 'b']
    """
    found, unknown = [], []
    flat = not any("/" in stem for stem in pairs)
    for line in lines:
        # A stem may have spaces, also at its ends, and may end like a file name.
        stem = line if line in pairs else _stem_of_paths(line.strip(), pairs, flat, listed_in)
        if stem is None:
            unknown.append(line.strip())
        else:
            found.append(stem)
    if unknown:
        raise InputError(
            f"{listed_in}: expected stems of {data}, got {some(unknown)}; a line is a stem or the "
            "path of an image, and behind an image may be the path of its mask"
        )
    return found


def _stem_of_paths(
    line: str, pairs: Mapping[str, Pair | None], flat: bool, listed_in: str
) -> str | None:
    """The stem of the image whose path is the line, or begins it; None if there is none."""
    stem = _stem_of_path(line, pairs, flat)
    if stem is not None:
        return stem
    wrong = ""
    for gap in re.finditer(r"[\s,;]+", line):
        stem = _stem_of_path(line[: gap.start()], pairs, flat)
        if stem is None:
            continue
        pair = pairs[stem]
        if pair is None:
            return stem
        depth = stem.count("/") + 1
        named, mask = _parts(line[gap.end() :]), pair.mask.with_suffix("").parts
        if named and named[-depth:] == mask[-min(depth, len(named)) :]:
            return stem
        wrong = wrong or f"expected the mask of {stem} behind it, {pair.mask}, got {line}"
    if wrong:
        raise InputError(f"{listed_in}: {wrong}")
    return None


def _stem_of_path(path: str, pairs: Mapping[str, Pair | None], flat: bool) -> str | None:
    """The stem of the image that has this path; None if there is none.

    Args:
        path: with or without a suffix.
        pairs: as for `listed_stems`.
        flat: whether all images are in one folder, so that folders say nothing.
    """
    for parts in (_parts(path, suffix=True), _parts(path)):
        for start in range(len(parts)):
            stem = "/".join(parts[start:])
            if stem in pairs and _are_folders_of(parts[:start], stem, pairs[stem], flat):
                return stem
    return None


def _are_folders_of(names: tuple[str, ...], stem: str, pair: Pair | None, flat: bool) -> bool:
    """Whether these folders can lead to an image."""
    if any(re.search(r"[\s,;]", name) for name in names):  # two paths, or a folder of this name
        folder = Path(os.path.abspath(pair.image)).parents[stem.count("/")] if pair else Path()
        return folder.parts[-len(names) :] == names
    return flat or not names or names[-1].lower() in {name.lower() for name in IMAGE_FOLDERS}


def _parts(path: str, suffix: bool = False) -> tuple[str, ...]:
    """The folders and the name in a path, without the suffix of an image file or with it."""
    path = path.strip("\"' ").replace("\\", "/")
    if not suffix and Path(path).suffix.lower() in IMAGE_SUFFIXES:
        path = path[: -len(Path(path).suffix)]
    return tuple(part for part in path.split("/") if part not in ("", ".", ".."))


def check_unique(stems: Iterable[str], listed_in: str) -> None:
    """Raise `InputError` if a stem is listed twice; its message begins with `listed_in`."""
    seen, twice = set(), {}
    for stem in stems:
        if stem in seen:
            twice[stem] = True
        seen.add(stem)
    if twice:
        raise InputError(f"{listed_in}: expected every stem once, got twice {some(twice)}")


def some(names: Iterable[str]) -> str:
    """The first five names and how many more there are, for messages.

    >>> some("abcdefg")
    'a, b, c, d, e and 2 more'
    """
    names = list(names)
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more

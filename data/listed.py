"""The images that a list names: by stems, or by paths."""

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from polypseg.errors import InputError
from polypseg.files import from_spreadsheet

from .images import IMAGE_SUFFIXES
from .pairs import IMAGE_FOLDERS, Pair


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
        stem = (
            line
            if line in pairs
            else _stem_of_paths(from_spreadsheet(line.strip()), pairs, flat, listed_in)
        )
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

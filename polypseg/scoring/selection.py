"""Which images of a data set are scored: a subset of the run's split, or a list of stems."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from polypseg.data.listed import listed_stems
from polypseg.data.pairs import Pair
from polypseg.errors import InputError, expect, of_argument, reading
from polypseg.experiment.fingerprints import FILES, fingerprints, read_fingerprints


class StemList(NamedTuple):
    """A text file with one stem per line, or a path as `data.listed.listed_stems` describes it.

    Attributes:
        lines: those of the file that are not empty.
        path: of the file.
    """

    lines: list[str]
    path: str


def read_stem_lists(
    paths: Sequence[str] | None, count: int, argument: str
) -> Sequence[StemList | None]:
    """The lists of `count` data sets.

    Args:
        paths: no file, one file for all data sets, or one file per data set.
        count: the number of data sets.
        argument: the name of the argument that gives the data sets, for messages.

    Raises:
        InputError: another number of files, an empty file, or a file that is not UTF-8 text.
    """
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
            text = Path(path).read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(
                f"expected a text file with one stem per line, got {path} ({error})", "stems"
            ) from error
        lines = [line for line in text.splitlines() if line.strip()]
        expect(lines, "stems", "a text file with one stem per line", f"the empty file {path}")
        lists.append(StemList(lines, path))
    return lists * count if len(lists) == 1 else lists


def pairs_of_list(pairs: Sequence[Pair], listed: StemList, data_path: str) -> list[Pair]:
    """The listed pairs. Raises `InputError` for a line that names none of them."""
    chosen = stems_of_list(listed, {pair.stem: pair for pair in pairs}, f"pairs in {data_path}")
    return [pair for pair in pairs if pair.stem in chosen]


def stems_of_list(listed: StemList, pairs: Mapping[str, Pair], known_as: str) -> set[str]:
    """The stems in a list. Raises `InputError` for a line that names none of the pairs.

    Args:
        listed: from `read_stem_lists`.
        pairs: all pairs, by stem.
        known_as: what the pairs are, for the message.
    """
    with of_argument("stems"):
        return {*listed_stems(listed.lines, pairs, listed.path, known_as)}


def pairs_of_splits(
    runs: Sequence[Path | None], subset: str, pairs: Sequence[Pair], data_path: str
) -> list[Pair]:
    """The pairs of a subset that is the same for all members of an ensemble, or of one run.

    Raises:
        InputError: as for `pairs_of_split`, or the subsets differ. An image to test one member on
            is then one that another was trained on.
    """
    first, *others = [pairs_of_split(run, subset, pairs, data_path) for run in runs]
    for run, other in zip(runs[1:], others):
        expect(
            other == first,
            "subset",
            f"all (or `stems`), since {runs[0]} and {run} have different {subset} splits, and may "
            "have been trained on images of the other's",
            subset,
        )
    return first


def pairs_of_split(
    run_folder: Path | None, subset: str, pairs: Sequence[Pair], data_path: str
) -> list[Pair]:
    """The pairs of a run's subset.

    Args:
        run_folder: None for a model file, which has no split.
        subset: "train", "val" or "test".
        pairs: of the data set at `data_path`.

    Raises:
        InputError: there is no split, the subset is empty, an image of it is missing, or an image
            has the same stem as one of the run but another content.
    """
    if run_folder is None:
        raise InputError(f"expected all, since a model file has no split, got {subset}", "subset")
    path = run_folder / "split" / f"{subset}.txt"
    with reading(path, f"the list of the run's {subset} split", "model"):
        stems = path.read_text(encoding="utf-8").split("\n")
    wanted = {stem for stem in stems if stem}
    expect(wanted, "subset", f"images in the run's {subset} split", f"an empty list, {path}")
    missing = sorted(wanted - {pair.stem for pair in pairs})
    if missing:
        raise InputError(
            f"expected all {len(wanted)} images of the run's {subset} split, got "
            f"{len(wanted) - len(missing)} in {data_path}; missing: {', '.join(missing[:5])}"
            f"{', ...' if len(missing) > 5 else ''}",
            "data_path",
        )
    chosen = [pair for pair in pairs if pair.stem in wanted]
    _check_contents(run_folder, chosen, data_path)
    return chosen


def _check_contents(run_folder: Path, pairs: Sequence[Pair], data_path: str) -> None:
    """Raise `InputError` if a file differs from the one that the run began with."""
    if not os.path.exists(run_folder / FILES):  # a run of an early version
        return
    of_run, now = read_fingerprints(run_folder, "model"), fingerprints(pairs)
    changed = [stem for stem in now if now[stem] != of_run.get(stem)]
    if changed:
        raise InputError(
            f"expected the images that the run began with, got {len(changed)} with the same name "
            f"but another content in {data_path} ({', '.join(changed[:3])}); to score them, use "
            "`subset` all, or `stems`",
            "data_path",
        )

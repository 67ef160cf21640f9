"""Draw random splits and folds with scikit-learn, by group and stratified by empty masks."""

import warnings
from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold, train_test_split

from polypseg.errors import InputError

from .listed import check_unique, some
from .splits import Split


def random_split(
    stems: Iterable[str],
    fraction: float,
    seed: int,
    groups: Mapping[str, str] | None = None,
    foreground: Collection[str] | None = None,
) -> Split:
    """Draw a random split: `fraction` of the stems for val, as many for test, the others for train.

    Without groups, scikit-learn's `train_test_split` with `test_size=int(fraction * n)` and
    `random_state=seed` draws val from the sorted stems, and then test from the others.
    `fraction=0.1, seed=12` gives the published 80/10/10 split of Kvasir-SEG. The draws are
    stratified by `foreground` if there are at least two masks with and two without foreground, and
    each subset has room for both.

    With groups, `StratifiedGroupKFold` draws about `1 / fraction` folds, at most one per group. Val
    and test are the two folds whose sizes are nearest to `fraction * n`.

    Args:
        stems: stems of all n images, in any order.
        fraction: above 0 and below 0.5.
        seed: 0 to 2^32 - 1; the same seed draws the same split.
        groups: the group of each stem, see `group_names`; a group is never divided.
        foreground: the stems whose masks have foreground; None for all.

    Raises:
        InputError: a fraction outside (0, 0.5), a stem that is listed twice or has no group, fewer
            than three groups, or too few stems for three subsets.

    >>> {name: len(stems) for name, stems in random_split(map(str, range(20)), 0.1, 12).items()}
    {'train': 16, 'val': 2, 'test': 2}
    """
    stems = sorted(stems)
    check_unique(stems, "stems")
    if not 0 < fraction < 0.5:
        raise InputError(f"expected a fraction in (0, 0.5), got fraction={fraction}")
    positive = _has_foreground(foreground, stems)
    if groups is not None:
        _check_groups(stems, groups, at_least=3)
        val, test, *others = _group_folds(stems, fraction * len(stems), seed, groups, positive, 3)
        train = [stem for fold in others for stem in fold]
    else:
        count = int(fraction * len(stems))
        if count < 1:  # train is never empty, because fraction < 0.5
            raise InputError(
                "expected stems for each of train, val and test, "
                f"got {len(stems)} stems and fraction={fraction}"
            )
        rest, val = _draw(stems, count, seed, positive)
        train, test = _draw(rest, count, seed, positive)
    return {"train": sorted(train), "val": sorted(val), "test": sorted(test)}


def fold_splits(
    stems: Iterable[str],
    folds: int,
    fraction: float,
    seed: int,
    groups: Mapping[str, str] | None = None,
    foreground: Collection[str] | None = None,
) -> list[Split]:
    """Draw the splits of a cross-validation: each stem is in the test subset of one fold.

    The test subsets are those of scikit-learn's `StratifiedKFold`, or of `StratifiedGroupKFold` if
    there are groups. Val is drawn from the other stems as in `random_split`: about `fraction * n`
    stems, at least one. So the images that choose the best epoch are not those of the test.

    Args:
        folds: number of folds, 2 or more.
        stems, fraction, seed, groups, foreground: as for `random_split`.

    Returns:
        A split for each fold.

    Raises:
        InputError: fewer than 2 folds; fewer groups than folds, or than 3; a fold that leaves only
            one group to train and to validate on. Without groups each stem counts as one.

    >>> [split["test"] for split in fold_splits("abc", folds=3, fraction=0.1, seed=0)]
    [['c'], ['b'], ['a']]
    """
    stems = sorted(stems)
    what = "images" if groups is None else "groups"
    count = len(stems) if groups is None else len({groups[stem] for stem in stems})
    if folds < 2 or count < max(folds, 3):
        raise InputError(
            f"expected at least 2 folds and {max(folds, 3)} {what}, got folds={folds} and "
            f"{count} {what}"
        )
    positive = _has_foreground(foreground, stems)
    val_size = fraction * len(stems)
    splits = []
    for test in _folds(stems, folds, seed, groups, positive):
        rest = sorted({*stems} - {*test})
        if len(rest if groups is None else {groups[stem] for stem in rest}) < 2:
            raise InputError(
                f"expected 2 {what} or more outside each fold, to train and to validate on, got 1 "
                f"with folds={folds}"
            )
        if groups is None:
            train, val = _draw(rest, max(int(val_size), 1), seed, positive)
        else:
            val, *others = _group_folds(rest, val_size, seed, groups, positive, 2)
            train = [stem for fold in others for stem in fold]
        splits.append({"train": sorted(train), "val": sorted(val), "test": sorted(test)})
    return splits


def _has_foreground(foreground: Collection[str] | None, stems: Sequence[str]) -> dict[str, bool]:
    known = None if foreground is None else set(foreground)
    return {stem: known is None or stem in known for stem in stems}


def _check_groups(stems: Sequence[str], groups: Mapping[str, str], at_least: int) -> None:
    ungrouped = [stem for stem in stems if stem not in groups]
    if ungrouped:
        raise InputError(f"expected a group for every stem, got none for {some(ungrouped)}")
    names = sorted({groups[stem] for stem in stems})
    if len(names) < at_least:
        raise InputError(f"expected at least {at_least} groups, got {len(names)}: {some(names)}")


def _draw(
    stems: Sequence[str], count: int, seed: int, positive: Mapping[str, bool]
) -> tuple[list[str], list[str]]:
    """Draw `count` of the stems; return the others and those."""
    kinds = [positive[stem] for stem in stems]
    rarer = min(sum(kinds), len(kinds) - sum(kinds))
    stratify = kinds if rarer >= 2 and 2 <= count <= len(stems) - 2 else None
    return train_test_split(stems, test_size=count, random_state=seed, stratify=stratify)


def _group_folds(
    stems: Sequence[str],
    size: float,
    seed: int,
    groups: Mapping[str, str],
    positive: Mapping[str, bool],
    at_least: int,
) -> list[list[str]]:
    """Draw `at_least` or more folds of about `size` stems; the nearest to that size comes first."""
    count = len({groups[stem] for stem in stems})
    folds = min(max(round(len(stems) / size), at_least), count)
    drawn = _folds(stems, folds, seed, groups, positive)
    return sorted(drawn, key=lambda fold: abs(len(fold) - size))


def _folds(
    stems: Sequence[str],
    folds: int,
    seed: int,
    groups: Mapping[str, str] | None,
    positive: Mapping[str, bool],
) -> list[list[str]]:
    """Draw the test subset of each fold."""
    splitter = StratifiedKFold if groups is None else StratifiedGroupKFold
    names = None if groups is None else [groups[stem] for stem in stems]
    kinds = np.array([positive[stem] for stem in stems])
    with warnings.catch_warnings():  # some folds have no empty mask if there are too few
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        drawn = splitter(folds, shuffle=True, random_state=seed).split(stems, kinds, names)
        return [[stems[row] for row in test] for _, test in drawn]

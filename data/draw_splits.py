"""Splits and folds, drawn by scikit-learn: by chance, by group, balanced in empty masks."""

import warnings
from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold, train_test_split

from polypseg.errors import InputError

from .splits import Split, check_unique, some


def random_split(
    stems: Iterable[str],
    fraction: float,
    seed: int,
    groups: Mapping[str, str] | None = None,
    foreground: Collection[str] | None = None,
) -> Split:
    """Draw `fraction` of the stems for val, as many for test, and leave the others to train.

    Without groups this is `train_test_split(..., test_size=int(fraction * n), random_state=seed)`
    called twice over the sorted stems, the second time on what the first one left: the published
    80/10/10 split of Kvasir-SEG is that of `seed=12`. It is stratified by `foreground` where some
    masks have none and scikit-learn can (two of each kind, room for both in each subset).

    With groups this is `StratifiedGroupKFold`, of as many folds as the fraction asks for and the
    groups allow: val and test are the two folds whose sizes are nearest to `fraction * n`.

    Args:
        stems: of all images, in any order.
        fraction: above 0 and below 0.5.
        seed: of the draw.
        groups: stem -> group, see `group_names`; a group stays in one subset.
        foreground: the stems whose masks have foreground; None for all.

    Raises:
        InputError: a fraction outside (0, 0.5), a stem twice or without a group, fewer than three
            groups, or too few stems to give each subset one.
    """
    stems = sorted(stems)
    check_unique(stems, "stems")
    if not 0 < fraction < 0.5:
        raise InputError(f"expected a fraction in (0, 0.5), got fraction={fraction}")
    positive = _is_in(foreground, stems)
    if groups is not None:
        _check_groups(stems, groups, at_least=3)
        val, test, *others = _group_folds(stems, fraction * len(stems), seed, groups, positive, 3)
        train = [stem for fold in others for stem in fold]
    else:
        count = int(fraction * len(stems))
        if count < 1:  # train gets the rest, which is never empty because fraction < 0.5
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
    """Divide the stems into `folds` test subsets, each with a train and a val subset of the others.

    The test subsets are those of scikit-learn's `StratifiedKFold`, or of `StratifiedGroupKFold`
    where there are groups. Val is drawn from the other stems as in `random_split`: about
    `fraction * n` of them, at least one. So a network is never chosen by images it is scored on.

    Args:
        folds: 2 or more.
        stems, fraction, seed, groups, foreground: as in `random_split`.

    Raises:
        InputError: fewer than 2 folds, fewer groups (stems, where there are none) than folds,
            or than 3, or a fold that leaves only one to train and validate on.
    """
    stems = sorted(stems)
    what = "images" if groups is None else "groups"
    count = len(stems) if groups is None else len({groups[stem] for stem in stems})
    if folds < 2 or count < max(folds, 3):
        raise InputError(
            f"expected at least 2 folds and {max(folds, 3)} {what}, got folds={folds} and "
            f"{count} {what}"
        )
    positive = _is_in(foreground, stems)
    wanted = fraction * len(stems)
    splits = []
    for test in _folds(stems, folds, seed, groups, positive):
        rest = sorted({*stems} - {*test})
        if len(rest if groups is None else {groups[stem] for stem in rest}) < 2:
            raise InputError(
                f"expected 2 {what} or more outside each fold, to train and to validate on, got 1 "
                f"with folds={folds}"
            )
        if groups is None:
            train, val = _draw(rest, max(int(wanted), 1), seed, positive)
        else:
            val, *others = _group_folds(rest, wanted, seed, groups, positive, 2)
            train = [stem for fold in others for stem in fold]
        splits.append({"train": sorted(train), "val": sorted(val), "test": sorted(test)})
    return splits


def _is_in(foreground: Collection[str] | None, stems: Sequence[str]) -> dict[str, bool]:
    known = None if foreground is None else set(foreground)
    return {stem: known is None or stem in known for stem in stems}


def _check_groups(stems: Sequence[str], groups: Mapping[str, str], at_least: int) -> None:
    strangers = [stem for stem in stems if stem not in groups]
    if strangers:
        raise InputError(f"expected a group for every stem, got none for {some(strangers)}")
    names = sorted({groups[stem] for stem in stems})
    if len(names) < at_least:
        raise InputError(f"expected at least {at_least} groups, got {len(names)}: {some(names)}")


def _draw(
    stems: Sequence[str], count: int, seed: int, positive: Mapping[str, bool]
) -> tuple[list[str], list[str]]:
    """Those that stay and `count` that are drawn."""
    kinds = [positive[stem] for stem in stems]
    rarer = min(sum(kinds), len(kinds) - sum(kinds))
    stratify = kinds if rarer >= 2 and 2 <= count <= len(stems) - 2 else None
    return train_test_split(stems, test_size=count, random_state=seed, stratify=stratify)


def _group_folds(
    stems: Sequence[str],
    wanted: float,
    seed: int,
    groups: Mapping[str, str],
    positive: Mapping[str, bool],
    at_least: int,
) -> list[list[str]]:
    """Folds of about `wanted` stems, the nearest to it first."""
    count = len({groups[stem] for stem in stems})
    folds = min(max(round(len(stems) / wanted), at_least), count)
    found = _folds(stems, folds, seed, groups, positive)
    return sorted(found, key=lambda fold: abs(len(fold) - wanted))


def _folds(
    stems: Sequence[str],
    folds: int,
    seed: int,
    groups: Mapping[str, str] | None,
    positive: Mapping[str, bool],
) -> list[list[str]]:
    kind = StratifiedKFold if groups is None else StratifiedGroupKFold
    names = None if groups is None else [groups[stem] for stem in stems]
    kinds = np.array([positive[stem] for stem in stems])
    with warnings.catch_warnings():  # fewer empty masks than folds: then some folds have none
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        drawn = kind(folds, shuffle=True, random_state=seed).split(stems, kinds, names)
        return [[stems[row] for row in test] for _, test in drawn]

"""Draw folds as earlier versions did.

Those versions did not store the folds of a cross-validation. When such a run is resumed, the same
folds have to be drawn again.
"""

from collections.abc import Iterable, Mapping

import numpy as np

from polypseg.errors import InputError

from .splits import Split


def earlier_fold_splits(
    stems: Iterable[str],
    folds: int,
    fraction: float,
    seed: int,
    groups: Mapping[str, str] | None = None,
) -> list[Split]:
    """Draw folds as earlier versions did: largest group first, each to the smallest fold so far.

    Args:
        stems, folds, fraction, seed, groups: as for `draw_splits.fold_splits`.

    Returns:
        A split for each fold.

    Raises:
        InputError: fewer than 2 folds; fewer groups than folds, or than 3; a fold that leaves only
            one group to train and to validate on. Without groups each stem counts as one.
    """
    stems = sorted(stems)
    members: dict[str, list[str]] = {}
    for stem in stems:
        members.setdefault(stem if groups is None else groups[stem], []).append(stem)
    if folds < 2 or len(members) < max(folds, 3):
        what = "images" if groups is None else "groups"
        raise InputError(
            f"expected at least 2 folds and {max(folds, 3)} {what}, got folds={folds} and "
            f"{len(members)} {what}"
        )
    names = sorted(members)
    drawn = [names[i] for i in np.random.RandomState(seed).permutation(len(names))]

    parts: list[list[str]] = [[] for _ in range(folds)]
    sizes = [0] * folds
    for name in sorted(drawn, key=lambda name: -len(members[name])):
        smallest = sizes.index(min(sizes))
        parts[smallest].append(name)
        sizes[smallest] += len(members[name])

    splits: list[Split] = []
    for part in parts:
        tested = set(part)
        rest = [name for name in drawn if name not in tested]
        if len(rest) < 2:
            raise InputError(
                "expected 2 groups or more outside each fold, to train and to validate on, got 1 "
                f"with folds={folds}"
            )
        val = _take({name: len(members[name]) for name in rest}, fraction * len(stems))
        validated = set(val)
        train = [name for name in rest if name not in validated]
        chosen = {"train": train, "val": val, "test": part}
        splits.append(
            {
                subset: sorted(s for name in names for s in members[name])
                for subset, names in chosen.items()
            }
        )
    return splits


def _take(sizes: dict[str, int], target: float) -> list[str]:
    """Take groups, in order, while each brings the number of stems closer to `target`.

    At least one group is taken and one is left.
    """
    taken: list[str] = []
    count = 0
    for name, size in sizes.items():
        if len(taken) < len(sizes) - 1 and abs(count + size - target) < abs(count - target):
            taken.append(name)
            count += size
    return taken or [min(sizes, key=lambda name: sizes[name])]

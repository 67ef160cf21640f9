"""Splits and folds that scikit-learn draws."""

import numpy as np
import pytest
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold, train_test_split

from polypseg.data.draw_splits import fold_splits, random_split
from polypseg.data.groups import group_names
from polypseg.data.splits import SUBSETS


def names(count, seed=0):
    """Random stems in no order."""
    letters = np.random.default_rng(seed).integers(97, 123, (count, 8))
    return [f"{bytes(row.astype(np.uint8)).decode()}{i}" for i, row in enumerate(letters)]


@pytest.mark.parametrize("seed", [0, 12, 2**31])
@pytest.mark.parametrize(
    "count, fraction", [(10, 0.1), (37, 0.2), (100, 0.29), (641, 0.1), (9, 0.49)]
)
def test_random_split_is_scikit_learns(count, fraction, seed):
    stems = names(count)
    size = int(fraction * count)
    rest, val = train_test_split(sorted(stems), test_size=size, random_state=seed)
    train, test = train_test_split(rest, test_size=size, random_state=seed)
    expected = {"train": sorted(train), "val": sorted(val), "test": sorted(test)}
    assert random_split(stems, fraction, seed) == expected
    assert random_split(reversed(stems), fraction, seed) == expected


@pytest.mark.parametrize("fraction", [0, 0.5, -0.1, 1, float("nan")])
def test_a_fraction_outside_0_to_one_half_is_refused(fraction):
    with pytest.raises(ValueError, match=f"got fraction={fraction}"):
        random_split(names(50), fraction, 1)


def test_a_split_with_an_empty_part_is_refused():
    with pytest.raises(ValueError, match="got 9 stems and fraction=0.1"):
        random_split(names(9), 0.1, 1)
    with pytest.raises(ValueError, match="got 0 stems"):
        random_split([], 0.1, 1)
    with pytest.raises(ValueError, match="twice b"):
        random_split(["a", "b", "c", "b"], 0.3, 1)


@pytest.mark.parametrize("seed", range(20))
def test_groups_stay_together_and_the_sizes_come_close(seed):
    rng = np.random.default_rng(seed)
    stems = names(int(rng.integers(100, 400)), seed)
    groups = {stem: f"g{rng.integers(0, 40)}" for stem in stems}
    split = random_split(stems, 0.15, seed, groups)
    assert sorted(sum(split.values(), [])) == sorted(stems)
    assert all(split[subset] == sorted(split[subset]) for subset in SUBSETS)
    parts = [{groups[stem] for stem in split[subset]} for subset in SUBSETS]
    assert sum(map(len, parts)) == len(set.union(*parts))
    # Seven folds are nearest to 0.15, and none is further from its share than one group.
    largest = max(sum(groups[stem] == name for stem in stems) for name in set(groups.values()))
    for subset in ("val", "test"):
        assert abs(len(split[subset]) - len(stems) / 7) <= largest
    assert random_split(stems[::-1], 0.15, seed, groups) == split


def test_empty_masks_are_in_each_subset_in_proportion():
    stems = names(200)
    foreground = set(stems[:170])
    split = random_split(stems, 0.1, 3, foreground=foreground)
    assert [len(split[name]) for name in SUBSETS] == [160, 20, 20]
    assert [len(foreground & {*split[name]}) for name in SUBSETS] == [136, 17, 17]
    kinds = [stem in foreground for stem in sorted(stems)]
    _, val = train_test_split(sorted(stems), test_size=20, random_state=3, stratify=kinds)
    assert split["val"] == sorted(val)


@pytest.mark.parametrize("positives", [0, 1, 2, 49, 50])
def test_a_kind_too_rare_to_stratify_by_is_drawn_by_chance(positives):
    stems = names(50)
    split = random_split(stems, 0.1, 3, foreground=stems[:positives])
    assert [len(split[name]) for name in SUBSETS] == [40, 5, 5]
    if positives != 2:
        assert split == random_split(stems, 0.1, 3)


@pytest.mark.parametrize("seed", range(10))
def test_patients_with_many_empty_slices_are_spread(seed):
    """As in a CT: each patient has slices with and without the organ, in shares of its own."""
    rng = np.random.default_rng(seed)
    stems, foreground = [], set()
    for patient in range(40):
        count, share = int(rng.integers(5, 30)), rng.uniform(0, 1)
        slices = [f"p{patient}-{index}" for index in range(count)]
        stems += slices
        foreground |= {stem for stem in slices if rng.random() < share}
    groups = group_names(stems, r"^[^-]+")
    share = len(foreground) / len(stems)
    splits = [random_split(stems, 0.1, seed, groups, foreground)]
    splits += fold_splits(stems, 5, 0.1, seed, groups, foreground)
    for split in splits:
        for part in split.values():
            assert abs(len(foreground & {*part}) / len(part) - share) < 0.2
        where = [{groups[stem] for stem in part} for part in split.values()]
        assert sum(map(len, where)) == len(set.union(*where)) == 40


def test_folds_are_scikit_learns():
    stems = sorted(names(61))
    foreground = {*stems[:40]}
    kinds = np.array([stem in foreground for stem in stems])
    groups = {stem: f"g{index // 4}" for index, stem in enumerate(stems)}
    of_groups = [groups[stem] for stem in stems]
    for of, splitter in (
        (None, StratifiedKFold(4, shuffle=True, random_state=9)),
        (groups, StratifiedGroupKFold(4, shuffle=True, random_state=9)),
    ):
        drawn = fold_splits(stems[::-1], 4, 0.1, 9, of, foreground)
        drawn_by_it = splitter.split(stems, kinds, of and of_groups)
        expected = [[stems[row] for row in test] for _, test in drawn_by_it]
        assert [split["test"] for split in drawn] == expected


def test_the_seed_draws_the_groups():
    stems = [f"{group:02d}-{i}" for group in range(30) for i in range(3)]
    groups = group_names(stems, r"^\d+")
    drawn = {tuple(random_split(stems, 0.1, seed, groups)["val"]) for seed in range(8)}
    assert len(drawn) > 5 and {len(val) for val in drawn} == {9}


def test_every_part_gets_a_group_however_few_there_are():
    sizes = {"a": 40, "b": 3, "c": 5, "d": 52}
    stems = [f"{group}{i}" for group, size in sizes.items() for i in range(size)]
    groups = {stem: stem[0] for stem in stems}
    for seed in range(10):
        for fraction in (0.01, 0.25, 0.49):
            split = random_split(stems, fraction, seed, groups)
            assert all(split.values()) and sum(map(len, split.values())) == 100
    for seed in range(10):  # every group is too big for one hundredth: the smallest ones
        split = random_split(stems, 0.01, seed, groups)
        assert {split["val"][0][0], split["test"][0][0]} == {"b", "c"}
    with pytest.raises(ValueError, match="at least 3 groups, got 2: a, b"):
        random_split(["a1", "a2", "b1"], 0.3, 1, {"a1": "a", "a2": "a", "b1": "b"})
    with pytest.raises(ValueError, match="none for c1"):
        random_split(["a1", "b1", "c1"], 0.3, 1, {"a1": "a", "b1": "b"})


@pytest.mark.parametrize("seed", range(60))
def test_every_frame_is_tested_once_and_no_group_is_parted(seed):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 7, rng.integers(3, 13)).tolist()
    folds, fraction = int(rng.integers(2, 6)), rng.uniform(0.05, 0.45)
    groups = {
        f"p{number}-{frame}": f"p{number}"
        for number, size in enumerate(sizes)
        for frame in range(size)
    }
    if len(sizes) < folds:
        with pytest.raises(ValueError, match="groups"):
            fold_splits(groups, folds, fraction, seed, groups)
        return
    try:
        splits = fold_splits(groups, folds, fraction, seed, groups)
    except ValueError as error:  # one half is one group
        assert folds == 2 and "2 groups or more outside each fold" in str(error)
        assert max(sizes) >= sum(sizes) - max(sizes) or len(sizes) == 3
        return
    assert splits == fold_splits(reversed(list(groups)), folds, fraction, seed, groups)
    assert sorted(stem for split in splits for stem in split["test"]) == sorted(groups)
    for split in splits:
        assert sorted(split["train"] + split["val"] + split["test"]) == sorted(groups)
        assert all(split.values())
        where = [{groups[stem] for stem in part} for part in split.values()]
        assert sum(map(len, where)) == len(sizes), "a group lies in two subsets"


def test_parts_are_even_and_drawn_by_the_seed():
    stems = [f"s{number:02}" for number in range(23)]
    splits = fold_splits(stems, 5, 0.1, 3)
    assert sorted(len(split["test"]) for split in splits) == [4, 4, 5, 5, 5]
    assert {len(split["val"]) for split in splits} == {2}
    assert splits != fold_splits(stems, 5, 0.1, 4)
    with pytest.raises(ValueError, match="at least 2 folds"):
        fold_splits(stems, 1, 0.1, 3)
    with pytest.raises(
        ValueError, match="expected at least 2 folds and 24 images, got folds=24 and 23"
    ):
        fold_splits(stems, 24, 0.1, 3)

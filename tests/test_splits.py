import csv

import numpy as np
import pytest
from sklearn.model_selection import train_test_split

from polypseg.data.splits import SUBSETS, group_names, random_split, read_split, write_split


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
    target = 0.15 * len(stems)
    left = [groups[stem] for stem in stems]
    for part, subset in ((parts[1], "val"), (parts[2], "test")):
        # No other group that was left would have brought the part closer.
        left = [group for group in left if group not in part]
        missing = target - len(split[subset])
        assert all(abs(missing - left.count(group)) >= abs(missing) for group in set(left))
    assert random_split(stems[::-1], 0.15, seed, groups) == split


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


def test_group_names_are_the_capturing_group_or_the_match():
    stems = ["PANCREAS_0001-1106", "PANCREAS_0023-7"]
    assert list(group_names(stems, r"^[^-]+").values()) == ["PANCREAS_0001", "PANCREAS_0023"]
    assert list(group_names(stems, r"_(\d+)-(\d+)").values()) == ["0001", "0023"]
    with pytest.raises(ValueError, match=r"got p0, p1, p2, p3, p4 and 2 more"):
        group_names(stems + [f"p{i}" for i in range(7)], r"^[^-]+-")
    with pytest.raises(ValueError, match=r"match every stem, got PANCREAS_0023-7$"):
        group_names(stems, r"(1106)|7")
    with pytest.raises(ValueError, match=r"regular expression, got '\(\['"):
        group_names(stems, "([")


def test_a_written_split_reads_back(tmp_path):
    stems = names(40)
    split = random_split(stems, 0.2, 3)
    write_split(tmp_path / "run" / "split", split)
    assert (tmp_path / "run/split/val.txt").read_bytes() == "\n".join([*split["val"], ""]).encode()
    assert read_split(tmp_path / "run" / "split", stems) == split
    write_split(tmp_path / "run" / "split", {**split, "test": []})
    assert read_split(str(tmp_path / "run" / "split"), stems) == {**split, "test": []}


def test_lists_with_a_prefix_and_file_names_are_read(tmp_path):
    (tmp_path / "kvasir_train.txt").write_bytes("\ufeffb.JPG\r\n\r\n  a \r\n".encode())
    (tmp_path / "kvasir_val.txt").write_text("v1.2\nd.png.jpg")
    stems = ["a", "b", "c", "v1.2", "d.png"]
    expected = {"train": ["a", "b"], "val": ["d.png", "v1.2"], "test": []}
    assert read_split(tmp_path / "kvasir", stems) == expected
    (tmp_path / "kvasir_test.txt").write_text("c.tiff")
    assert read_split(tmp_path / "kvasir", stems) == {**expected, "test": ["c"]}
    # A stem that ends like a file name is itself first.
    (tmp_path / "kvasir_val.txt").write_text("v1.2\nd.png\n")
    assert read_split(tmp_path / "kvasir", stems)["val"] == ["d.png", "v1.2"]


def test_a_csv_is_read(tmp_path):
    split = random_split(names(30), 0.2, 3)
    rows = [(f"{stem}.jpg", subset) for subset in split for stem in split[subset][::-1]]
    with open(tmp_path / "split.csv", "w", newline="", encoding="utf-8-sig") as file:
        csv.writer(file).writerows([("stem", "subset"), *rows])
    assert read_split(tmp_path / "split.csv", names(30)) == split
    (tmp_path / "split.csv").write_text("name,subset\na,train\n")
    with pytest.raises(ValueError, match="header stem,subset, got name,subset"):
        read_split(tmp_path / "split.csv", ["a"])
    (tmp_path / "split.csv").write_text("stem,subset\na,training\n")
    with pytest.raises(ValueError, match="train, val or test, got a,training"):
        read_split(tmp_path / "split.csv", ["a"])


def test_bad_entries_are_named_up_to_five(tmp_path):
    stems = names(30)
    split = random_split(stems, 0.2, 3)

    def refused(match, **changes):
        write_split(tmp_path, {**split, **changes})
        with pytest.raises(ValueError, match=match):
            read_split(tmp_path, stems)

    strangers = [f"x{i}" for i in range(8)]
    refused("stems of the data, got x0, x1, x2, x3, x4 and 3 more", val=strangers)
    refused(f"twice {split['val'][0]}$", val=[*split["val"], split["val"][0]])
    refused(f"twice {split['val'][1]}$", train=[*split["train"], split["val"][1]])
    refused("stems for val, got none", val=[])
    refused("stems for train, got none", train=[])


def test_nothing_at_the_path_is_told(tmp_path):
    with pytest.raises(ValueError, match="got no .*none_train.txt"):
        read_split(tmp_path / "none", ["a"])
    (tmp_path / "train.txt").write_text("a")
    with pytest.raises(ValueError, match="got no .*/val.txt"):
        read_split(tmp_path, ["a"])
    (tmp_path / "val.txt").write_bytes(b"\xff\xfe\x00a")
    with pytest.raises(ValueError, match="UTF-8"):
        read_split(tmp_path, ["a"])

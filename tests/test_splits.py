import csv

import numpy as np
import pytest

from polypseg.data.draw_splits import fold_splits, random_split
from polypseg.data.splits import (
    group_names,
    read_folds,
    read_split,
    write_folds,
    write_split,
)
from polypseg.errors import InputError


def names(count, seed=0):
    """Random stems in no order."""
    letters = np.random.default_rng(seed).integers(97, 123, (count, 8))
    return [f"{bytes(row.astype(np.uint8)).decode()}{i}" for i, row in enumerate(letters)]


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


def test_written_folds_read_back(tmp_path):
    stems = ["a,b", "ö", 'q"', " c", *names(30)]
    folds = fold_splits(stems, 4, 0.1, 7)
    write_folds(tmp_path / "folds.csv", folds)
    assert read_folds(tmp_path / "folds.csv") == folds
    with open(tmp_path / "folds.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["stem"] for row in rows] == sorted(stems)
    assert [row["stem"] for row in rows if row["fold-3"] == "test"] == folds[2]["test"]


@pytest.mark.parametrize("row", ["a,train", "a,train,test,val", "a,train,other"])
def test_damaged_folds_are_refused(tmp_path, row):
    (tmp_path / "folds.csv").write_text(f"stem,fold-1,fold-2\n{row}\n")
    with pytest.raises(InputError, match="folds.csv"):
        read_folds(tmp_path / "folds.csv")

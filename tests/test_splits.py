import csv
import re
from pathlib import Path

import numpy as np
import pytest

from polypseg.data import groups
from polypseg.data.draw_splits import fold_splits, random_split
from polypseg.data.groups import group_names
from polypseg.data.listed import listed_stems
from polypseg.data.pairs import Pair
from polypseg.data.splits import read_folds, read_split, write_folds, write_split
from polypseg.errors import InputError


def names(count, seed=0):
    """Random stems in no order."""
    letters = np.random.default_rng(seed).integers(97, 123, (count, 8))
    return [f"{bytes(row.astype(np.uint8)).decode()}{i}" for i, row in enumerate(letters)]


def test_group_names_are_the_capturing_group_or_the_match():
    stems = ["PANCREAS_0001-1106", "PANCREAS_0023-7"]
    assert list(group_names(stems, r"^[^-]+").values()) == ["PANCREAS_0001", "PANCREAS_0023"]
    assert list(group_names(stems, r"_(\d+)-(\d+)").values()) == ["0001", "0023"]
    with pytest.raises(ValueError, match=r"got none in p0, p1, p2, p3, p4 and 2 more"):
        group_names(stems + [f"p{i}" for i in range(7)], r"^[^-]+-")
    with pytest.raises(ValueError, match=r"in every stem, got none in PANCREAS_0023-7$"):
        group_names(stems, r"(1106)|7")
    with pytest.raises(ValueError, match=r"regular expression, got '\(\['"):
        group_names(stems, "([")


@pytest.mark.parametrize("pattern", ["(a+)+$", "(.*)*x", "(a|a)*$", "(a|aa)+$"])
def test_a_pattern_that_never_ends_is_stopped(monkeypatch, pattern):
    monkeypatch.setattr(groups._search, "__defaults__", (0.3,))
    with pytest.raises(InputError, match="that is quick, got .* stopped after 0.3 seconds"):
        group_names(["b", "a" * 60 + "!"], pattern)


@pytest.mark.parametrize("pattern", ["(" * 20_000, "a{99999999999}", "*", "(?P<1>a)", r"\u12"])
def test_what_is_no_pattern_is_refused(pattern):
    with pytest.raises(InputError, match=r"expected a regular expression, got .* \(.+\)$"):
        group_names(["a"], pattern)


@pytest.mark.parametrize("pattern", ["", r"\d*", "(x)?a", "b|^"])
def test_an_empty_match_is_no_group(pattern):
    with pytest.raises(InputError, match="match some text in every stem, got none in a1$"):
        group_names(["a1"], pattern)


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


def pairs_of(stems, suffix=""):
    return {
        s: Pair(s, Path("d/images", f"{s}.jpg"), Path("d/masks", f"{s}{suffix}.png")) for s in stems
    }


STEMS = ["a", "b c", "benign (1)", "v1.2", "x,y", "d.png", "benign", " e "]


@pytest.mark.parametrize(
    "line, stem",
    [
        ("images/a.jpg masks/a_mask.png", "a"),
        ("./images/a.jpg\td/masks/a_mask.png", "a"),
        ("/home/me/Train/image/a.tif,/home/me/Train/mask/a_mask.tif", "a"),
        ('"images/a.jpg", "masks/a_mask.png"', "a"),
        ("images\\a.jpg;masks\\a_mask.png", "a"),
        ("images/benign (1).png masks/benign (1)_mask.png", "benign (1)"),
        ("benign (1).png benign (1)_mask.png", "benign (1)"),
        ("images/x,y.jpg,masks/x,y_mask.png", "x,y"),
        ("images/v1.2 masks/v1.2_mask", "v1.2"),
        ("images/d.png.jpg", "d.png"),
        ("images/d.png", "d.png"),
        ("b c", "b c"),
        ("  train/b c.JPG  ", "b c"),
        (" e ", " e "),
    ],
)
def test_a_line_of_a_list_may_be_paths(line, stem):
    assert listed_stems([line], pairs_of(STEMS, "_mask"), "list", "data") == [stem]


@pytest.mark.parametrize(
    "line, message",
    [
        ("images/a.jpg masks/b_mask.png", "expected the mask of a behind it, d/masks/a_mask.png"),
        ("images/a.jpg masks/a.png", "expected the mask of a behind it"),
        ("images/a.jpg masks/a_mask.png 1", "expected the mask of a behind it"),
        ("masks/a_mask.png", "expected stems of data, got masks/a_mask.png; a line is a stem or"),
        ("images/z.jpg masks/a.png", "expected stems of data, got images/z.jpg masks"),
        ("images/z masks/b c", "expected stems of data, got images/z masks"),
        ("images/z.jpg masks/z_mask.png", "expected stems of data, got images/z.jpg masks"),
        ("image mask", "expected stems of data, got image mask"),
        (",", "expected stems of data, got ,"),
        ("images/", "expected stems of data, got images/"),
    ],
)
def test_a_line_that_names_no_pair_is_refused(line, message):
    with pytest.raises(InputError, match=f"^list: {re.escape(message)}"):
        listed_stems(["a", line], pairs_of(STEMS, "_mask"), "list", "data")


def test_folders_of_a_list_may_have_spaces(tmp_path):
    folder = tmp_path / "my data" / "images 1"
    pairs = {"a": Pair("a", folder / "a.jpg", tmp_path / "my data" / "masks 1" / "a.png")}
    lines = [str(folder / "a.jpg"), "images 1/a.jpg", "images 1/a.jpg masks 1/a.png"]
    assert listed_stems(lines, pairs, "list", "data") == ["a"] * 3
    with pytest.raises(InputError, match="expected stems"):
        listed_stems(["images 2/a.jpg"], pairs, "list", "data")


def test_folders_in_a_list_are_compared_if_stems_have_them():
    pairs = pairs_of(["p1/a", "p2/a", "a"])
    lines = ["p1/a.jpg masks/p1/a.png", "Data/images/p2/a.jpg", "images/a.jpg a.png"]
    assert listed_stems(lines, pairs, "list", "data") == ["p1/a", "p2/a", "a"]
    for line in ("images/p3/a.jpg", "p3/a", "images/p1/a.jpg masks/p2/a.png"):
        with pytest.raises(InputError, match="expected"):
            listed_stems([line], pairs, "list", "data")


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


def test_stems_from_a_table_of_scores_are_read(tmp_path):
    """There they have an apostrophe, if a spreadsheet would run them as formulas."""
    (tmp_path / "split.csv").write_text("stem,subset\n'=a,train\n=b,train\n'-c.png,val\n'd,val\n")
    stems = ["=a", "=b", "-c", "'d", "'=e"]
    expected = {"train": ["=a", "=b"], "val": ["'d", "-c"], "test": []}
    assert read_split(tmp_path / "split.csv", stems) == expected
    (tmp_path / "split.csv").write_text("stem,subset\n'=e,train\n=a,val\n")
    assert read_split(tmp_path / "split.csv", stems)["train"] == ["'=e"]


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
    stems = ["a,b", "ö", 'q"', " c", "=1+1", "-a", *names(30)]
    folds = fold_splits(stems, 4, 0.1, 7)
    write_folds(tmp_path / "folds.csv", folds)
    assert read_folds(tmp_path / "folds.csv") == folds
    with open(tmp_path / "folds.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    written = {"=1+1": "'=1+1", "-a": "'-a"}
    assert [row["stem"] for row in rows] == [written.get(stem, stem) for stem in sorted(stems)]
    assert [row["stem"] for row in rows if row["fold-3"] == "test"] == [
        written.get(stem, stem) for stem in folds[2]["test"]
    ]


@pytest.mark.parametrize("row", ["a,train", "a,train,test,val", "a,train,other"])
def test_damaged_folds_are_refused(tmp_path, row):
    (tmp_path / "folds.csv").write_text(f"stem,fold-1,fold-2\n{row}\n")
    with pytest.raises(InputError, match="folds.csv"):
        read_folds(tmp_path / "folds.csv")

"""`prepare_data.py --negatives`: quarters without foreground, and their false alarms."""

import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from in_process import run_script

from polypseg.data.groups import group_names
from polypseg.data.images import read_image, write_png
from polypseg.data.masks import read_mask

ROOT = Path(__file__).resolve().parent.parent
SHAPES = {"a": (9, 14), "b": (8, 7), "c": (11, 11), "one_row": (1, 6)}


@pytest.fixture
def data(tmp_path):
    """Random images. Each mask has one pixel of foreground; that of b has one in each quarter."""
    rng = np.random.default_rng(3)
    for kind in ("images", "masks"):
        (tmp_path / "data" / kind).mkdir(parents=True)
    for stem, (height, width) in SHAPES.items():
        image = rng.integers(0, 256, (height, width, 3)).astype(np.uint8)
        mask = np.zeros((height, width), np.uint8)
        # Beside the middle, where a wrong border would put it into another quarter.
        mask[height // 2 - (height > 1), width // 2] = 255
        if stem == "b":
            mask[[0, 0, -1, -1], [0, -1, 0, -1]] = 255
        write_png(tmp_path / "data" / "images" / f"{stem}.png", image)
        write_png(tmp_path / "data" / "masks" / f"{stem}.png", mask)
    return tmp_path


def prepare(folder, *more):
    arguments = "--negatives", "data", "--out", "out", *more
    return run_script(ROOT / "prepare_data.py", *arguments, cwd=folder)


def expected_quarters(data, stem):
    """Written pixel by pixel: the quarter of a pixel, 1 to 4, and the quarters with foreground."""
    image = read_image(data / "data" / "images" / f"{stem}.png")
    mask = read_mask(data / "data" / "masks" / f"{stem}.png")
    height, width = mask.shape
    down, across = np.indices(mask.shape)
    number = 1 + 2 * (down >= height // 2) + (across >= width // 2)
    return {
        f"{stem}_q{quarter}.png": image[number == quarter]
        for quarter in range(1, 5)
        if (number == quarter).any() and not mask[number == quarter].any()
    }


def test_the_quarters_without_foreground(data):
    result = prepare(data)
    assert result.returncode == 0, result.stderr
    expected = {}
    for stem in SHAPES:
        expected |= expected_quarters(data, stem)
    assert len(expected) == 3 + 0 + 3 + 1
    assert "written: 7 quarters without foreground, of 3 of 4 images, in out/" in result.stdout
    for kind in ("images", "masks"):
        assert sorted(os.listdir(data / "out" / kind)) == sorted(expected)
    for name, pixels in expected.items():
        image, mask = (
            cv2.imread(str(data / "out" / kind / name), -1) for kind in ("images", "masks")
        )
        np.testing.assert_array_equal(image[..., ::-1].reshape(-1, 3), pixels)
        assert mask.shape == image.shape[:2] and not mask.any()


def test_only_the_images_of_a_list(data):
    (data / "list.txt").write_text("images/c.png\nb\n")
    assert prepare(data, "--stems", "list.txt").returncode == 0
    assert sorted(os.listdir(data / "out" / "images")) == ["c_q1.png", "c_q3.png", "c_q4.png"]


def test_a_label(data):
    labels = np.zeros((9, 14), np.uint8)
    labels[0, 0], labels[8, 13] = 2, 5
    write_png(data / "data" / "masks" / "a.png", labels)
    (data / "list.txt").write_text("a\n")
    assert prepare(data, "--stems", "list.txt", "--label", "5").returncode == 0
    assert sorted(os.listdir(data / "out" / "images")) == ["a_q1.png", "a_q2.png", "a_q3.png"]


def test_masks_as_train_reads_them(data):
    """With another name, with a colour as foreground, and with pixels that do not count."""
    colors = np.zeros((9, 14, 3), np.uint8)
    colors[0, 0], colors[8, 13], colors[0, 13] = (255, 0, 0), (0, 255, 0), (9, 9, 9)
    write_png(data / "data" / "masks" / "a_mask.png", colors)
    (data / "list.txt").write_text("a\n")
    named = "--stems", "list.txt", "--mask-suffix", "_mask"
    assert prepare(data, *named, "--mask-color", 255, 0, 0, "--overwrite").returncode == 0
    assert sorted(os.listdir(data / "out" / "images")) == ["a_q2.png", "a_q3.png", "a_q4.png"]

    levels = np.zeros((9, 14), np.uint8)
    levels[0, 0], levels[8, 0] = 255, 128
    write_png(data / "data" / "masks" / "a_mask.png", levels)
    assert prepare(data, *named, "--label", 255, "--ignore", 128, "--overwrite").returncode == 0
    assert sorted(os.listdir(data / "out" / "images")) == ["a_q2.png", "a_q4.png"]


def test_the_group_is_the_image():
    """The regular expression of docs/commands/prepare.md for images and quarters together."""
    pattern = "^(.*?)(_q[1-4])?$"
    assert f"--group-by '{pattern}'" in (ROOT / "docs/commands/prepare.md").read_text()
    stems = ["a", "a_q1", "a_q4", "b_q5", "a_q1_q2"]
    assert [*group_names(stems, pattern).values()] == ["a", "a", "a", "b_q5", "a_q1"]


@pytest.mark.parametrize(
    "more, expected",
    [
        (("--volumes", "v"), "--volumes: expected nothing beside --negatives"),
        (("--preset", "ct82"), "--preset: expected nothing beside --negatives"),
        (("--window", "0", "9"), "--window: expected CT volumes, which --negatives does not read"),
        (("--negatives", "none"), "--negatives: expected"),
        (("--mask-color", "255"), "--mask-color: expected three numbers"),
        (("--stems", "none.txt"), "--stems: expected a text file"),
        (("--stems", "b.txt"), "--negatives: expected quarters without foreground, got none in 1"),
        (("--stems", "d.txt"), "--stems: d.txt: expected stems of pairs in data, got d"),
        (("--out", "data"), "--out: expected a folder without the input"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(more, expected, data):
    for stem in "bd":
        (data / f"{stem}.txt").write_text(f"{stem}\n")
    before = sorted(data.rglob("*"))
    result = prepare(data, *more)
    assert result.returncode == 2 and len(result.stderr.splitlines()) == 1
    assert expected in result.stderr
    assert sorted(data.rglob("*")) == before


def test_bad_files_are_told_together(data):
    write_png(data / "data" / "masks" / "a.png", np.zeros((5, 5), np.uint8))
    (data / "data" / "images" / "c.png").write_bytes(b"no image")
    result = prepare(data)
    assert result.returncode == 2 and not (data / "out").exists()
    one, two = result.stderr.splitlines()
    assert "a.png: image and mask differ in size" in one and "c.png: file cannot be read" in two


@pytest.mark.parametrize("empty", ["skip", "one", "zero"])
def test_test_reports_false_alarms_of_a_folder_of_negatives(empty, data):
    """All masks are empty. One map finds nothing, one a speck below 1 %, one a quarter of it."""
    for kind in ("maps", "black"):
        (data / kind).mkdir()
    areas = {"a": 0, "b": 3, "c": 20 * 5}
    for stem, area in areas.items():
        map_ = np.full(20 * 20, 100, np.uint8)
        map_[:area] = 200
        write_png(data / "maps" / f"{stem}.png", map_.reshape(20, 20))
        write_png(data / "black" / f"{stem}.png", np.zeros((20, 20), np.uint8))
    arguments = "--predictions", "maps", "--masks", "black", "--empty", empty, "--out", "scores"
    result = run_script(ROOT / "test.py", *arguments, cwd=data)
    assert result.returncode == 0, result.stderr
    numbers = json.loads((data / "scores" / "metrics.json").read_text())
    expected = {
        "false_alarm_rate": 2 / 3,
        "false_alarm_rate_1_percent": 1 / 3,
        "false_alarm_area": (3 + 100) / 400 / 3,
    }
    report = (data / "scores" / "report.html").read_text()
    for key, value in expected.items():
        assert numbers["lesions"][key] == pytest.approx(value)
        low, high = numbers["intervals"]["lesions"][key]
        assert 0 <= low < value < high <= 1
        assert f"{value:.4f}" in result.stdout and f"{value:.3f}" in report
    overlap = {"skip": None, "one": 1 / 3, "zero": 0.0}[empty]
    assert numbers["threshold"]["dice"] == (overlap and pytest.approx(overlap))

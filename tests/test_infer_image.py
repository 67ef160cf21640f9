"""`infer_image.py`, run for real on pictures that the tests draw; and what it is made of."""

import contextlib
import csv
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from stub_predictor import run_with_stub

from polypseg.data.images import read_image
from polypseg.data.masks import read_mask
from polypseg.drawing.colours import MARK
from polypseg.drawing.overlay import overlay
from polypseg.drawing.panel import panel
from polypseg.inference.regions import find_regions
from polypseg.metrics.overlap import overlap

ROOT = Path(__file__).resolve().parent.parent
COMMAND = [
    sys.executable,
    ROOT / "tests" / "stub_predictor.py",
    ROOT / "infer_image.py",
    "--model",
    "stub",
]


def infer(*arguments, **options):
    return run_with_stub("infer_image.py", *arguments, **options)


def infer_in_new_process(*arguments, **options):
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=120, **options
    )


def draw(path, size=(53, 71), seed=0):
    """Smooth noise; returns what the stub predictor says of it, and the picture."""
    random = np.random.default_rng(seed)
    small = random.integers(0, 256, (6, 6, 3), np.uint8)
    image = cv2.resize(small, size[::-1], interpolation=cv2.INTER_CUBIC)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)
    image = np.asarray(Image.open(path).convert("RGB"))
    return image[..., 0].astype(np.float32) / np.float32(255), image


def table(folder):
    with open(folder / "regions.csv", newline="") as file:
        return list(csv.DictReader(file))


def flood(mask):
    """Regions of pixels that touch, also at corners, by flooding: a list of sets of (row,
    column).
    """
    left, found = set(zip(*np.nonzero(mask))), []
    while left:
        region, edge = set(), [left.pop()]
        while edge:
            row, column = edge.pop()
            region.add((row, column))
            near = {(row + i, column + j) for i in (-1, 0, 1) for j in (-1, 0, 1)} & left
            left -= near
            edge += near
        found.append(region)
    return found


@pytest.mark.parametrize("threshold", [0.5, 0.7])
def test_files_and_numbers_of_a_folder(threshold, tmp_path):
    drawn = {
        name: draw(tmp_path / "in" / name, seed=seed)
        for seed, name in enumerate(("a.png", "b.bmp", "c.jpg"))
    }
    (tmp_path / "in" / "notes.txt").write_text("not a picture")
    (tmp_path / "in" / ".hidden.png").write_text("neither")
    out = tmp_path / "out"
    result = infer(
        "--image_path",
        tmp_path / "in",
        "--out",
        out,
        "--threshold",
        threshold,
        "--batch-size",
        2,
        "--probability",
    )
    assert result.returncode == 0, result.stderr
    rows = table(out)
    assert [row["file"] for row in rows] == [str(tmp_path / "in" / name) for name in drawn]
    for row, (name, (probability, image)) in zip(rows, drawn.items()):
        mask = probability >= threshold
        stem = f"{Path(name).stem}.png"
        written = cv2.imread(str(out / "masks" / stem), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(written, mask * 255)
        grey = cv2.imread(str(out / "probabilities" / stem), cv2.IMREAD_UNCHANGED)
        assert grey.dtype == np.uint16
        np.testing.assert_allclose(grey / 65535, probability, atol=0.51 / 65535)
        np.testing.assert_array_equal(read_image(out / "overlays" / stem), overlay(image, mask))
        assert (int(row["width"]), int(row["height"])) == (71, 53)
        assert int(row["area"]) == mask.sum() and float(row["area_fraction"]) == pytest.approx(
            mask.mean(), abs=1e-6
        )
        regions = flood(mask)
        assert int(row["regions"]) == len(regions)
        boxes = set()
        for region in regions:
            (top, left), (bottom, right) = (
                np.min(list(region), axis=0),
                np.max(list(region), axis=0),
            )
            boxes.add((left, top, right - left + 1, bottom - top + 1))
        listed = [tuple(map(int, box.split())) for box in row["boxes"].split("; ")]
        assert set(listed) == boxes and len(listed) == len(regions)
        largest = max(regions, key=len)
        assert listed[0][2:] == tuple(np.ptp(list(largest), axis=0)[::-1] + 1)
        assert float(row["confidence"]) == pytest.approx(
            probability[mask].astype(float).mean(), abs=6e-5
        )
        assert "milliseconds" not in row
    assert "ms an image" not in result.stdout, "calls of two images and of one: each is a first one"
    assert sorted(os.listdir(out)) == [
        "masks",
        "overlays",
        "probabilities",
        "regions.csv",
        "settings.json",
    ]


def test_the_overlay_shows_exactly_what_the_metrics_count(tmp_path):
    """From the picture alone: the tint is where `tint(image)` is, and Dice of it with the cut map
    is 1.
    """
    probability, image = draw(tmp_path / "a.png", size=(97, 121), seed=5)
    assert (
        infer("--image", tmp_path / "a.png", "--out", tmp_path / "o", "--threshold", 0.5).returncode
        == 0
    )
    drawn = read_image(tmp_path / "o" / "overlays" / "a.png").astype(float)
    tinted = np.abs(drawn - (0.8 * image + 0.2 * np.array(MARK))).max(2) <= 0.51
    scores = overlap((probability >= 0.5).astype(np.uint8), tinted.astype(np.uint8))
    assert scores["dice"] == scores["iou"] == 1 and 0.1 < tinted.mean() < 0.9
    np.testing.assert_array_equal(read_mask(tmp_path / "o" / "masks" / "a.png"), tinted)


def test_overlay_outlines_outside_of_the_mask_only():
    random = np.random.default_rng(3)
    for _ in range(20):
        height, width = random.integers(1, 60, 2)
        image = random.integers(0, 256, (height, width, 3), np.uint8)
        mask = (random.random((height, width)) < random.choice([0, 0.02, 0.5, 1])).astype(np.uint8)
        before = image.copy()
        drawn = overlay(image, mask)
        np.testing.assert_array_equal(image, before)
        inside = mask > 0
        assert np.abs(drawn - (0.8 * image + 0.2 * np.array(MARK)))[inside].max(initial=0) <= 0.51
        near = cv2.dilate(mask, np.ones((13, 13), np.uint8)) > 0
        np.testing.assert_array_equal(drawn[~near], image[~near])
        beside = (cv2.dilate(mask, np.ones((3, 3), np.uint8)) > 0) & ~inside
        assert np.abs(drawn[beside].astype(float) - MARK).max(initial=0) < 100


def test_regions_of_an_empty_and_a_full_map():
    empty, full = (
        find_regions(np.zeros((4, 5), np.float32), 0.5),
        find_regions(np.full((4, 5), 0.5, np.float32), 0.5),
    )
    assert (empty.area, empty.boxes) == (0, []) and np.isnan(empty.confidence)
    assert full == (20, [(0, 0, 5, 4)], 0.5)


def test_one_stem_in_two_folders_and_with_two_suffixes(tmp_path):
    images = {
        name: draw(tmp_path / name, seed=seed)[0]
        for seed, name in enumerate(("x/1.png", "y/1.png", "y/2.png", "y/2.jpg"))
    }
    result = infer(
        "--image",
        tmp_path / "x",
        tmp_path / "y" / "*",
        tmp_path / "x" / "1.png",
        "--out",
        tmp_path / "o",
        "--threshold",
        0.5,
    )
    assert result.returncode == 0, result.stderr
    masks = {
        str(path.relative_to(tmp_path / "o" / "masks")): path
        for path in (tmp_path / "o" / "masks").rglob("*.png")
    }
    assert masks.keys() == {"x/1.png", "y/1.png", "y/2_png.png", "y/2_jpg.png"}
    for name, source in {
        "x/1.png": "x/1.png",
        "y/1.png": "y/1.png",
        "y/2_png.png": "y/2.png",
        "y/2_jpg.png": "y/2.jpg",
    }.items():
        np.testing.assert_array_equal(read_mask(masks[name]), images[source] >= 0.5)


def test_exif_orientation_is_applied(tmp_path):
    _, image = draw(tmp_path / "plain.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    Image.fromarray(image).save(tmp_path / "turned.png", exif=exif)
    assert (
        infer(
            "--image", tmp_path / "turned.png", "--out", tmp_path / "o", "--threshold", 0.5
        ).returncode
        == 0
    )
    mask = read_mask(tmp_path / "o" / "masks" / "turned.png")
    np.testing.assert_array_equal(mask, np.rot90(image[..., 0] >= 127.5, -1))
    assert (table(tmp_path / "o")[0]["width"], table(tmp_path / "o")[0]["height"]) == ("53", "71")


def test_panel_shows_every_map(tmp_path):
    draw(tmp_path / "a.png")
    assert infer("--image", tmp_path / "a.png", "--out", tmp_path / "o", "--panel").returncode == 0
    page = read_image(tmp_path / "o" / "panels" / "a.png")
    assert page.shape[1] > 4 * 400 and page.shape[0] > 2 * 298
    random = np.random.default_rng(0)
    image, maps = (
        random.integers(0, 256, (80, 60, 3), np.uint8),
        random.random((80, 60, 3)).astype(np.float32),
    )
    pages = [
        panel(image, maps[..., list(kept)], "abc"[: len(kept)], 0.5, "title " * 80, "facts " * 90)
        for kept in ((2,), (0, 2), (1, 2))
    ]
    assert pages[0].shape[0] < pages[1].shape[0] == pages[2].shape[0]
    top = pages[0].shape[0]
    np.testing.assert_array_equal(pages[1][: top - 4], pages[0][: top - 4])
    assert (pages[1][top:] != pages[2][top:]).any()


def truncated(path):
    draw(path, size=(200, 200))
    path.write_bytes(path.read_bytes()[:-900])


@pytest.mark.parametrize(
    "spoil, word",
    [
        (lambda path: path.write_text("text"), "expected a JPEG"),
        (truncated, "truncated"),
        (lambda path: path.write_bytes(b""), "empty"),
    ],
)
def test_a_bad_picture_is_named_and_the_others_are_done(spoil, word, tmp_path):
    for name in ("a.png", "z.png"):
        draw(tmp_path / "in" / name)
    spoil(tmp_path / "in" / "bad.png")
    result = infer("--image", tmp_path / "in", "--out", tmp_path / "o")
    assert result.returncode == 2
    assert (
        result.stderr.startswith("infer_image.py: error: --image: ")
        and result.stderr.count("\n") == 1
    )
    assert "bad.png" in result.stderr and word in result.stderr
    assert (
        sorted(os.listdir(tmp_path / "o" / "masks"))
        == sorted(os.listdir(tmp_path / "o" / "overlays"))
        == ["a.png", "z.png"]
    )
    assert len(table(tmp_path / "o")) == 2
    result = infer("--image", tmp_path / "in" / "bad.png", "--out", tmp_path / "alone")
    assert (
        result.returncode == 2
        and result.stderr.count("\n") == 1
        and not (tmp_path / "alone").exists()
    )


def test_what_exists_is_kept_unless_told_otherwise(tmp_path):
    draw(tmp_path / "a.png")
    mine = tmp_path / "o" / "masks" / "a.png"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    result = infer("--image", tmp_path / "a.png", "--out", tmp_path / "o")
    assert result.returncode == 2 and "--overwrite" in result.stderr and str(mine) in result.stderr
    assert mine.read_text() == "mine" and os.listdir(tmp_path / "o") == ["masks"]
    assert (
        infer("--image", tmp_path / "a.png", "--out", tmp_path / "o", "--overwrite").returncode == 0
    )
    assert read_mask(mine).shape == (53, 71)


def test_a_full_disk_leaves_no_broken_file(tmp_path):
    for index in range(3):
        draw(tmp_path / "in" / f"{index}.png", size=(150, 200))

    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))

    result = infer_in_new_process(
        "--image", tmp_path / "in", "--out", tmp_path / "o", preexec_fn=limit
    )
    assert result.returncode == 2
    assert (
        result.stderr.startswith("infer_image.py: error: --out") and result.stderr.count("\n") == 1
    )
    assert not list((tmp_path / "o").rglob(".part-*"))
    for path in (tmp_path / "o").rglob("*.png"):
        assert read_image(path).size


def test_each_picture_has_files_of_its_own(tmp_path):
    """a.jpg, a.png and a_jpg.png, and names that differ by case or get a number."""
    names = ("a.jpg", "a.png", "a_jpg.png", "A.webp", "a_jpg_2.png", "b.png")
    expected = {}
    for seed, name in enumerate(names):
        probability, _ = draw(tmp_path / "d" / name, seed=seed)
        expected[name] = probability >= 0.5
    result = infer("--image", tmp_path / "d", "--out", tmp_path / "o")
    assert result.returncode == 0, result.stderr
    written = sorted((tmp_path / "o" / "masks").iterdir())
    assert len({path.name.casefold() for path in written}) == len(names)
    masks = [read_mask(path).astype(bool) for path in written]
    for name, mask in expected.items():
        assert sum(np.array_equal(mask, other) for other in masks) == 1, name


@pytest.mark.parametrize("way", ["same", "link", "hard link"])
def test_an_input_is_never_replaced(way, tmp_path):
    picture = tmp_path / "d" / "masks" / "x.png"
    draw(picture)
    before, image = picture.read_bytes(), picture
    if way != "same":
        image = tmp_path / "other.png"
        (os.link if way == "hard link" else os.symlink)(picture, image)
        (tmp_path / "e").mkdir()
        (tmp_path / "e" / "x.png").symlink_to(image)
        image = tmp_path / "e" / "x.png"
    result = infer("--image", image, "--out", tmp_path / "d", "--overwrite")
    assert result.returncode == 2 and result.stderr.count("\n") == 1
    assert "--out: expected a path that is not an input" in result.stderr
    assert picture.read_bytes() == before and [p.name for p in picture.parent.iterdir()] == [
        "x.png"
    ]


@pytest.mark.parametrize("folder", ["images", "Original"])
def test_a_data_sets_own_masks_are_never_replaced(folder, tmp_path):
    draw(tmp_path / folder / "x.png")
    draw(tmp_path / "masks" / "x.png", seed=1)
    before = (tmp_path / "masks" / "x.png").read_bytes()
    result = infer("--image", tmp_path / folder, "--out", tmp_path, "--overwrite")
    assert result.returncode == 2
    assert "--out: expected a folder outside the data set, got" in result.stderr
    assert (tmp_path / "masks" / "x.png").read_bytes() == before


def contents(folder):
    """Of each file below, its bytes and when it was written."""
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def infer_until(folder, count, out):
    """Kill `infer_image.py` when it has written `count` masks."""
    command = [*COMMAND, "--image", folder, "--out", out, "--batch-size", "1"]
    process = subprocess.Popen([*map(str, command)], env=os.environ | {"STUB_SECONDS": "0.1"})
    while process.poll() is None and len(list(out.glob("masks/*.png"))) < count:
        time.sleep(0.01)
    process.kill()
    process.wait()


def test_a_killed_command_goes_on_where_it_was(tmp_path):
    for index in range(6):
        draw(tmp_path / "in" / f"{index}.png", seed=index)
    assert infer("--image", tmp_path / "in", "--out", tmp_path / "once").returncode == 0
    infer_until(tmp_path / "in", 3, tmp_path / "o")
    assert not (tmp_path / "o" / "regions.csv").exists()
    before = contents(tmp_path / "o" / "masks")
    with open(tmp_path / "o" / ".regions.jsonl", "a") as journal:
        journal.write('{"file": "0.p')  # cut off by the kill
    result = infer("--image", tmp_path / "in", "--out", tmp_path / "o")
    assert result.returncode == 0, result.stderr
    assert "written: " in result.stdout and " done before" in result.stdout
    after = contents(tmp_path / "o" / "masks")
    kept = [name for name in before if after.get(name) == before[name]]  # not a temporary file
    assert len(kept) >= 2, "the masks of the first call are not written again"
    names = sorted(path.name for path in (tmp_path / "o").iterdir())
    assert names == ["masks", "overlays", "regions.csv", "settings.json"]
    for name, (expected, _) in contents(tmp_path / "once").items():
        if name.endswith(".png"):
            assert (tmp_path / "o" / name).read_bytes() == expected, name
    one, two = table(tmp_path / "once"), table(tmp_path / "o")
    assert one == two and len(one) == 6


@pytest.mark.parametrize(
    "script, argument", [("infer_image", "--image"), ("infer_video", "--video")]
)
def test_the_network_is_announced_before_it_is_loaded(script, argument, tmp_path):
    """Also where the output goes to a file, which is written in blocks."""
    draw(tmp_path / "a.png")
    program = (
        "import os, runpy, sys\n"
        "from polypseg.inference.predictor import Predictor\n"
        "Predictor.load = lambda *arguments: os._exit(7)\n"  # without writing what is buffered
        "sys.argv = sys.argv[1:]\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    options = [f"{script}.py", "--model", "runs/x", argument, tmp_path / "a.png"]
    options += ["--out", tmp_path / "out.mp4"]
    result = subprocess.run(
        [sys.executable, "-c", program, *map(str, options)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
    )
    assert result.returncode == 7, result.stderr
    assert result.stdout == "loading the network runs/x ...\n"


def test_the_time_of_an_image_is_the_mean_of_the_later_calls(tmp_path):
    for index in range(7):
        draw(tmp_path / "in" / f"{index}.png", seed=index)
    result = infer(
        *("--image", tmp_path / "in", "--out", tmp_path / "o", "--batch-size", 2),
        env=os.environ | {"STUB_SECONDS": "0.5"},
    )
    assert result.returncode == 0, result.stderr
    # Calls of 2, 2, 2 and 1: the second and the third are counted, 0.5 s for two images.
    line = next(line for line in result.stdout.splitlines() if "ms an image" in line)
    milliseconds, rate = (float(line.split()[index]) for index in (1, 5))
    assert 250 <= milliseconds < 500 and "4 of 7 images" in line
    assert rate == pytest.approx(1000 / milliseconds, rel=0.02)


def test_a_folder_whose_table_has_milliseconds_goes_on(tmp_path):
    """They were averages of a batch; the table and the journal had them in an older version."""
    for index in range(3):
        draw(tmp_path / "in" / f"{index}.png", seed=index)
    arguments = ("--image", tmp_path / "in", "--out", tmp_path / "o")
    assert infer(*arguments).returncode == 0
    new = table(tmp_path / "o")
    old = [{**row, "milliseconds": "12.34"} for row in new]
    with open(tmp_path / "o" / "regions.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, old[0])
        writer.writeheader()
        writer.writerow(old[0])
    # A row of the older version, and one of this version after it.
    lines = [json.dumps(row) + "\n" for row in (old[1], new[1])]
    (tmp_path / "o" / ".regions.jsonl").write_text("".join(lines))
    before = contents(tmp_path / "o" / "masks")
    result = infer(*arguments)
    assert result.returncode == 0 and "; 2 done before" in result.stdout, result.stderr
    assert table(tmp_path / "o") == new
    after = contents(tmp_path / "o" / "masks")
    assert [name for name in before if after[name] == before[name]] == ["0.png", "1.png"]


def test_what_is_done_stays_and_what_is_new_or_changed_is_added(tmp_path):
    draw(tmp_path / "in" / "a.png", seed=1)
    draw(tmp_path / "in" / "b.png", seed=2)
    arguments = ("--image", tmp_path / "in", "--out", tmp_path / "o", "--threshold", 0.5)
    assert infer(*arguments).returncode == 0
    before = contents(tmp_path / "o")
    b = draw(tmp_path / "in" / "b.png", seed=3)[0]
    c = draw(tmp_path / "in" / "c.png", seed=4)[0]
    result = infer(*arguments)
    assert result.returncode == 0 and "2 images" in result.stdout, result.stdout
    assert "; 1 done before" in result.stdout
    after = contents(tmp_path / "o")
    assert after["masks/a.png"] == before["masks/a.png"]
    for name, probability in (("b", b), ("c", c)):
        np.testing.assert_array_equal(
            read_mask(tmp_path / "o" / "masks" / f"{name}.png"), probability >= 0.5
        )
    rows = table(tmp_path / "o")
    assert [row["mask"] for row in rows] == ["masks/a.png", "masks/b.png", "masks/c.png"]
    assert int(rows[1]["area"]) == (b >= 0.5).sum()
    (tmp_path / "o" / "overlays" / "a.png").unlink()
    assert infer(*arguments, "--panel").returncode == 0
    assert len(os.listdir(tmp_path / "o" / "panels")) == len(table(tmp_path / "o")) == 3
    assert (tmp_path / "o" / "overlays" / "a.png").exists()


@pytest.mark.parametrize("other", ["network", "threshold"])
def test_another_network_or_threshold_is_refused(other, tmp_path):
    draw(tmp_path / "in" / "a.png", seed=1)
    arguments = ("--image", tmp_path / "in", "--out", tmp_path / "o")
    assert infer(*arguments).returncode == 0
    before = contents(tmp_path)
    draw(tmp_path / "in" / "b.png", seed=2)
    changed = contents(tmp_path / "in")
    options = {"env": os.environ | {"STUB_DIGEST": "other"}} if other == "network" else {}
    arguments += ("--threshold", 0.25) if other == "threshold" else ()
    result = infer(*arguments, **options)
    assert result.returncode == 2 and result.stderr.count("\n") == 1
    assert "--out: expected the settings that" in result.stderr
    assert contents(tmp_path / "in") == changed
    assert contents(tmp_path / "o") == {
        name.removeprefix("o/"): value for name, value in before.items() if name.startswith("o/")
    }
    result = infer(*arguments, "--overwrite", **options)
    assert result.returncode == 0 and len(table(tmp_path / "o")) == 2


def test_a_mask_of_another_image_is_not_replaced(tmp_path):
    draw(tmp_path / "x" / "a.png", seed=1)
    draw(tmp_path / "y" / "a.png", seed=2)
    assert infer("--image", tmp_path / "x", "--out", tmp_path / "o").returncode == 0
    before = contents(tmp_path / "o" / "masks")
    result = infer("--image", tmp_path / "y", "--out", tmp_path / "o")
    assert result.returncode == 2 and result.stderr.count("\n") == 1
    assert "--out: expected a folder without masks of other images" in result.stderr
    assert contents(tmp_path / "o" / "masks") == before


@pytest.mark.parametrize(
    "name, text",
    [
        ("settings.json", "[]"),
        ("settings.json", "{}"),
        ("settings.json", ""),
        ("regions.csv", "file,mask\n1\n"),
        ("regions.csv", "a,b\n1,2\n"),
        ("regions.csv", "mask\nmasks/a.png\n"),
        (".regions.jsonl", '{"file": "a", "mask": "masks/a.png", "digest": "0"}\n'),
        ("regions.csv", '"'),
        (".regions.jsonl", "5\n"),
        (".regions.jsonl", "{\n"),
    ],
)
def test_what_the_folder_says_of_itself_is_checked(name, text, tmp_path):
    draw(tmp_path / "in" / "a.png", seed=1)
    arguments = ("--image", tmp_path / "in", "--out", tmp_path / "o")
    assert infer(*arguments).returncode == 0
    (tmp_path / "o" / name).write_text(text)
    before = contents(tmp_path / "o")
    result = infer(*arguments)
    assert result.returncode == 2 and result.stderr.count("\n") == 1, result.stderr
    assert "--out: expected" in result.stderr and "--overwrite" in result.stderr
    assert contents(tmp_path / "o") == before
    assert infer(*arguments, "--overwrite").returncode == 0


def test_maps_of_an_image_that_has_changed_go(tmp_path):
    """With --probability, changed, without, and with it again: never that of the old image."""
    draw(tmp_path / "in" / "a.png", seed=1)
    draw(tmp_path / "in" / "b.png", seed=2)
    arguments = ("--image", tmp_path / "in", "--out", tmp_path / "o")
    assert infer(*arguments, "--probability", "--panel").returncode == 0
    new, _ = draw(tmp_path / "in" / "a.png", seed=3)
    assert infer(*arguments).returncode == 0
    maps = tmp_path / "o" / "probabilities"
    assert os.listdir(maps) == ["b.png"] == os.listdir(tmp_path / "o" / "panels")
    result = infer(*arguments, "--probability")
    assert result.returncode == 0 and "1 done before" in result.stdout
    grey = cv2.imread(str(maps / "a.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_allclose(grey / 65535, new, atol=0.51 / 65535)


def test_a_name_that_a_spreadsheet_would_run_is_text_and_is_found_again(tmp_path):
    for name in ("=1+1.png", "-a.png", "b.png"):
        draw(tmp_path / name)
    arguments = ("--image==1+1.png", "--image=-a.png", "--image=b.png", "--out", "out")
    assert infer(*arguments, cwd=tmp_path).returncode == 0
    written = table(tmp_path / "out")
    assert [row["file"] for row in written] == ["'=1+1.png", "'-a.png", "b.png"]
    draw(tmp_path / "b.png", seed=1)
    again = infer(*arguments, cwd=tmp_path)
    assert again.returncode == 0 and "2 " in again.stdout
    assert table(tmp_path / "out")[:2] == written[:2]


def test_another_network_leaves_nothing_of_the_first(tmp_path):
    for index in range(3):
        draw(tmp_path / "in" / f"{index}.png", seed=index)
    assert infer("--image", tmp_path / "in", "--out", tmp_path / "o", "--panel").returncode == 0
    arguments = ("--image", tmp_path / "in" / "1.png", "--out", tmp_path / "o", "--overwrite")
    result = infer(*arguments, env=os.environ | {"STUB_DIGEST": "other"})
    assert result.returncode == 0, result.stderr
    files = {str(path.relative_to(tmp_path / "o")) for path in (tmp_path / "o").rglob("*.*")}
    assert files == {"masks/1.png", "overlays/1.png", "regions.csv", "settings.json"}


def test_overwrite_of_one_image_keeps_the_others_of_the_same_network(tmp_path):
    for index in range(3):
        draw(tmp_path / "in" / f"{index}.png", seed=index)
    assert infer("--image", tmp_path / "in", "--out", tmp_path / "o").returncode == 0
    assert (
        infer(
            "--image", tmp_path / "in" / "1.png", "--out", tmp_path / "o", "--overwrite"
        ).returncode
        == 0
    )
    assert sorted(row["mask"] for row in table(tmp_path / "o")) == [
        f"masks/{index}.png" for index in range(3)
    ]


def test_overwrite_loses_nothing_where_nothing_can_be_read(tmp_path):
    draw(tmp_path / "in" / "a.png")
    assert infer("--image", tmp_path / "in", "--out", tmp_path / "o").returncode == 0
    before = contents(tmp_path / "o")
    (tmp_path / "bad.png").write_text("x")
    result = infer("--image", tmp_path / "bad.png", "--out", tmp_path / "o", "--overwrite")
    assert result.returncode == 2
    for name, (content, _) in before.items():
        assert (tmp_path / "o" / name).read_bytes() == content


def test_a_journal_that_was_cut_off_twice_is_read(tmp_path):
    for index in range(6):
        draw(tmp_path / "in" / f"{index}.png", seed=index)
    for count in (2, 4):
        infer_until(tmp_path / "in", count, tmp_path / "o")
        journal = tmp_path / "o" / ".regions.jsonl"
        journal.write_bytes(journal.read_bytes()[:-20])
    result = infer("--image", tmp_path / "in", "--out", tmp_path / "o")
    assert result.returncode == 0, result.stderr
    assert len(table(tmp_path / "o")) == 6


def test_names_that_depend_on_the_other_images_do_not_double_the_table(tmp_path):
    draw(tmp_path / "p" / "s1" / "a.png", seed=1)
    draw(tmp_path / "p" / "s1" / "b.png", seed=2)
    arguments = ("--image", tmp_path / "p" / "**" / "*.png", "--out", tmp_path / "o")
    assert infer(*arguments).returncode == 0
    draw(tmp_path / "p" / "s2" / "a.png", seed=3)
    result = infer(*arguments)
    assert result.returncode == 0 and "2 done before" in result.stdout, result.stderr
    masks = [row["mask"] for row in table(tmp_path / "o")]
    assert masks == ["masks/a.png", "masks/b.png", "masks/s2/a.png"]


def test_the_same_file_by_another_path_is_the_same(tmp_path):
    draw(tmp_path / "in" / "a.png", seed=1)
    assert infer("--image", "in", "--out", "o", cwd=tmp_path).returncode == 0
    new, _ = draw(tmp_path / "in" / "a.png", seed=2)
    result = infer("--image", tmp_path / "in", "--out", "o", "--threshold", 0.5, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    np.testing.assert_array_equal(read_mask(tmp_path / "o" / "masks" / "a.png"), new >= 0.5)
    shutil.copytree(tmp_path / "in", tmp_path / "e1")
    result = infer("--image", "e1", "--out", "o", cwd=tmp_path)
    assert result.returncode == 0 and "1 done before" in result.stdout
    assert [row["file"] for row in table(tmp_path / "o")] == ["e1/a.png"]


def test_an_empty_mask_file_is_not_done(tmp_path):
    draw(tmp_path / "in" / "a.png", seed=1)
    assert infer("--image", tmp_path / "in", "--out", tmp_path / "o").returncode == 0
    (tmp_path / "o" / "masks" / "a.png").write_bytes(b"")
    assert infer("--image", tmp_path / "in", "--out", tmp_path / "o").returncode == 0
    assert read_mask(tmp_path / "o" / "masks" / "a.png").shape == (53, 71)


def test_another_kind_of_file_leaves_the_ones_that_are_there(tmp_path):
    """First --probability, then --panel: the maps are still those of the image."""
    draw(tmp_path / "in" / "a.png", seed=1)
    arguments = ("--image", tmp_path / "in", "--out", tmp_path / "o")
    assert infer(*arguments, "--probability").returncode == 0
    before = contents(tmp_path / "o" / "probabilities")
    for more in ((), ("--overwrite",)):
        assert infer(*arguments, "--panel", *more).returncode == 0
        assert contents(tmp_path / "o" / "probabilities") == before
        assert os.listdir(tmp_path / "o" / "panels") == ["a.png"]


def test_an_image_keeps_the_name_of_its_mask(tmp_path):
    """Changed or with another kind of file, too; and the table has each image once."""
    draw(tmp_path / "p" / "s1" / "a.png", seed=1)
    arguments = ("--image", tmp_path / "p" / "**" / "*.png", "--out", tmp_path / "o")
    arguments += ("--threshold", 0.5)
    assert infer(*arguments).returncode == 0
    drawn = {
        "masks/a.png": draw(tmp_path / "p" / "s1" / "a.png", seed=2)[0],
        "masks/s2/a.png": draw(tmp_path / "p" / "s2" / "a.png", seed=3)[0],
    }
    for more in ((), ("--panel",)):
        assert infer(*arguments, *more).returncode == 0
        assert [row["mask"] for row in table(tmp_path / "o")] == list(drawn)
        for name, probability in drawn.items():
            np.testing.assert_array_equal(read_mask(tmp_path / "o" / name), probability >= 0.5)
    assert infer(*arguments, "--overwrite").returncode == 0
    found = sorted((tmp_path / "o" / "masks").rglob("*.png"))
    now = [path.relative_to(tmp_path / "o").as_posix() for path in found]
    assert now == ["masks/s1/a.png", "masks/s2/a.png"]
    assert [row["mask"] for row in table(tmp_path / "o")] == now


def test_overwrite_takes_the_names_of_other_images(tmp_path):
    draw(tmp_path / "x" / "a.png", seed=1)
    new, _ = draw(tmp_path / "y" / "a.png", seed=2)
    assert infer("--image", tmp_path / "x", "--out", tmp_path / "o").returncode == 0
    arguments = ("--image", tmp_path / "y", "--out", tmp_path / "o", "--overwrite")
    result = infer(*arguments, "--threshold", 0.5)
    assert result.returncode == 0, result.stderr
    np.testing.assert_array_equal(read_mask(tmp_path / "o" / "masks" / "a.png"), new >= 0.5)
    assert [row["file"] for row in table(tmp_path / "o")] == [str(tmp_path / "y" / "a.png")]


@pytest.mark.parametrize("name", ["settings.json", ".regions.jsonl", "regions.csv"])
def test_overwrite_killed_after_damage_goes_on(name, tmp_path):
    """Rows of before, whose network nobody knows, are not taken for done."""
    for index in range(4):
        draw(tmp_path / "in" / f"{index}.png", seed=index)
    arguments = ("--image", tmp_path / "in", "--out", tmp_path / "o")
    assert infer(*arguments, env=os.environ | {"STUB_DIGEST": "other"}).returncode == 0
    (tmp_path / "o" / name).write_text("{\n")
    process = subprocess.Popen(
        [*map(str, (*COMMAND, *arguments, "--overwrite", "--batch-size", 1))],
        env=os.environ | {"STUB_SECONDS": "0.2"},
    )
    journal = tmp_path / "o" / ".regions.jsonl"

    def begun():
        with contextlib.suppress(FileNotFoundError):  # it is replaced once
            return '"mask"' in journal.read_text()

    while process.poll() is None and not begun():
        time.sleep(0.01)
    process.kill()
    process.wait()
    result = infer(*arguments)
    assert result.returncode == 0, result.stderr
    done = int(result.stdout.partition("; ")[2].split()[0])
    assert 1 <= done < 4 and len(table(tmp_path / "o")) == 4


def test_what_is_not_read_in_a_folder_is_counted_and_named(tmp_path):
    folder = tmp_path / "in"
    (folder / "old").mkdir(parents=True)
    cv2.imwrite(str(folder / "a.png"), np.full((9, 9, 3), 200, np.uint8))
    for name in ("c.heic", "notes.txt", ".hidden", "Thumbs.db"):
        (folder / name).touch()
    result = infer("--image", folder, "--out", tmp_path / "o")
    assert result.returncode == 0, result.stderr
    files, folders = result.stderr.splitlines()
    assert f"no images of a known type: 2 in {folder} (c.heic, notes.txt)" in files
    told = f"they are folders: 1 in {folder} (old); the pattern '{folder}/**/*' reads them too"
    assert told in folders
    (folder / "a.png").rename(folder / "old" / "b.png")
    result = infer("--image", f"{folder}/**/*", "--out", tmp_path / "p")
    assert (result.returncode, result.stderr) == (0, "")
    assert [path.name for path in (tmp_path / "p" / "masks").rglob("*.png")] == ["b.png"]

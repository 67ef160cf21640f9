"""`test.py` on maps that a program saved, and on a network, run for real on drawn pictures."""

import csv
import hashlib
import json
import re
import shutil
from datetime import datetime
from pathlib import Path

import cv2
import numpy as np
import pytest
from in_process import run_script
from PIL import Image

from polypseg import __version__
from polypseg.data import decoding
from polypseg.data.images import read_image, write_png
from polypseg.data.masks import read_mask
from polypseg.errors import InputError, Note
from polypseg.metrics import DataSetScores, score
from polypseg.metrics.table import PRANET, THRESHOLD
from polypseg.scoring import evaluation
from polypseg.scoring.sources import network_sources, saved_sources

ROOT = Path(__file__).resolve().parent.parent
BEFORE = ROOT / "tests" / "data" / "before_rooms"


def score_py(*arguments):
    return run_script(ROOT / "test.py", *arguments)


@pytest.fixture()
def folders(tmp_path):
    """Seven masks of several sizes in `bowel/masks`, images beside, and maps of two programs for
    them.
    """
    rng = np.random.default_rng(0)
    for name in ("bowel/masks", "bowel/images", "results/first", "results/second"):
        (tmp_path / name).mkdir(parents=True)
    for index in range(7):
        shape = 40 + 3 * index, 61 - 2 * index
        mask = np.zeros(shape, np.uint8)
        cv2.circle(mask, (int(rng.integers(10, 40)), int(rng.integers(10, 30))), 4 + index, 255, -1)
        cv2.imwrite(str(tmp_path / f"bowel/masks/p{index}.png"), mask)
        cv2.imwrite(
            str(tmp_path / f"bowel/images/p{index}.jpg"),
            rng.integers(0, 255, (*shape, 3), np.uint8),
        )
        for program, spread in (("first", 20), ("second", 70)):
            map_ = np.clip(mask * 0.7 + rng.normal(40, spread, shape), 0, 255).astype(np.uint8)
            cv2.imwrite(str(tmp_path / f"results/{program}/p{index}.png"), map_)
    return tmp_path


def expected(folders, program, **rules):
    total = DataSetScores()
    for index in range(7):
        levels = cv2.imread(str(folders / f"results/{program}/p{index}.png"), cv2.IMREAD_GRAYSCALE)
        total.update_state(score(read_mask(folders / f"bowel/masks/p{index}.png"), levels, **rules))
    return total.result()


def words_of(path):
    """The text of a file, with one space where it has several."""
    return re.sub(" +", " ", path.read_text())


def error_of(result):
    assert result.returncode == 2, result.stdout + result.stderr
    assert result.stderr.count("\n") == 1 and "Traceback" not in result.stderr
    return result.stderr


def test_files_and_table_of_saved_maps(folders):
    out = folders / "out"
    result = score_py(
        "--predictions", folders / "results/first", "--masks", folders / "bowel/masks", "--out", out
    )
    assert result.returncode == 0, result.stderr
    assert not result.stderr
    assert {path.name for path in out.iterdir()} == {
        "metrics.json",
        "per_image.csv",
        "report.html",
        "table.md",
        "table.tex",
    }
    got, want = json.loads((out / "metrics.json").read_text()), expected(folders, "first")
    assert (
        got["n"] == 7
        and list(got["threshold"]) == [metric.key for metric in THRESHOLD if not metric.needs]
        and list(got["pranet"]) == [metric.key for metric in PRANET]
    )
    assert got["threshold"] == pytest.approx(want["threshold"], abs=1e-12)
    assert got["pranet"] == pytest.approx(want["pranet"], abs=1e-12)
    with open(out / "per_image.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["stem"] for row in rows] == [f"p{index}" for index in range(7)]
    for name, column in (("dice", "dice"), ("mean_iou", "pranet_mean_iou")):
        protocol = "pranet" if column.startswith("pranet") else "threshold"
        assert np.mean([float(row[column]) for row in rows]) == pytest.approx(
            got[protocol][name], abs=1e-6
        )
    # The papers' order, with the protocol named.
    lines = result.stdout.splitlines()
    assert "pranet" in lines[0] and "256 thresholds" in lines[0]
    assert re.split(r"  +", lines[1])[3:] == [
        "mDice",
        "mIoU",
        "wFb",
        "Sm",
        "mean E",
        "max E",
        "MAE",
    ]
    paper = [
        want["pranet"][name]
        for name in (
            "mean_dice",
            "mean_iou",
            "wfb",
            "s_measure",
            "mean_e_measure",
            "max_e_measure",
            "mae",
        )
    ]
    assert lines[2].split() == ["first", "bowel", "7", *(f"{value:.4f}" for value in paper)]
    shown = [metric.key for metric in PRANET if metric.column]
    intervals = ["[{:.3f}, {:.3f}]".format(*got["intervals"]["pranet"][key]) for key in shown]
    pairs = [(f"{value:.3f}", interval) for value, interval in zip(paper, intervals)]
    line = " | ".join(" ".join(pair) for pair in pairs)
    assert f"| first | bowel | 7 | {line} |" in words_of(out / "table.md")
    line = " & ".join(rf"{value} {{\scriptsize {interval}}}" for value, interval in pairs)
    assert rf"first & bowel & 7 & {line} \\" in words_of(out / "table.tex")


def test_several_programs_in_one_table(folders):
    out = folders / "out"
    result = score_py(
        "--predictions",
        folders / "results/first",
        folders / "results/second",
        "--masks",
        folders / "bowel/masks",
        "--threshold",
        0.3,
        "--names",
        "PraNet_v2",
        "U-Net",
        "--out",
        out,
    )
    assert result.returncode == 0, result.stderr
    got = json.loads((out / "metrics.json").read_text())["results"]
    assert [(row["model"], row["data"], row["n"]) for row in got] == [
        ("PraNet_v2", "bowel", 7),
        ("U-Net", "bowel", 7),
    ]
    for row, program in zip(got, ("first", "second")):
        assert row["threshold"] == pytest.approx(
            expected(folders, program, threshold=0.3)["threshold"], abs=1e-12
        )
        assert row["settings"]["threshold"] == 0.3
    with open(out / "per_image.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["model"], row["stem"]) for row in rows[6:8]] == [
        ("PraNet_v2", "p6"),
        ("U-Net", "p0"),
    ]
    dice = [row["pranet"]["mean_dice"] for row in got]
    better = f"{max(dice):.3f}"
    low, high = got[0]["intervals"]["pranet"]["mean_dice"]
    between = f"[{low:.3f}, {high:.3f}]"
    assert dice[0] > dice[1]
    assert rf"| PraNet\_v2 | bowel | 7 | **{better}** {between} |" in words_of(out / "table.md")
    assert rf"PraNet\_v2 & bowel & 7 & \textbf{{{better}}} {{\scriptsize {between}}}" in words_of(
        out / "table.tex"
    )


def test_every_missing_map_is_named_and_nothing_is_written(folders):
    for index in (1, 4):
        (folders / f"results/first/p{index}.png").unlink()
    result = score_py(
        "--predictions",
        folders / "results/first",
        "--masks",
        folders / "bowel/masks",
        "--out",
        folders / "out",
    )
    assert error_of(result).rstrip().endswith("missing: p1, p4")
    assert not (folders / "out").exists()
    (folders / "four.txt").write_text("p0\np2\n\np3\np5\n")
    result = score_py(
        "--predictions",
        folders / "results/first",
        "--masks",
        folders / "bowel/masks",
        "--stems",
        folders / "four.txt",
    )
    assert result.returncode == 0 and " 4  " in result.stdout
    (folders / "four.txt").write_text("p0\np9\n")
    result = score_py(
        "--predictions",
        folders / "results/first",
        "--masks",
        folders / "bowel/masks",
        "--stems",
        folders / "four.txt",
    )
    assert "--stems" in error_of(result) and "p9" in result.stderr


def test_a_map_of_another_size_needs_resize(folders):
    path = folders / "results/first/p3.png"
    full = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    cv2.imwrite(str(path), cv2.resize(full, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA))
    arguments = ("--predictions", folders / "results/first", "--masks", folders / "bowel/masks")
    error = error_of(score_py(*arguments, "--out", folders / "out"))
    assert "p3.png" in error and "55 x 49" in error and "--resize" in error
    assert not (folders / "out").exists()
    result = score_py(*arguments, "--resize", "--out", folders / "out")
    assert result.returncode == 0, result.stderr
    got = json.loads((folders / "out/metrics.json").read_text())
    assert got["threshold"]["dice"] == pytest.approx(expected_dice(folders), abs=0.05)


def expected_dice(folders):
    scores = []
    for index in range(7):
        mask = read_mask(folders / f"bowel/masks/p{index}.png") > 0
        found = cv2.imread(str(folders / f"results/first/p{index}.png"), cv2.IMREAD_GRAYSCALE)
        found = cv2.resize(found, mask.shape[::-1], interpolation=cv2.INTER_LINEAR) >= 128
        scores.append(2 * (mask & found).sum() / (mask.sum() + found.sum()))
    return np.mean(scores)


@pytest.mark.parametrize(
    "spoil, words",
    [
        (
            lambda map_: np.where(np.arange(map_.shape[1]) == 3, np.nan, map_ / 255),
            "p2.npy.*nan in 46 pixel",
        ),
        (lambda map_: map_ * 1.0, r"p2.npy.*\[0, 1\].*255"),
        (lambda map_: map_.astype(int), "p2.npy.*floats, uint8 or bool.*int64"),
        (lambda map_: np.stack([map_] * 3), r"p2.npy.*\(H, W\).*\(3, 46"),
    ],
)
def test_a_bad_array_is_named(folders, spoil, words):
    map_ = cv2.imread(str(folders / "results/first/p2.png"), cv2.IMREAD_GRAYSCALE)
    (folders / "results/first/p2.png").unlink()
    np.save(folders / "results/first/p2.npy", spoil(map_))
    result = score_py(
        "--predictions", folders / "results/first", "--masks", folders / "bowel/masks"
    )
    assert re.search(words, error_of(result)), result.stderr


def test_float_maps_as_arrays_and_tiffs(folders):
    """The same maps, some as `.npy` of shape (1, H, W), one as a float TIFF: the same scores."""
    import tifffile

    want = expected(folders, "first")
    for index in range(4):
        path = folders / f"results/first/p{index}.png"
        map_ = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        path.unlink()
        if index:
            np.save(path.with_suffix(".npy"), (map_ / 255)[None])
        else:
            tifffile.imwrite(path.with_suffix(".tiff"), (map_ / np.float32(255)))
    result = score_py(
        "--predictions",
        folders / "results/first",
        "--masks",
        folders / "bowel/masks",
        "--out",
        folders / "out",
    )
    assert result.returncode == 0, result.stderr
    got = json.loads((folders / "out/metrics.json").read_text())
    assert got["pranet"] == pytest.approx(want["pranet"], abs=1e-12)
    assert got["threshold"] == pytest.approx(want["threshold"], abs=1e-7)


@pytest.mark.parametrize("rule", ["skip", "one", "zero"])
def test_empty_masks_are_counted_and_the_rule_is_told(folders, rule):
    blank = np.zeros_like(cv2.imread(str(folders / "bowel/masks/p0.png"), cv2.IMREAD_GRAYSCALE))
    cv2.imwrite(str(folders / "bowel/masks/p0.png"), blank)
    result = score_py(
        "--predictions",
        folders / "results/first",
        "--masks",
        folders / "bowel/masks",
        "--empty",
        rule,
        "--out",
        folders / "out",
    )
    assert result.returncode == 0, result.stderr
    assert "1 of 7 masks are empty" in result.stdout and f"--empty {rule}" in result.stdout
    text = (folders / "out/metrics.json").read_text()
    assert "NaN" not in text and json.loads(text)["settings"]["empty_masks"] == 1
    assert json.loads(text)["threshold"] == pytest.approx(
        expected(folders, "first", empty=rule)["threshold"], abs=1e-12
    )
    first = (folders / "out/per_image.csv").read_text().splitlines()[1].split(",")
    assert first[:2] == ["p0", {"skip": "", "one": "0.000000", "zero": "0.000000"}[rule]]


def test_labels_saved_as_0_and_1_are_warned_about(folders):
    for path in (folders / "results/first").iterdir():
        cv2.imwrite(str(path), (cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) > 127).astype(np.uint8))
    result = score_py(
        "--predictions", folders / "results/first", "--masks", folders / "bowel/masks"
    )
    assert result.returncode == 0
    assert "0 and 255" in result.stderr and result.stderr.count("\n") == 1


def test_all_cores_give_what_one_gives_in_the_same_order(folders, monkeypatch):
    (source,) = saved_sources([folders / "results/second"], [folders / "bowel/masks"])
    alone = list(evaluation.score_items(source.items, evaluation.Rules(), workers=1))
    monkeypatch.setattr(evaluation, "_SECONDS_ALONE", 0.0)  # the pool starts after the first image
    shared = list(evaluation.score_items(source.items, evaluation.Rules(), workers=2))
    assert [result.stem for result in shared] == [f"p{index}" for index in range(7)]
    for one, other in zip(alone, shared):
        assert (
            one.scores.pranet == other.scores.pranet
            and one.scores.threshold == other.scores.threshold
        )
    (folders / "results/second/p5.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    with pytest.raises(ValueError, match="p5.png"):
        list(evaluation.score_items(source.items, evaluation.Rules(), workers=2))
    Image.fromarray(np.zeros((900, 1000), np.uint8)).save(folders / "results/second/p5.png")
    decoding.limit_pixels(0.5)
    try:
        with pytest.raises(ValueError, match="p5.png: expected at most 0.5 megapixels"):
            list(evaluation.score_items(source.items, evaluation.Rules(), workers=2))
    finally:
        decoding.limit_pixels(200)


class Halves:
    """Stands in for a network: the brightness of each pixel, a little lower on the left."""

    threshold = 0.5

    def __call__(self, images):
        return [
            (image.mean(axis=2) / 255 * np.linspace(0.8, 1, image.shape[1])).astype(np.float32)
            for image in images
        ]


def test_flips_are_undone_before_the_maps_are_averaged(folders):
    from polypseg.data.images import read_image
    from polypseg.inference.predict import predict

    items = saved_sources([folders / "results/first"], [folders / "bowel/masks"])[0].items
    for item, map_ in zip(items, predict(Halves(), items, tta=True, batch_size=3)):
        brightness = read_image(item.image).mean(axis=2) / 255
        ramp = np.linspace(0.8, 1, brightness.shape[1])
        np.testing.assert_allclose(map_, brightness * (ramp + ramp[::-1]) / 2, atol=1e-6)
        assert map_.dtype == np.float32


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """An untrained network, and pictures to score it on."""
    import keras

    from polypseg.attention_unet import AttentionUNet
    from polypseg.data.synthetic import write_dataset

    folder = tmp_path_factory.mktemp("network")
    write_dataset(folder / "bowel", 5, size=(50, 66), seed=3)
    keras.utils.set_random_seed(1)
    model = AttentionUNet(filters=4, input_size=32)
    model(np.zeros((1, 32, 32, 3), np.float32))
    model.save(folder / "net.keras")
    return folder


def test_saved_predictions_of_a_network_score_the_same(network, tmp_path):
    first = score_py(
        "--model",
        network / "net.keras",
        "--data-path",
        network / "bowel",
        "--subset",
        "all",
        "--tta",
        "--save-predictions",
        "--out",
        tmp_path / "a",
    )
    assert first.returncode == 0, first.stderr
    second = score_py(
        "--predictions",
        tmp_path / "a/predictions",
        "--masks",
        network / "bowel/masks",
        "--out",
        tmp_path / "b",
    )
    assert second.returncode == 0, second.stderr
    one, other = (json.loads((tmp_path / name / "metrics.json").read_text()) for name in "ab")
    assert one["n"] == 5 and one["pranet"] == other["pranet"]
    for name in ("dice", "iou", "precision", "recall", "e_measure"):
        assert one["threshold"][name] == other["threshold"][name]
    assert one["threshold"]["mae"] != other["threshold"]["mae"]
    assert one["threshold"]["mae"] == pytest.approx(other["threshold"]["mae"], abs=0.5 / 255)


@pytest.mark.filterwarnings("ignore::polypseg.errors.Note")
def test_data_sets_of_one_name_and_a_run_with_a_dot_in_its(network, tmp_path):
    run = tmp_path / "lr0.001"
    for folder in (run / "split", tmp_path / "a", tmp_path / "b"):
        folder.mkdir(parents=True)
    (run / "config.json").write_text(json.dumps({"data_path": str(network / "bowel")}))
    (run / "split" / "test.txt").write_text("synthetic_0001\n")
    (source,) = network_sources([str(run)], None, "test")
    assert source.model == "lr0.001" and [item.stem for item in source.items] == ["synthetic_0001"]
    for name in "ab":
        shutil.copytree(network / "bowel", tmp_path / name / "bowel")
    both = network_sources([str(run)], [str(tmp_path / name / "bowel") for name in "ab"], "all")
    assert len({(source.model, source.data) for source in both}) == 2
    for name, source in zip("ab", both):
        assert f"{name}/bowel" in source.data


def test_other_images_of_the_runs_names_are_not_its_split(tmp_path):
    """Two data sets that number their images alike: the split is of one of them."""
    ours = BEFORE / "data"
    theirs = tmp_path / "theirs"
    shutil.copytree(ours, theirs)
    stem = (BEFORE / "finished" / "split" / "test.txt").read_text().split()[0]
    with pytest.warns(Note):
        assert len(network_sources([BEFORE / "finished"], [theirs], "test")[0].items) == 1
    image = read_image(theirs / "images" / f"{stem}.png")
    write_png(theirs / "images" / f"{stem}.png", 255 - image)
    with (
        pytest.warns(Note),
        pytest.raises(InputError, match="got 1 with the same name but another content"),
    ):
        network_sources([BEFORE / "finished"], [theirs], "test")
    with pytest.warns(Note):
        assert len(network_sources([BEFORE / "finished"], [theirs], "all")[0].items) == 16
        assert len(network_sources([BEFORE / "finished"], [theirs], "val")[0].items) == 1


@pytest.mark.filterwarnings("ignore::polypseg.errors.Note")
def test_a_split_that_is_empty_or_not_complete_in_the_data(network, tmp_path):
    run = tmp_path / "run"
    (run / "split").mkdir(parents=True)
    (run / "config.json").write_text(json.dumps({"data_path": str(network / "bowel")}))
    (run / "split" / "val.txt").write_text("")
    (run / "split" / "test.txt").write_text("synthetic_0001\nelsewhere\n")
    with pytest.raises(InputError, match="subset: expected images in the run's val split, got an"):
        network_sources([run], None, "val")
    words = "all 2 images of the run's test split, got 1 in .*bowel; missing: elsewhere$"
    with pytest.raises(InputError, match=words):
        network_sources([run], None, "test")


def test_what_has_no_partner_is_told(folders, tmp_path):
    bowel = shutil.copytree(folders / "bowel", tmp_path / "copy")
    (bowel / "masks" / "p3.png").unlink()
    with pytest.warns(Note, match=r"not scored: 1 file in .*first without a mask \(p3.png\)"):
        (source,) = saved_sources([folders / "results/first"], [bowel / "masks"])
    assert len(source.items) == 6
    (bowel / "images" / "p5.jpg").unlink()
    with pytest.warns(
        Note, match=r"not scored: 2 files in .*copy without a partner \(p3.jpg, p5.png"
    ):
        (source,) = network_sources([BEFORE / "pranet.keras"], [bowel], "all")
    assert len(source.items) == 5


def test_json_table_and_report_say_what_was_scored(network, tmp_path):
    out, model = tmp_path / "o", network / "net.keras"
    arguments = ["--model", model, "--data-path", network / "bowel", "--subset", "all"]
    before = datetime.now().astimezone().replace(microsecond=0)
    result = score_py(*arguments, "--tta", "--threshold", 0.25, "--out", out)
    assert result.returncode == 0, result.stderr
    settings = json.loads((out / "metrics.json").read_text())["settings"]
    masks = sorted((network / "bowel" / "masks").iterdir())

    def blake(data):
        return hashlib.blake2b(data, digest_size=8).hexdigest()

    of_masks = blake("".join(blake(path.read_bytes()) for path in masks).encode())
    date = settings.pop("date")
    assert before <= datetime.fromisoformat(date) <= datetime.now().astimezone()
    assert settings == {
        "model": str(model),
        "digest": blake(blake(model.read_bytes()).encode()),
        "engine": "Keras",
        "data": str(network / "bowel" / "masks"),
        "masks_digest": of_masks,
        "subset": "all",
        "input_size": 32,
        "window": None,
        "tta": True,
        "threshold": 0.25,
        "empty": "one",
        "resize": False,
        "label": None,
        "ignore": None,
        "mask_color": None,
        "empty_masks": 0,
        "lesion_iou": 0.1,
        "lesion_pixels": 10,
        "intervals": "95 % bootstrap, 10000 resamples by image",
        "protocols": ["threshold", "pranet"],
        "polypseg": __version__,
    }
    words = {
        "model": str(model),
        "digest of the model": settings["digest"],
        "data": settings["data"],
        "digest of the masks": of_masks,
        "subset": "all",
        "input size": "32",
        "engine": "Keras",
        "window": "none",
        "averaged over flips": "yes",
        "threshold": "0.25",
        "rule for empty masks": "one",
        "maps resized to their masks": "no",
        "label in the masks": "none",
        "ignored in the masks": "none",
        "colour in the masks": "none",
        "empty masks": "0",
        "a lesion is found above an IoU of": "0.1",
        "smallest size of a lesion in pixels": "10",
        "intervals": settings["intervals"],
        "protocols": "threshold, pranet",
        "polypseg version": __version__,
        "date": date,
    }
    table = (out / "table.md").read_text().split("What was scored:")[1]
    cells = [line.split("|")[1:3] for line in table.replace("\\", "").split("\n") if "|" in line]
    found = {label.strip(): value.strip() for label, value in cells[2:]}
    assert found == words
    page = (out / "report.html").read_text()
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    scoring = dict(dict(json.loads(data[1])[0]["config"])["Scoring"])
    command = scoring.pop("command")
    assert scoring == words
    assert command.startswith("test.py --model ") and "--tta --threshold 0.25" in command

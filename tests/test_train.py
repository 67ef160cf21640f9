"""`train.py` and `test.py`, run for real on drawn pictures."""

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest
import tiny
from in_process import run_script
from opened import images_among, images_in, opened

from polypseg.commands import training_run
from polypseg.commands.train import parse as parse_train
from polypseg.data.synthetic import write_dataset
from polypseg.errors import InputError
from polypseg.training.datasets import load_data
from polypseg.training.progress import Progress

ROOT = Path(__file__).resolve().parent.parent


def script(name, *arguments, **environment):
    return subprocess.run(
        [sys.executable, ROOT / name, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": ""} | environment,
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_dataset(folder, 20, size=(60, 75), seed=1)
    return folder


SMALL = (
    "--model",
    "attention_unet",
    "--input-size",
    32,
    "--batch-size",
    4,
    "--epochs",
    2,
    "--lr",
    "1e-3",
    "--no-export",
)


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    runs = tmp_path_factory.mktemp("runs")
    result = script("train.py", "--data-path", data, "--trained-model-path", runs, *SMALL)
    assert result.returncode == 0, result.stderr[-2000:]
    return runs / "attention_unet", result


def history(run):
    with open(run / "history.csv") as file:
        return list(csv.DictReader(file))


def test_run_folder_is_complete(trained, data):
    run, result = trained
    files = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}
    assert files >= {
        "config.json",
        "environment.json",
        "history.csv",
        "curves.png",
        "best.keras",
        "last.keras",
        "split/train.txt",
        "split/val.txt",
        "split/test.txt",
        "samples/validation.png",
    }
    assert not [name for name in files if "part" in name or name.endswith(".tmp")]
    split = {
        part: (run / "split" / f"{part}.txt").read_text().split()
        for part in ("train", "val", "test")
    }
    assert [len(split[part]) for part in ("train", "val", "test")] == [16, 2, 2]
    assert len(set().union(*split.values())) == 20
    assert json.loads((run / "config.json").read_text())["data_path"] == str(data)
    assert json.loads((run / "environment.json").read_text())["packages"]["keras"]
    sheet = cv2.imread(str(run / "samples" / "validation.png"))
    assert sheet.std() > 20


def test_last_line_names_the_best_model_and_its_score(trained):
    run, result = trained
    best = max(history(run), key=lambda row: float(row["val_dice"]))
    last = result.stdout.strip().splitlines()[-1]
    assert f"{run}/best.keras" in last
    assert float(re.search(r"Dice ([\d.]+)", last)[1]) == pytest.approx(
        float(best["val_dice"]), abs=1e-4
    )
    assert not result.stderr.strip(), "nothing but the results is printed"


@pytest.mark.parametrize("folds", [(), ("--folds", "3")])
def test_each_file_is_opened_once_before_the_first_step(data, tmp_path, monkeypatch, folds):
    class FirstStep(Exception):
        pass

    class Stop(Progress):
        def step_ends(self, loss, dice):
            raise FirstStep

    tiny.install(monkeypatch.setitem)
    monkeypatch.setattr(training_run, "TrainingProgress", Stop)
    arguments = ["--data-path", data, "--trained-model-path", tmp_path, *SMALL, *folds]
    config = parse_train([str(argument) for argument in arguments])
    with opened() as files, pytest.raises(FirstStep):
        training_run.verify_and_train(config)
    assert images_among(files) == dict.fromkeys(images_in(data), 1)


def test_history_is_what_the_saved_model_scores(trained, data):
    """Validation Dice of history.csv, from best.keras and the files, by other means."""
    from polypseg.data.images import read_image, resize_image, resize_mask
    from polypseg.data.masks import read_mask
    from polypseg.data.pairs import find_pairs
    from polypseg.inference.formats.keras import load_model

    run, _ = trained
    model = load_model(run / "best.keras")
    stems = (run / "split" / "val.txt").read_text().split()
    dices = []
    for pair in find_pairs(data)[0]:
        if pair.stem in stems:
            image = resize_image(read_image(pair.image), (32, 32))[None].astype("float32")
            truth = resize_mask(read_mask(pair.mask), (32, 32)) > 0
            found = np.asarray(model(image))[0, :, :, -1] >= 0
            dices.append(2 * (truth & found).sum() / (truth.sum() + found.sum()))
    best = max(float(row["val_dice"]) for row in history(run))
    assert best == pytest.approx(np.mean(dices), abs=1e-4)


def test_same_seed_same_split_order_and_first_losses(data, tmp_path, monkeypatch):
    """In this process and in a new one."""
    tiny.install(monkeypatch.setitem)
    runs = tmp_path / "one", tmp_path / "other"
    first = ("--data-path", data, "--trained-model-path", runs[0], *SMALL, "--seed", 7)
    assert run_script(ROOT / "train.py", *first).returncode == 0
    run, again = (folder / "attention_unet" for folder in runs)
    second = ("--config", run / "config.json", "--trained-model-path", runs[1])
    assert script("tests/tiny.py", *second).returncode == 0
    for part in ("train", "val", "test"):
        assert (again / "split" / f"{part}.txt").read_text() == (
            run / "split" / f"{part}.txt"
        ).read_text()
    assert float(history(again)[0]["loss"]) == pytest.approx(
        float(history(run)[0]["loss"]), rel=1e-4
    )


def test_scores_of_a_run(trained, data, tmp_path):
    from polypseg.data.images import read_image
    from polypseg.data.masks import read_mask
    from polypseg.data.pairs import find_pairs
    from polypseg.inference.predictor import Predictor

    run, _ = trained
    result = run_script(ROOT / "test.py", "--model", run.parent, "--out", tmp_path / "scores")
    assert result.returncode == 0, result.stderr
    scores = json.loads((tmp_path / "scores" / "metrics.json").read_text())
    assert scores["n"] == 2
    predictor = Predictor.load(run)
    stems = (run / "split" / "test.txt").read_text().split()
    dices = []
    for pair in find_pairs(data)[0]:
        if pair.stem in stems:
            image, truth = read_image(pair.image), read_mask(pair.mask) > 0
            probability = predictor([image])[0]
            assert probability.shape == (60, 75) and probability.dtype == np.float32
            found = probability >= 0.5
            dices.append(2 * (truth & found).sum() / (truth.sum() + found.sum()))
    assert scores["threshold"]["dice"] == pytest.approx(np.mean(dices), abs=1e-6)
    arguments = ("--model", run / "best.keras", "--data-path", data, "--subset", "all")
    assert run_script(ROOT / "test.py", *arguments).returncode == 0


def test_given_lists_that_divide_a_patient_are_refused(data, tmp_path):
    stems = [f"synthetic_{index:04d}" for index in range(20)]
    for name, part in (("train", stems[:16]), ("val", stems[16:18]), ("test", stems[18:])):
        (tmp_path / f"{name}.txt").write_text("\n".join(part) + "\n")
    arguments = ["--data-path", str(data), "--split-dir", str(tmp_path), "--group-by"]
    assert len(load_data(parse_train([*arguments, r"\d{4}$"])).subsets["train"]) == 16
    with pytest.raises(
        InputError,
        match="group_by: expected each group in one subset of `split_dir`, got 1 in several "
        "subsets, such as 001",
    ):
        load_data(parse_train([*arguments, r"\d{3}(?=\d$)"]))


def broken_jpeg(folder):
    path = next((folder / "images").iterdir())
    path.write_bytes(path.read_bytes()[:-200])
    return path.name


def other_size(folder):
    path = next((folder / "masks").iterdir())
    cv2.imwrite(str(path), cv2.imread(str(path))[:-3])
    return path.name


@pytest.mark.parametrize("spoil", [broken_jpeg, other_size])
def test_bad_files_are_named_and_nothing_is_written(spoil, tmp_path):
    write_dataset(tmp_path / "data", 20, size=(40, 40), seed=2)
    name = spoil(tmp_path / "data")
    arguments = ("--data-path", tmp_path / "data", "--trained-model-path", tmp_path / "runs")
    result = run_script(ROOT / "train.py", *arguments, *SMALL)
    assert result.returncode == 2
    assert name in result.stdout
    assert (
        result.stderr.startswith("train.py: error: --data-path") and result.stderr.count("\n") == 1
    )
    assert not (tmp_path / "runs").exists()


def test_non_finite_loss_stops_the_run_and_keeps_the_last_good_model(data, tmp_path, monkeypatch):
    from polypseg.commands.train import parse as parse_train
    from polypseg.inference.formats.keras import load_model
    from polypseg.training import build
    from polypseg.training import train as training
    from polypseg.training.callbacks import NonFiniteLoss
    from polypseg.training.datasets import load_data

    # A sane rate for the first epoch (4 steps), then one that no network survives.
    explodes = keras.optimizers.schedules.PiecewiseConstantDecay([4], [1e-3, 1e38])
    monkeypatch.setattr(build, "learning_rate", lambda config, steps: explodes)
    tiny.install(monkeypatch.setitem)
    config = parse_train(
        ["--data-path", str(data), "--trained-model-path", str(tmp_path), *map(str, SMALL)]
    )
    with pytest.raises(NonFiniteLoss, match=r"the loss became (nan|inf) in epoch 2, step [23]"):
        training.train(config, load_data(config))
    run = tmp_path / "attention_unet"
    assert len(history(run)) == 1
    for name in ("best.keras", "last.keras"):
        assert all(np.isfinite(weight).all() for weight in load_model(run / name).get_weights())

"""Cross-validation: the parts, and a run of it that is interrupted."""

import csv
import json
import logging
import os
import signal

import numpy as np
import pytest
import tensorflow as tf
import tiny
from opened import images_among, images_in, opened

from polypseg.commands import training_run
from polypseg.commands.train import parse as parse_train
from polypseg.console.run import run
from polypseg.console.signals import Signals
from polypseg.data.splits import read_folds
from polypseg.data.synthetic import write_dataset
from polypseg.errors import InputError
from polypseg.experiment.run_folder import find_run
from polypseg.inference.predictor import Predictor
from polypseg.training import datasets, several
from polypseg.training import folds as folds_module
from polypseg.training import train as training
from polypseg.training.datasets import load_folds
from polypseg.training.progress import Progress


def test_no_file_is_read_again_for_a_fold(tmp_path, monkeypatch):
    """But to be scored, at its own size."""
    tiny.install(monkeypatch.setitem)
    write_dataset(tmp_path / "data", 12, size=(40, 44), seed=2)
    arguments = ["--data-path", str(tmp_path / "data"), "--folds", "3", "--model", "attention_unet"]
    arguments += ["--input-size", "32", "--batch-size", "4", "--epochs", "1"]
    config = parse_train([*arguments, "--trained-model-path", str(tmp_path / "runs")])
    tested = []

    def no_test(folder, pairs, label):
        tested.extend(pairs)
        return [{"stem": pair.stem, "dice": 0.0, "iou": 0.0} for pair in pairs]

    monkeypatch.setattr(several, "score_test", no_test)
    monkeypatch.setattr(training, "write_samples", lambda *arguments: None)
    with opened() as files:
        folds_module.cross_validate(config, load_folds(config))
    assert images_among(files) == dict.fromkeys(images_in(tmp_path / "data"), 1)
    assert len(tested) == 12


def test_tensorflow_does_not_warn_that_each_fold_traces_its_functions(monkeypatch, request):
    logger, messages = logging.getLogger("tensorflow"), []
    handler = logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())
    logger.addHandler(handler)
    request.addfinalizer(lambda: logger.removeHandler(handler))
    monkeypatch.setattr(logger, "filters", [])

    def trace_again_and_again(function):
        for number in range(9):
            tf.function(function)(number)
        logger.warning("another warning")

    def cross_validate(*arguments):
        trace_again_and_again(lambda number: tf.constant(number))
        scores = {name: {"mean": 0.0, "std": 0.0} for name in ("dice", "iou")}
        return "folder", {"folds": 3, "validation": scores, "test": scores}

    # TensorFlow counts the warnings of each function of the source.
    trace_again_and_again(lambda number: tf.constant(number + 1))
    assert any("triggered tf.function retracing" in message for message in messages[:-1])
    messages.clear()
    monkeypatch.setattr(training_run, "load_and_report", lambda config: [])
    monkeypatch.setattr(training_run, "cross_validate", cross_validate)
    training_run.verify_and_train(parse_train(["--data-path", "d", "--folds", "3"]))
    assert messages == ["another warning"]


@pytest.mark.parametrize(
    "fold, epoch, words",
    [
        (1, 1, "no epoch of fold 1 is finished"),
        (2, 2, "fold 1 is done, epoch 1 of fold 2 is saved"),
    ],
)
def test_a_signal_in_a_fold_says_which_folds_are_done(
    fold, epoch, words, tmp_path, monkeypatch, capsys
):
    """SIGTERM after the first step of an epoch."""
    tiny.install(monkeypatch.setitem)
    monkeypatch.setattr(training, "write_samples", lambda *arguments: None)
    monkeypatch.setattr(several, "score_test", lambda *arguments: [])
    write_dataset(tmp_path / "data", 12, size=(40, 44), seed=2)
    arguments = ["--data-path", str(tmp_path / "data"), "--folds", "3", "--model", "attention_unet"]
    arguments += ["--input-size", "32", "--batch-size", "4", "--epochs", "2"]
    config = parse_train([*arguments, "--trained-model-path", str(tmp_path / "runs")])

    class Terminate(Progress):
        def fold_begins(self, number, folds, subsets):
            self.fold = number

        def epoch_begins(self, number, epochs, steps):
            self.epoch = number

        def step_ends(self, loss, dice):
            if (self.fold, self.epoch) == (fold, epoch):
                self.fold = None  # once: a second signal ends the process
                os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(SystemExit) as end:
        run(lambda: folds_module.cross_validate(config, load_folds(config), Terminate(), Signals()))
    assert end.value.code == 128 + signal.SIGTERM
    last = capsys.readouterr().err.splitlines()[-1]
    folder = tmp_path / "runs" / "attention_unet_folds"
    assert last.endswith(f"stopped; {words}; resume with: python train.py --resume {folder}")


@pytest.mark.parametrize(
    "fold, words",
    [
        (1, "epoch 2 of fold 1"),
        (2, "fold 1 is done, epoch 2 of fold 2"),
        (3, "folds 1 and 2 are done, epoch 2 of fold 3"),
        (5, "folds 1 to 4 are done, epoch 2 of fold 5"),
    ],
)
def test_the_words_on_the_folds_that_are_done(fold, words, tmp_path):
    for folder in (tmp_path, *(tmp_path / f"fold-{number}" for number in range(1, 6))):
        folder.mkdir(exist_ok=True)
        (folder / "config.json").write_text("{}")
    assert training._how_to_resume(tmp_path / f"fold-{fold}", epochs=2) == (
        f"{words} is saved; resume with: python train.py --resume {tmp_path}"
    )


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_a_cross_validation_goes_on_with_the_fold_it_was_stopped_in(tmp_path, monkeypatch):
    tiny.install(monkeypatch.setitem)
    write_dataset(tmp_path / "data", 18, size=(40, 44), seed=1)
    arguments = [
        "--data-path",
        tmp_path / "data",
        "--folds",
        3,
        "--model",
        "attention_unet",
        "--input-size",
        32,
        "--batch-size",
        4,
        "--epochs",
        2,
        "--trained-model-path",
        tmp_path / "runs",
        "--lr",
        "0.01",
    ]
    folder = tmp_path / "runs" / "attention_unet_folds"

    def validate(*arguments):
        config = parse_train([str(argument) for argument in arguments])
        return folds_module.cross_validate(config, load_folds(config))

    begun = []

    def stop_in_fold_2(model, *args):
        begun.append(model)
        if len(begun) == 2:
            raise KeyboardInterrupt
        return own(model, *args)

    own = training._fit
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(training, "_fit", stop_in_fold_2)
        validate(*arguments)
    first = (folder / "fold-1" / "last.keras").stat().st_mtime_ns
    assert not (folder / "folds.json").exists()
    with pytest.raises(
        InputError, match="model: expected one run, got the cross-validation .*/fold-1"
    ):
        find_run(tmp_path / "runs")

    # What is drawn now is not drawn again.
    stored = read_folds(folder / "folds.csv")
    monkeypatch.setattr(datasets, "fold_splits", None)
    monkeypatch.setattr(datasets, "earlier_fold_splits", None)
    left = [
        fold.arrays["train"].length for fold in load_folds(parse_train(["--resume", str(folder)]))
    ]
    assert left[0] == 0 and min(left[1:]) > 0, "nothing is decoded for the fold that is done"
    found, summary = validate("--resume", folder)
    assert found == folder and (folder / "fold-1" / "last.keras").stat().st_mtime_ns == first
    for number, split in enumerate(stored, 1):
        of_fold = folder / f"fold-{number}" / "split"
        assert split == {
            name: (of_fold / f"{name}.txt").read_text().split() for name in ("train", "val", "test")
        }
    rows = rows_of(folder / "out_of_fold.csv")
    assert sorted(row["stem"] for row in rows) == sorted(
        path.stem for path in (tmp_path / "data" / "images").iterdir()
    )
    means, best = [], []
    for number in (1, 2, 3):
        part = [row for row in rows if row["fold"] == str(number)]
        assert (
            sorted(row["stem"] for row in part)
            == (folder / f"fold-{number}" / "split" / "test.txt").read_text().split()
        )
        means.append(np.mean([float(row["dice"]) for row in part]))
        best.append(
            max(
                float(row["val_dice"]) for row in rows_of(folder / f"fold-{number}" / "history.csv")
            )
        )
    assert summary == json.loads((folder / "folds.json").read_text())
    for subset, values in (("test", means), ("validation", best)):
        assert summary[subset]["dice"]["mean"] == pytest.approx(sum(values) / 3, abs=1e-6)
        deviation = (sum((value - sum(values) / 3) ** 2 for value in values) / 2) ** 0.5
        assert summary[subset]["dice"]["std"] == pytest.approx(deviation, abs=1e-6)

    # One row by other means.
    import cv2

    row = next(row for row in rows if row["fold"] == "2")
    image = cv2.imread(str(tmp_path / "data" / "images" / f"{row['stem']}.png"))[..., ::-1]
    truth = cv2.imread(str(tmp_path / "data" / "masks" / f"{row['stem']}.png"), 0) > 127
    answer = Predictor.load(folder / "fold-2")([np.ascontiguousarray(image)])[0] >= 0.5
    assert float(row["dice"]) == pytest.approx(
        2 * (truth & answer).sum() / (truth.sum() + answer.sum()), abs=1e-6
    )

    # All is done: files are compared with those that the run began with, and not decoded.
    assert [fold.arrays for fold in load_folds(parse_train(["--resume", str(folder)]))] == [{}] * 3

    # A fold's own config repeats it.
    config = parse_train(["--config", str(folder / "fold-2" / "config.json")])
    assert config.folds is None and config.split_dir == str(folder / "fold-2" / "split")

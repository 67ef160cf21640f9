"""Runs with several seeds: what each of them is, their summary, and a run that is interrupted."""

import csv
import json
import os
import shutil
import signal
import statistics
import sys

import keras
import numpy as np
import pytest
import tiny
from opened import images_among, images_in, opened

from polypseg.commands import train
from polypseg.commands.train import parse as parse_train
from polypseg.console.run import run
from polypseg.console.signals import Signals
from polypseg.data.synthetic import write_dataset
from polypseg.errors import InputError
from polypseg.experiment.checkpoint import describe_progress
from polypseg.experiment.run_folder import find_run
from polypseg.inference.predictor import Predictor
from polypseg.training import several
from polypseg.training import train as training
from polypseg.training.datasets import load_data, load_seeds
from polypseg.training.progress import Progress
from polypseg.training.seeds import train_seeds

SMALL = ["--model", "attention_unet", "--input-size", "32", "--batch-size", "4", "--epochs", "2"]
SMALL += ["--lr", "0.01", "--seed", "7"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_dataset(folder, 20, size=(40, 44), seed=1)
    return folder


@pytest.fixture(autouse=True)
def tiny_network(monkeypatch):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    tiny.install(monkeypatch.setitem)
    yield
    signal.signal(signal.SIGINT, before)


def options(*arguments):
    return parse_train([str(argument) for argument in arguments])


def seeds(*arguments):
    config = options(*arguments)
    return train_seeds(config, load_seeds(config))


def history(folder):
    """Rows without what the clock says."""
    with open(folder / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def weights(path):
    model = keras.saving.load_model(path, compile=False)
    return [keras.ops.convert_to_numpy(variable) for variable in model.weights]


@pytest.fixture(scope="module")
def runs(data, tmp_path_factory):
    """Three seeds, trained without interruption, and what was printed."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch, opened() as files:
        tiny.install(patch.setitem)
        written, summary = seeds(
            "--data-path", data, *SMALL, "--seeds", 3, "--trained-model-path", folder
        )
    return written, summary, images_among(files)


def test_each_seed_is_the_run_that_its_seed_gives_on_the_same_split(runs, data, tmp_path):
    folder, _, _ = runs
    assert folder.name == "attention_unet_seeds"
    split = (folder / "split" / "test.txt").read_text()
    assert split.split() == load_data(options("--data-path", data, *SMALL)).split["test"]
    for seed in (7, 8, 9):
        assert (folder / f"seed-{seed}" / "split" / "test.txt").read_text() == split
        stored = json.loads((folder / f"seed-{seed}" / "config.json").read_text())
        assert stored["seed"] == seed and stored["seeds"] is None
    alone = options(
        *("--data-path", data, *SMALL, "--split-dir", folder / "split"),
        *("--seed", 8, "--trained-model-path", tmp_path),
    )
    one, _ = training.train(alone, load_data(alone))
    assert history(one) == history(folder / "seed-8") != history(folder / "seed-9")
    for a, b in zip(weights(one / "best.keras"), weights(folder / "seed-8" / "best.keras")):
        np.testing.assert_array_equal(a, b)


def test_summary(runs):
    folder, summary, _ = runs
    assert summary == json.loads((folder / "seeds.json").read_text())
    assert summary["seeds"] == [7, 8, 9] and summary["images"] == 2
    for score in ("dice", "iou"):
        best, means = [], []
        for seed in (7, 8, 9):
            rows = history(folder / f"seed-{seed}")
            best.append(float(max(rows, key=lambda row: float(row["val_dice"]))[f"val_{score}"]))
            with open(folder / f"seed-{seed}" / "test.csv", newline="") as file:
                means.append(statistics.mean(float(row[score]) for row in csv.DictReader(file)))
        for subset, values in (("validation", best), ("test", means)):
            found = summary[subset][score]
            assert found["of_each_seed"] == pytest.approx(values, abs=1e-6)
            assert found["mean"] == pytest.approx(statistics.mean(values), abs=1e-6)
            assert found["std"] == pytest.approx(statistics.stdev(values), abs=1e-6)


def test_a_test_score_by_other_means(runs, data):
    import cv2

    folder, _, _ = runs
    with open(folder / "seed-9" / "test.csv", newline="") as file:
        row = next(csv.DictReader(file))
    image = cv2.imread(str(data / "images" / f"{row['stem']}.png"))[..., ::-1]
    truth = cv2.imread(str(data / "masks" / f"{row['stem']}.png"), 0) > 127
    answer = Predictor.load(folder / "seed-9")(np.ascontiguousarray(image)) >= 0.5
    dice = 2 * (truth & answer).sum() / (truth.sum() + answer.sum())
    assert float(row["dice"]) == pytest.approx(dice, abs=1e-6)


def test_each_training_file_is_read_once_for_all_seeds(runs, data):
    folder, _, files = runs
    stems = (folder / "split" / "train.txt").read_text().split()
    counts = [files[path] for path in images_in(data) if path.stem in stems]
    assert counts == [1] * 2 * len(stems)


def test_a_run_that_is_stopped_goes_on_as_if_nothing_had_happened(
    runs, data, tmp_path, monkeypatch
):
    begun, own = [], training._fit

    def stop_in_the_second(model, *args):
        begun.append(model)
        if len(begun) == 2:
            raise KeyboardInterrupt
        return own(model, *args)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(training, "_fit", stop_in_the_second)
        seeds("--data-path", data, *SMALL, "--seeds", 3, "--trained-model-path", tmp_path)
    folder = tmp_path / "attention_unet_seeds"
    first = (folder / "seed-7" / "last.keras").stat().st_mtime_ns
    assert not (folder / "seeds.json").exists()
    resumed = options("--resume", folder)
    assert describe_progress(resumed) == "1 of 3 seeds are done"
    left = [run.arrays["train"].length for run in load_seeds(resumed)]
    assert left[0] == 0 and min(left[1:]) > 0, "nothing is decoded for the seed that is done"

    found, summary = seeds("--resume", folder)
    whole, expected, _ = runs
    assert found == folder and summary == expected
    assert (folder / "seed-7" / "last.keras").stat().st_mtime_ns == first
    for seed in (7, 8, 9):
        one, other = folder / f"seed-{seed}", whole / f"seed-{seed}"
        assert history(one) == history(other)
        for a, b in zip(weights(one / "best.keras"), weights(other / "best.keras"), strict=True):
            np.testing.assert_array_equal(a, b)
    assert [run.arrays for run in load_seeds(resumed)] == [{}] * 3, "all is done"


@pytest.mark.parametrize(
    "seed, epoch, words",
    [
        (8, 2, "seed 7 is done, epoch 1 of seed 8 is saved"),
        (9, 1, "seeds 7 and 8 are done, no epoch of seed 9 is finished"),
    ],
)
def test_a_signal_says_which_seeds_are_done(
    seed, epoch, words, runs, tmp_path, monkeypatch, capsys
):
    """In a run of which the seeds before this one are done."""
    monkeypatch.setattr(training, "write_samples", lambda *arguments: None)
    monkeypatch.setattr(several, "score_test", lambda *arguments: [])

    class Terminate(Progress):
        def seed_begins(self, seed, number, seeds, subsets):
            self.seed = seed

        def epoch_begins(self, number, epochs, steps):
            self.epoch = number

        def step_ends(self, loss, dice):
            if (self.seed, self.epoch) == (seed, epoch):
                self.seed = None  # once: a second signal ends the process
                os.kill(os.getpid(), signal.SIGTERM)

    folder = shutil.copytree(runs[0], tmp_path / "attention_unet_seeds")
    (folder / "seeds.json").unlink()
    for later in range(seed, 10):
        shutil.rmtree(folder / f"seed-{later}")
    config = options("--resume", folder)
    with pytest.raises(SystemExit) as end:
        run(lambda: train_seeds(config, load_seeds(config), Terminate(), Signals()))
    assert end.value.code == 128 + signal.SIGTERM
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.endswith(f"stopped; {words}; resume with: python train.py --resume {folder}")


def test_the_command_on_a_split_without_test_images(data, tmp_path, monkeypatch, capsys):
    stems = sorted(path.stem for path in (data / "images").iterdir())
    (tmp_path / "split.csv").write_text(
        "stem,subset\n" + "".join(f"{s},{'val' if s in stems[:4] else 'train'}\n" for s in stems)
    )
    arguments = [
        *("--data-path", data, *SMALL, "--epochs", 1, "--split-dir", tmp_path / "split.csv"),
        *("--seeds", 2, "--trained-model-path", tmp_path),
    ]
    monkeypatch.setattr(sys, "argv", ["train.py", *map(str, arguments)])
    train.main()
    printed = capsys.readouterr().out
    folder = tmp_path / "attention_unet_seeds"
    summary = json.loads((folder / "seeds.json").read_text())
    assert summary["test"] is None and summary["images"] == 0
    dice = [float(history(folder / f"seed-{seed}")[0]["val_dice"]) for seed in (7, 8)]
    mean, std = statistics.mean(dice), statistics.stdev(dice)
    assert f"validation  Dice {mean:.4f} +- {std:.4f}, IoU" in printed and "\ntest" not in printed
    assert "seed 8, 2 of 2: 16 train, 4 val, 0 test" in printed
    assert printed.endswith(f" --model {folder}\n")
    assert len(Predictor.load(folder).origin["members"]) == 2


def test_the_folder_is_no_single_run_but_each_seed_is(runs):
    folder, _, _ = runs
    words = "start_from: expected one run, got the seeds .*; give one of its runs, such as .*seed-7"
    with pytest.raises(InputError, match=words):
        find_run(folder, "start_from")
    assert find_run(folder, "resume") == folder
    assert find_run(folder / "seed-8", "start_from") == folder / "seed-8"

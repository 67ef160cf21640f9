"""Interrupted runs: nothing that was finished is lost, and the rest comes out as if nothing had
happened.
"""

import csv
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest
import tiny
from keras.optimizers.schedules import CosineDecay

from polypseg.commands.train import parse as parse_train
from polypseg.console.progress import TrainingProgress
from polypseg.console.run import run
from polypseg.console.signals import Signals
from polypseg.data.synthetic import write_dataset
from polypseg.errors import InputError
from polypseg.experiment.checkpoint import (
    SaveError,
    describe_progress,
    read_saved,
    save_model,
    saved_epoch,
)
from polypseg.inference.formats.keras import load_model
from polypseg.training import datasets
from polypseg.training import train as training
from polypseg.training.datasets import BadFiles, find_pairs, load_data
from polypseg.training.interrupt import Interrupted
from polypseg.training.optimizer import Adam

ROOT = Path(__file__).resolve().parent.parent
SMALL = (
    "--model",
    "attention_unet",
    "--input-size",
    "32",
    "--batch-size",
    "4",
    "--lr",
    "0.02",
    "--schedule",
    "constant",
    "--patience",
    "99",
)


@pytest.fixture(autouse=True)
def tiny_network(monkeypatch):
    from tensorflow.python.framework import config as tf_config

    before = signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # ignored where the tests run in the background
    tiny.install(monkeypatch.setitem)
    yield
    keras.config.set_dtype_policy("float32")
    tf_config.disable_op_determinism()
    signal.signal(signal.SIGINT, before)


def train(*arguments):
    config = parse_train([str(argument) for argument in arguments])
    return training.train(config, load_data(config), progress=TrainingProgress(), signals=Signals())


def history(folder):
    """Rows without what the clock says."""
    with open(folder / "history.csv", newline="") as file:
        return [
            {key: value for key, value in row.items() if key != "seconds"}
            for row in csv.DictReader(file)
        ]


def weights(path):
    """All that the file holds; of dropout's states it holds none."""
    with_optimizer = path.name == "last.keras"
    model = keras.saving.load_model(path, compile=with_optimizer)
    variables = [*model.weights, *(model.optimizer.variables if with_optimizer else [])]
    return [np.array(keras.ops.convert_to_numpy(variable)) for variable in variables]


def assert_same_run(one, other):
    assert history(one) == history(other)
    for name in ("last.keras", "best.keras"):
        assert saved_epoch(one / name) == saved_epoch(other / name)
        for a, b in zip(weights(one / name), weights(other / name), strict=True):
            np.testing.assert_array_equal(a, b)


class Killed(BaseException):
    """Stands for SIGKILL: nothing catches it."""


# Everything that has state: averages, accumulated gradients (3 x 2 steps an epoch, 4 an update),
# dropout, sizes.
STATEFUL = (
    *SMALL,
    "--deterministic",
    "--ema",
    "0.8",
    "--accumulate",
    "4",
    "--multi-scale",
    "0.5",
    "1",
    "--batch-size",
    "5",
)


def test_killed_before_and_after_each_file_the_run_comes_out_bit_for_bit(
    data, tmp_path, monkeypatch
):
    arguments = ("--data-path", data, *STATEFUL, "--epochs", 8)
    undisturbed, _ = train(*arguments, "--trained-model-path", tmp_path / "undisturbed")
    best_epochs, best = [], -1.0
    for row in history(undisturbed):
        if float(row["val_dice"]) > best:
            best, best_epochs = float(row["val_dice"]), [*best_epochs, int(row["epoch"])]
    assert len(best_epochs) >= 2, "the test needs an epoch with a better Dice than before"

    run_folder = (
        tmp_path / "killed" / "attention_unet-2"
    )  # the first one is not finished when its process dies
    whens = [("config.json", "before")]
    names = (
        "best.keras",
        "history.csv",
        "last.keras",
        "curves.png",
    )  # the first epoch is sure to be a best one
    whens += [(name, when) for name in names for when in ("before", "after")]
    whens += [("validation.png", "before")]
    replace = os.replace

    def replace_or_die(source, target):
        name = Path(target).name
        assert Path(source).parent == Path(target).parent and Path(source).stat().st_size > 0
        when = whens[0][1] if whens and whens[0][0] == name else None
        if when == "before":
            raise Killed
        replace(source, target)
        if when == "after":
            raise Killed

    monkeypatch.setattr(os, "replace", replace_or_die)
    monkeypatch.setattr(
        Path, "unlink", lambda *args, **kwargs: None
    )  # a killed process cleans nothing up
    finished, kills = 0, 0
    while whens:
        begun = (run_folder / "config.json").exists()
        with pytest.raises(Killed):
            train(
                *(
                    ("--resume", run_folder)
                    if begun
                    else (*arguments, "--trained-model-path", run_folder.parent)
                )
            )
        now = saved_epoch(run_folder / "last.keras")
        assert now >= finished, "a finished epoch is lost"
        finished, kills = now, kills + 1
        whens.pop(0)
    monkeypatch.undo()
    tiny.install(
        monkeypatch.setitem, unknown="argument"
    )  # nothing can be built: what is saved is all it takes
    assert kills == 10
    folder, best = train("--resume", run_folder)
    assert_same_run(undisturbed, folder)
    assert best["epoch"] == best_epochs[-1]
    assert not [path for path in folder.iterdir() if "part" in path.name]
    resumed = [
        each["after_epoch"]
        for each in json.loads((folder / "environment.json").read_text())["resumed"]
    ]
    assert resumed == sorted(resumed) and len(resumed) >= 4


@pytest.mark.parametrize("optimizer, decay", [("adamw", 0.2), ("sgd", 0.01)])
def test_each_optimizer_resumes_bit_for_bit(data, tmp_path, monkeypatch, optimizer, decay):
    recipe = (
        *(*SMALL, "--deterministic", "--ema", 0.8, "--accumulate", 3, "--epochs", 2),
        *("--schedule", "poly", "--optimizer", optimizer, "--weight-decay", decay),
        *("--color-exchange", 0.5),
    )
    runs = {name: ("--trained-model-path", tmp_path / name) for name in ("one", "two")}
    undisturbed, _ = train("--data-path", data, *recipe, *runs["one"])
    with monkeypatch.context() as patch:
        stop_at_epoch(patch, 2)
        with pytest.raises(Interrupted):
            train("--data-path", data, *recipe, *runs["two"])
    assert_same_run(undisturbed, train("--resume", tmp_path / "two" / "attention_unet")[0])


def test_best_model_is_made_up_for_when_the_process_died_before_it_was_saved(data, tmp_path):
    folder, best = train(
        "--data-path", data, *SMALL, "--ema", "0.5", "--epochs", 1, "--trained-model-path", tmp_path
    )
    expected = weights(folder / "best.keras")
    (folder / "best.keras").unlink()
    again, best_again = train("--resume", folder)
    assert best_again == pytest.approx(best)
    for a, b in zip(expected, weights(folder / "best.keras"), strict=True):
        np.testing.assert_array_equal(a, b)


def test_patience_counts_on_over_an_interruption_and_a_complete_run_says_so(
    data, tmp_path, monkeypatch
):
    """The rate is 0: no epoch is better than the first, so 1 + 3 epochs are made."""
    monkeypatch.setattr(CosineDecay, "__call__", lambda self, step: keras.ops.cast(0.0, "float32"))
    stop_at_epoch(monkeypatch, 3)
    arguments = (*SMALL, "--epochs", 9, "--patience", 3)
    with pytest.raises(Interrupted):
        train("--data-path", data, *arguments, "--trained-model-path", tmp_path)
    monkeypatch.undo()
    monkeypatch.setattr(CosineDecay, "__call__", lambda self, step: keras.ops.cast(0.0, "float32"))
    folder, best = train("--resume", tmp_path)
    assert best["epoch"] == 1
    assert [row["epoch"] for row in history(folder)] == ["1", "2", "3", "4"]
    before = (folder / "last.keras").stat().st_mtime_ns
    assert train("--resume", tmp_path)[1] == best
    assert (folder / "last.keras").stat().st_mtime_ns == before

    assert "complete after 4 epochs" in describe_progress(parse_train(["--resume", str(folder)]))


def stop_at_epoch(monkeypatch, epoch, number=signal.SIGINT):
    """Send this process a signal after the first step of an epoch, numbered from 1."""
    from polypseg.training.callbacks import StopOnNonFinite

    def interrupt(self, batch, logs=None):
        if self.epoch + 1 == epoch and batch == 0:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(StopOnNonFinite, "on_train_batch_end", interrupt)


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_epoch_and_says_how_to_go_on(
    data, tmp_path, monkeypatch, capsys, number, code
):
    stop_at_epoch(monkeypatch, 2, number)
    with pytest.raises(SystemExit) as end:
        run(
            lambda: train(
                "--data-path", data, *SMALL, "--epochs", 3, "--trained-model-path", tmp_path
            )
        )
    assert end.value.code == code
    folder = tmp_path / "attention_unet"
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.endswith(
        f"stopped; epoch 1 is saved; resume with: python train.py --resume {folder}"
    )
    assert len(history(folder)) == saved_epoch(folder / "last.keras") == 1
    assert (
        signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )


@pytest.fixture(scope="module")
def interrupted_once(tmp_path_factory):
    """A folder with `data/`, and with `runs/`, where a run was stopped in its second epoch; and a
    copy of this folder.
    """
    folder = tmp_path_factory.mktemp("interrupted")
    write_dataset(folder / "data", 20, size=(40, 44), seed=1)
    with pytest.MonkeyPatch.context() as patch:
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        tiny.install(patch.setitem)
        stop_at_epoch(patch, 2)
        try:
            with pytest.raises(Interrupted):
                train(
                    "--data-path",
                    folder / "data",
                    *SMALL,
                    "--epochs",
                    2,
                    "--trained-model-path",
                    folder / "runs",
                )
        finally:
            signal.signal(signal.SIGINT, before)
    return folder, shutil.copytree(folder, tmp_path_factory.mktemp("kept") / "copy")


@pytest.fixture
def interrupted(interrupted_once):
    """The run that was stopped, beside its data: as it was, whatever the test before did to it."""
    folder, kept = interrupted_once
    shutil.rmtree(folder)
    shutil.copytree(kept, folder)
    return folder / "runs" / "attention_unet"


def test_a_full_disk_leaves_the_last_checkpoint_and_a_message(interrupted):
    kept = {name: (interrupted / name).read_bytes() for name in ("last.keras", "best.keras")}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(kept["last.keras"]) // 2, limits[1]))
    try:
        with pytest.raises(
            SaveError,
            match=r"expected to save .*, got: .*large.*; epoch 1 is saved; resume with: .*",
        ) as error:
            train("--resume", interrupted)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "\n" not in str(error.value)
    assert {name: (interrupted / name).read_bytes() for name in kept} == kept
    assert not [path for path in interrupted.iterdir() if "part" in path.name]
    train("--resume", interrupted)
    assert [row["epoch"] for row in history(interrupted)] == ["1", "2"]


@pytest.mark.parametrize("how", ["removed", "dangling link"])
def test_a_run_without_its_last_checkpoint_is_left_as_it_is(interrupted, how):
    last = interrupted / "last.keras"
    last.unlink()
    if how == "dangling link":
        last.symlink_to("absent.keras")
    kept = {path.name: path.read_bytes() for path in interrupted.iterdir() if path.is_file()}
    with pytest.raises(InputError, match="resume: expected last.keras in .* begin a new one"):
        train("--resume", interrupted)
    with pytest.raises(InputError, match="resume: expected last.keras in"):
        describe_progress(parse_train(["--resume", str(interrupted)]))
    assert {p.name: p.read_bytes() for p in interrupted.iterdir() if p.is_file()} == kept


def test_data_that_changed_moved_or_vanished(interrupted, monkeypatch):
    beside = interrupted.parents[1]
    stem = (interrupted / "split" / "train.txt").read_text().split()[3]
    other, image = (
        (beside / "data" / "images" / f"{name}.png") for name in ("synthetic_0000", stem)
    )
    before, kept = image.read_bytes(), (interrupted / "last.keras").read_bytes()
    image.write_bytes(before + b"x")
    with pytest.raises(
        InputError,
        match=rf"data_path: expected the 20 images that .*, got 1 changed \({stem}\)",
    ):
        train("--resume", interrupted)
    image.unlink()
    with pytest.raises(InputError, match=rf"got 1 missing \({stem}\)"):
        train("--resume", interrupted)
    image.write_bytes(before)

    def late(*arguments):  # between the search and the reading
        found = find_pairs(*arguments)
        image.unlink()
        return found

    with monkeypatch.context() as patch:
        patch.setattr(datasets, "find_pairs", late)
        with pytest.raises(BadFiles, match=f"{image.name}: file cannot be read: .*No such file"):
            train("--resume", interrupted)
    image.write_bytes(before)
    assert (interrupted / "last.keras").read_bytes() == kept

    (beside / "data" / "images" / "new.png").write_bytes(before)  # does not matter
    (beside / "data" / "masks" / "new.png").write_bytes(
        (beside / "data" / "masks" / f"{stem}.png").read_bytes()
    )
    (beside / "data").rename(beside / "moved")
    with pytest.raises(InputError, match="data_path: expected a folder, got nothing"):
        train("--resume", interrupted)
    train("--resume", interrupted, "--data-path", beside / "moved")
    assert len(history(interrupted)) == 2


def test_what_cannot_be_resumed_is_refused_in_one_line(interrupted, tmp_path):
    with pytest.raises(
        InputError,
        match="epochs: cannot be given with `resume`, .* only `data_path`, `cache_gb`, `max_m",
    ):
        parse_train(["--resume", str(interrupted), "--epochs", "9"])
    with pytest.raises(InputError, match="resume: expected a run folder .* none inside"):
        parse_train(["--resume", str(tmp_path)])
    from polypseg.experiment.run_folder import lock_run

    with lock_run(interrupted), pytest.raises(InputError, match="no other process is training"):
        train("--resume", interrupted)
    (interrupted / "last.keras").write_bytes((interrupted / "last.keras").read_bytes()[:-100])
    with pytest.raises(InputError, match="resume: expected a complete file") as error:
        train("--resume", interrupted)
    assert "\n" not in str(error.value)


def test_an_optimiser_of_other_variables_is_refused(interrupted):
    """Keras only warns, and the optimiser and its schedule would begin anew."""
    model = keras.saving.load_model(interrupted / "last.keras")
    optimizer = Adam(0.1)
    optimizer.build(model.trainable_variables[1:])
    model.compile(optimizer=optimizer, loss=model.loss)
    save_model(model, interrupted / "last.keras", read_saved(interrupted / "last.keras"))
    with pytest.raises(
        InputError, match="resume: expected an optimiser that fits the network, got .*last.keras"
    ):
        train("--resume", interrupted)


def test_pictures_that_vanish_before_the_samples_are_drawn(data, tmp_path, monkeypatch):
    write_dataset(tmp_path / "data", 20, size=(40, 44), seed=1)
    plot = training.write_samples

    def late(folder, pairs, label):
        pairs[0].image.rename(tmp_path / "kept.png")
        plot(folder, pairs, label)

    monkeypatch.setattr(training, "write_samples", late)
    with pytest.raises(
        SaveError, match=r"the network is trained, but samples/validation.png .*--resume"
    ):
        train(
            "--data-path",
            tmp_path / "data",
            *SMALL,
            "--epochs",
            1,
            "--trained-model-path",
            tmp_path / "runs",
        )
    monkeypatch.setattr(training, "write_samples", plot)
    folder = tmp_path / "runs" / "attention_unet"
    assert load_model(folder / "best.keras")
    images = tmp_path / "data" / "images"
    gone = next(
        stem
        for stem in (folder / "split" / "val.txt").read_text().split()
        if not (images / f"{stem}.png").exists()
    )
    (tmp_path / "kept.png").rename(images / f"{gone}.png")
    train("--resume", folder)
    assert (folder / "samples" / "validation.png").exists()


def test_loading_runs_no_code_of_the_file(tmp_path):
    model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Lambda(lambda x: x[..., :1])])
    model.save(tmp_path / "evil.keras")
    with pytest.raises(InputError, match="expected a .keras file of this toolkit"):
        load_model(tmp_path / "evil.keras")


def start(*arguments):
    return subprocess.Popen(
        [sys.executable, ROOT / "tests" / "tiny.py", *map(str, arguments)],
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        env=os.environ | {"CUDA_VISIBLE_DEVICES": "", "PYTHONUNBUFFERED": "1"},
    )


def epochs_of(folder):
    return saved_epoch(folder / "last.keras")


def disturb(data, folder, epochs, moments):
    """Run `tiny.py`, end it with each of `moments` (functions of the process), and resume it each
    time to the end.
    """
    arguments = (
        "--data-path",
        data,
        *SMALL,
        "--deterministic",
        "--epochs",
        epochs,
        "--trained-model-path",
        folder.parent,
    )
    finished = 0
    for moment in [*moments, None]:
        process = start(*(("--resume", folder) if (folder / "config.json").exists() else arguments))
        if moment:
            moment(process)
        _, errors = process.communicate()
        assert process.returncode == (
            0 if moment is None else getattr(moment, "code", -signal.SIGKILL)
        ), errors
        now = epochs_of(folder)
        assert now >= finished, "a finished epoch is lost"
        finished = now
        if (folder / "history.csv").exists():
            numbers = [row["epoch"] for row in history(folder)]
            assert numbers == [str(n + 1) for n in range(len(numbers))] and len(numbers) >= finished
    assert finished == epochs
    return errors


def wait(process, happens, every=0.02):
    while process.poll() is None and not happens():
        time.sleep(every)


@pytest.mark.slow  # the tests above end processes at chosen places
def test_real_signals(data, tmp_path):
    folder = tmp_path / "runs" / "attention_unet"
    epochs = 6

    def while_it_saves(process):
        history_csv = folder / "history.csv"

        def lines():
            return history_csv.read_text().count("\n") if history_csv.exists() else 0

        wait(process, lambda: lines() >= 2)
        wait(process, lambda: lines() >= 3, every=0.0005)
        process.kill()

    def with_ctrl_c(process):
        wait(process, lambda: epochs_of(folder) >= 3)
        process.send_signal(signal.SIGINT)
        process.wait()
        told.append(process.stderr.read())

    with_ctrl_c.code = 130
    told = []
    undisturbed, _ = train(
        "--data-path",
        data,
        *SMALL,
        "--deterministic",
        "--epochs",
        epochs,
        "--trained-model-path",
        tmp_path / "a",
    )
    disturb(data, folder, epochs, [while_it_saves, with_ctrl_c])
    assert f"resume with: python train.py --resume {folder}" in told[0].splitlines()[-1]
    assert_same_run(undisturbed, folder)


@pytest.mark.slow
def test_ten_random_kills(data, tmp_path):
    """In the start, in an epoch or while it saves, as it comes."""
    folder, rng = tmp_path / "runs" / "attention_unet", random.Random(5)
    epochs = 160  # more than ten waits of ten seconds bring

    def at_random(process):
        begun, more = time.monotonic(), rng.randrange(4)
        until = epochs_of(folder) + more
        if more:
            wait(process, lambda: epochs_of(folder) >= until)
        else:
            time.sleep(rng.uniform(0, 10))
        time.sleep(rng.uniform(0, (time.monotonic() - begun) / 10))
        assert process.poll() is None, "the run ended before it was killed"
        process.kill()

    arguments = (
        "--data-path",
        data,
        *SMALL,
        "--deterministic",
        "--epochs",
        epochs,
        "--trained-model-path",
        tmp_path / "a",
    )
    undisturbed, _ = train(*arguments)
    disturb(data, folder, epochs, [at_random] * 10)
    assert_same_run(undisturbed, folder)

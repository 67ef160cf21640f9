"""What a run reports while it trains, and what of it is printed."""

import keras
import pytest
import tiny
from keras.optimizers.schedules import CosineDecay

from polypseg.commands.train import parse as parse_train
from polypseg.console.progress import TrainingProgress
from polypseg.training import train as training
from polypseg.training.progress import Progress
from polypseg.training.train import train


@pytest.fixture(autouse=True)
def tiny_network(monkeypatch):
    tiny.install(monkeypatch.setitem)


def options(data, runs, *arguments):
    network = ["--model", "attention_unet", "--input-size", "32", "--batch-size", "16"]
    folders = ["--data-path", str(data), "--trained-model-path", str(runs)]
    return parse_train([*network, *folders, *arguments])


def test_the_network_is_reported_before_it_is_built_or_loaded(data, tmp_path, monkeypatch):
    events = []

    class Events(Progress):
        def build_begins(self):
            events.append("build begins")

        def epoch_begins(self, number, epochs, steps):
            events.append(f"epoch {number}")

    def note(name):
        function = getattr(training, name)

        def noted(*arguments):
            events.append(name)
            return function(*arguments)

        monkeypatch.setattr(training, name, noted)

    note("build_model")
    note("saved_model")
    folder, _ = train(options(data, tmp_path, "--epochs", "1"), progress=Events())
    assert events == ["build begins", "build_model", "epoch 1"]
    events.clear()
    (folder / "best.keras").unlink()  # it is saved again, from the network in last.keras
    train(parse_train(["--resume", str(folder)]), progress=Events())
    assert events == ["build begins", "saved_model"]


def test_the_network_is_announced_on_the_terminal(capsys):
    TrainingProgress().build_begins()
    assert capsys.readouterr().out == "building the network\n"


def test_epochs_that_can_follow_are_counted_until_patience_ends(data, tmp_path, monkeypatch):
    """The rate is 0: no epoch is better than the first, so 1 + 3 of 9 epochs are made."""
    monkeypatch.setattr(CosineDecay, "__call__", lambda self, step: keras.ops.cast(0.0, "float32"))
    left = []

    class Left(Progress):
        def epoch_ends(self, scores, seconds, better, epochs_left):
            left.append(epochs_left)

    train(options(data, tmp_path, "--epochs", "9", "--patience", "3"), progress=Left())
    assert left == [8, 7, 6, 0]
    left.clear()
    train(options(data, tmp_path, "--epochs", "2"), progress=Left())
    assert left == [1, 0]


SCORES = dict.fromkeys(("loss", "dice", "val_loss", "val_dice", "val_iou"), 0.5)


@pytest.mark.parametrize(
    "fold, epoch, seconds, words",
    [
        (None, 38, 30.4, "at most 61 s left"),  # 2 * 30.4 = 60.8
        (None, 1, 20.0, "at most 13 min left"),  # 39 * 20 = 780 = 13 * 60
        (None, 30, 2000.0, "at most 5.6 h left"),  # 10 * 2000 / 3600 = 5.56
        (None, 40, 20.0, None),
        (1, 40, 3.0, "at most 4 min left"),  # 2 folds of 40 epochs: 240 s
        (3, 40, 3.0, None),
        (3, 39, 3.0, "at most 3 s left"),
        ("seed 12", 40, 3.0, "at most 4 min left"),  # 2 seeds of 40 epochs
    ],
)
def test_the_line_of_an_epoch_ends_with_the_time_that_is_left(fold, epoch, seconds, words, capsys):
    progress = TrainingProgress()
    if fold == "seed 12":
        progress.seed_begins(12, 1, 3, {})
    elif fold:
        progress.fold_begins(fold, 3, {})
    progress.epoch_begins(epoch, 40, 5)
    progress.epoch_ends(SCORES, seconds, better=True, epochs_left=40 - epoch)
    line = capsys.readouterr().out.splitlines()[-1]
    assert line.endswith(f"{seconds:.0f} s *" + (f"  {words}" if words else ""))

"""What a run reports while it trains, and what of it is printed."""

import pytest
import tiny

from polypseg.commands.train import parse as parse_train
from polypseg.console.progress import TrainingProgress
from polypseg.data.synthetic import write_dataset
from polypseg.training import train as training
from polypseg.training.progress import Progress
from polypseg.training.train import train


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_dataset(folder, 20, size=(40, 44), seed=1)
    return folder


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

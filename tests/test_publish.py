"""The copy of a run that is published: half the size, the same network."""

import warnings

import numpy as np
import pytest
import tiny

from benchmarks.publish import publish
from benchmarks.runs import trained as trained_runs
from benchmarks.runs import validation
from polypseg.commands.train import parse
from polypseg.errors import Note
from polypseg.experiment.checkpoint import read_saved, save_model
from polypseg.experiment.run import open_run
from polypseg.inference.formats.keras import load_model
from polypseg.inference.predictor import Predictor
from polypseg.training.datasets import load_data
from polypseg.training.train import train

SMALL = ["--model", "attention_unet", "--input-size", "32", "--batch-size", "4", "--epochs", "2"]


@pytest.fixture(autouse=True)
def tiny_network(monkeypatch):
    tiny.install(monkeypatch.setitem, filters=400)


@pytest.fixture
def trained(data, tmp_path):
    given = ["--data-path", data, "--trained-model-path", tmp_path / "runs"]
    config = parse([*map(str, given), *SMALL])
    return train(config, load_data(config))[0]


def test_the_copy_is_a_run_of_half_the_size_with_the_same_network(trained, tmp_path):
    copy = tmp_path / "published"
    difference = publish(trained, copy)
    names = {path.name for path in copy.iterdir()}
    assert names.isdisjoint({"last.keras", "samples"}) and "curves.png" in names
    run = open_run(copy)
    best, seconds = validation([copy, copy])
    assert best == [pytest.approx(max(row["val_dice"] for row in run.history), abs=1e-4)] * 2
    assert seconds == round(sum(row["seconds"] for row in run.history))
    assert run.config == open_run(trained).config
    old, new = (load_model(folder / "best.keras") for folder in (trained, copy))
    for one, two in zip(old.weights, new.weights):
        one, two = np.asarray(one), np.asarray(two)
        expected = one.astype(np.float16).astype(np.float32) if one.ndim > 1 else one
        np.testing.assert_array_equal(two, expected)
    assert old.temperature == new.temperature
    assert run.best.stat().st_size < 0.75 * (trained / "best.keras").stat().st_size
    image = np.random.default_rng(0).integers(0, 256, (50, 61, 3), np.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Note)
        maps = [Predictor.load(folder)(image) for folder in (trained, copy)]
    assert 0 < np.abs(maps[0] - maps[1]).max() < 1e-2 and 0 < difference < 1e-2


def test_a_run_that_is_not_finished_is_refused(trained, tmp_path):
    saved = read_saved(trained / "best.keras")._replace(temperature=None)
    save_model(load_model(trained / "best.keras"), trained / "best.keras", saved)
    with pytest.raises(ValueError, match="finished"):
        publish(trained, tmp_path / "published")


def test_a_weight_beyond_half_precision_is_an_error(trained, tmp_path):
    model = load_model(trained / "best.keras")
    kernel = next(weight for weight in model.weights if len(weight.shape) > 1)
    kernel.assign(np.full(kernel.shape, 1e5, np.float32))
    save_model(model, trained / "best.keras", read_saved(trained / "best.keras"))
    with pytest.raises(ValueError, match="within half precision"):
        publish(trained, tmp_path / "published")
    assert not (tmp_path / "published").exists()


def test_runs_of_other_options_are_not_reused(tmp_path):
    (tmp_path / "options.json").write_text('["--epochs", "12"]')
    with pytest.raises(ValueError, match="options must be those of .*options.json, got --epochs 9"):
        trained_runs(tmp_path, ["--epochs", 9])


def test_what_exists_is_not_replaced(trained, tmp_path):
    (tmp_path / "published").mkdir()
    with pytest.raises(FileExistsError):
        publish(trained, tmp_path / "published")

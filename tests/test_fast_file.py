"""The end of a run: its temperature, and `best.onnx`, with which it opens without Keras."""

import warnings

import numpy as np
import pytest
import tiny

from polypseg.commands.train import parse
from polypseg.errors import Note
from polypseg.experiment.checkpoint import read_saved, save_model
from polypseg.files import file_digest
from polypseg.inference.export import export
from polypseg.inference.formats.keras import load_model
from polypseg.inference.predictor import Predictor
from polypseg.training import fast_file
from polypseg.training.datasets import load_data
from polypseg.training.interrupt import Interrupted
from polypseg.training.progress import Progress
from polypseg.training.train import train

for package in ("onnx", "tf2onnx"):
    pytest.importorskip(package)
SMALL = ["--model", "attention_unet", "--input-size", "32", "--batch-size", "4", "--epochs", "2"]


class Events(Progress):
    def __init__(self):
        self.temperatures, self.exports = [], []

    def temperature_fitted(self, temperature):
        self.temperatures.append(temperature)

    def export_begins(self, path):
        self.exports.append(path.name)


def run(*arguments):
    """The folder, what was reported, and the notes."""
    config, events = parse([*map(str, arguments)]), Events()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", Note)
        folder, _ = train(config, load_data(config), progress=events)
    notes = [str(note.message) for note in caught if issubclass(note.category, Note)]
    return folder, events, [note for note in notes if "best.onnx" in note]


@pytest.fixture(autouse=True)
def tiny_network(monkeypatch):
    tiny.install(monkeypatch.setitem, export=True, stateless=True)


def test_a_run_ends_with_a_file_and_a_resumed_one_repairs_it(data, tmp_path, monkeypatch):
    folder, events, notes = run("--data-path", data, *SMALL, "--trained-model-path", tmp_path)
    assert events.exports == ["best.onnx"] and not notes
    (temperature,) = events.temperatures
    best = folder / "best.keras"
    assert load_model(best).temperature == read_saved(best).temperature == temperature != 1
    image = np.random.default_rng(1).integers(0, 256, (50, 40, 3), dtype=np.uint8)
    fast, slow = Predictor.load(folder), Predictor.load(folder, engine="keras")
    assert (fast.engine, slow.engine) == ("ONNX Runtime", "Keras")
    np.testing.assert_allclose(fast(image), slow(image), atol=1e-5)
    assert fast.digest == slow.digest

    # Complete: nothing is written again.
    before = {name: file_digest(folder / name) for name in ("best.keras", "best.onnx")}
    _, events, notes = run("--resume", folder)
    assert (events.temperatures, events.exports, notes) == ([], [], [])
    assert before == {name: file_digest(folder / name) for name in before}

    # Killed after the last epoch, before the temperature was saved.
    model = load_model(best)
    model.temperature = 1.0
    save_model(model, best, read_saved(best)._replace(temperature=None))
    _, events, _ = run("--resume", folder, "--no-export")
    assert events.temperatures == [pytest.approx(temperature, rel=1e-4)] and not events.exports
    assert load_model(best).temperature == events.temperatures[0]

    # Killed before the export.
    (folder / "best.onnx").unlink()
    _, events, _ = run("--resume", folder)
    assert events.exports == ["best.onnx"] and not events.temperatures
    assert Predictor.load(folder).engine == "ONNX Runtime"

    # A file that the user made of this network is kept.
    export(folder, "onnx", precision="float16", overwrite=True)
    kept = file_digest(folder / "best.onnx")
    _, events, _ = run("--resume", folder)
    assert not events.exports and file_digest(folder / "best.onnx") == kept

    # A failed export leaves the run as it is.
    (folder / "best.onnx").write_bytes(b"")

    def fail(*arguments, **options):
        raise RuntimeError("no such operation\nin two lines")

    monkeypatch.setattr(fast_file, "export", fail)
    _, _, (note,) = run("--resume", folder)
    assert "no such operation" in note and "\n" not in note
    assert f"export.py --model {folder} --format onnx --all-maps --overwrite" in note


def test_ctrl_c_in_the_export_says_what_is_saved(data, tmp_path, monkeypatch):
    def press(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(fast_file, "export", press)
    with pytest.raises(Interrupted, match="epoch 2 is saved; resume with: .*--resume") as raised:
        run("--data-path", data, *SMALL, "--trained-model-path", tmp_path)
    assert raised.value.exit_code == 130


def test_without_the_packages_a_line_says_how_to_make_it(data, tmp_path, monkeypatch):
    from importlib import util

    find = util.find_spec
    monkeypatch.setattr(util, "find_spec", lambda name: None if name == "tf2onnx" else find(name))
    folder, _, (note,) = run("--data-path", data, *SMALL, "--trained-model-path", tmp_path)
    assert "best.onnx was not written (" in note and "pip install tf2onnx" in note
    assert note.endswith(f"export.py --model {folder} --format onnx --all-maps")
    assert not (folder / "best.onnx").exists() and read_saved(folder / "best.keras").temperature
    assert not list(folder.glob(".part-*"))
    assert Predictor.load(folder).engine == "Keras"


def test_the_temperature_fits_the_validation_images(data, tmp_path):
    """Against the cross-entropy of the Predictor's logits, at the network's size, by a grid."""
    arguments = ("--data-path", data, *SMALL, "--trained-model-path", tmp_path, "--no-export")
    folder, events, _ = run(*arguments)
    validation = load_data(parse([*map(str, arguments)])).arrays["val"]
    images, masks = validation.take(np.arange(validation.length))
    model = load_model(folder / "best.keras")
    z = np.asarray(model(images.astype(np.float32)), np.float64)[..., -1]
    y = masks[..., 0] == 1

    def cross_entropy(temperature):
        return np.mean(np.logaddexp(0, z / temperature) - y * z / temperature)

    grid = np.geomspace(0.1, 10, 2001)
    lowest = grid[np.argmin([cross_entropy(t) for t in grid])]
    assert events.temperatures == [pytest.approx(lowest, rel=5e-3)]


def test_keras_of_another_backend_does_not_convert(data, tmp_path, monkeypatch):
    folder, _, _ = run("--data-path", data, *SMALL, "--trained-model-path", tmp_path, "--no-export")
    assert not (folder / "best.onnx").exists()
    monkeypatch.setattr(fast_file.keras.backend, "backend", lambda: "jax")
    with pytest.warns(Note, match="KERAS_BACKEND=tensorflow"):
        fast_file.write_fast_file(folder, Events())

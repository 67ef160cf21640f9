"""Files from before the code moved into `polypseg`: they load, resume and give equal numbers.

`data/before_rooms/README.md` says how they were made.
"""

import csv
import json
import shutil
import sys
import tarfile
from pathlib import Path

import keras
import numpy as np
import pytest
import tiny

from polypseg.commands import test as score
from polypseg.commands.train import parse as parse_train
from polypseg.data.images import read_image
from polypseg.data.masks import read_mask
from polypseg.errors import Note
from polypseg.experiment.checkpoint import saved_epoch
from polypseg.experiment.run import open_run
from polypseg.inference.formats import NAMES, format_of
from polypseg.inference.predictor import Predictor
from polypseg.training.datasets import load_data, load_folds
from polypseg.training.folds import cross_validate
from polypseg.training.train import train

pytestmark = pytest.mark.filterwarnings("ignore::polypseg.errors.Note")
ROOT = Path(__file__).resolve().parent.parent
BEFORE = ROOT / "tests" / "data" / "before_rooms"
# Other processors round otherwise; an OpenVINO that chooses bfloat16 rounds much.
CLOSE, BFLOAT16 = 1e-4, 0.03


@pytest.fixture(scope="module")
def images():
    with np.load(BEFORE / "images.npz") as file:
        return [file["0"], file["1"]]


@pytest.fixture(scope="module")
def expected():
    with np.load(BEFORE / "expected.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def exports(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exports")
    with tarfile.open(BEFORE / "exports.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture
def tiny_network(monkeypatch):
    from tensorflow.python.framework import config as tf_config

    tiny.install(monkeypatch.setitem)
    yield
    keras.config.set_dtype_policy("float32")
    tf_config.disable_op_determinism()


def assert_answers(predictor, images, expected, name, tolerance=CLOSE):
    for index, probability in enumerate(predictor(images)):
        assert np.ptp(probability) > 0.05
        np.testing.assert_allclose(probability, expected[f"{name}/{index}"], atol=tolerance)


@pytest.mark.parametrize("name", ["pranet.keras", "attention_unet.keras"])
def test_a_network_loads(name, images, expected):
    predictor = Predictor.load(BEFORE / name)
    assert_answers(predictor, images, expected, name)
    if name == "pranet.keras":
        all_maps = predictor.all_maps(images)[1]
        np.testing.assert_allclose(all_maps, expected["pranet.keras/all_maps/1"], atol=CLOSE)


@pytest.mark.parametrize("kind", NAMES)
def test_an_export_loads(kind, exports, images, expected):
    form = format_of(kind)
    for module in form.packages:
        if module not in ("onnx", "tf2onnx"):  # which only write
            pytest.importorskip(module)
    name = f"attention_unet{form.suffix or '_savedmodel'}"
    predictor = Predictor.load(exports / name)
    tolerance = BFLOAT16 if "bfloat16" in predictor.engine else CLOSE
    assert_answers(predictor, images, expected, "attention_unet.keras", tolerance)
    exact = Predictor((form.open_exact or form.open)(exports / name))
    assert_answers(exact, images, expected, f"{name}/float32" if form.open_exact else name)


def history(path):
    with open(path, newline="", encoding="utf-8") as file:
        rows = [
            {k: float(v) for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)
        ]
    return {key: [row[key] for row in rows] for key in rows[0]}


def variables(path):
    """The arrays in a file; there is no state of dropout among them."""
    with_optimizer = path.name == "last.keras"
    model = keras.saving.load_model(path, compile=with_optimizer)
    found = [*model.weights, *(model.optimizer.variables if with_optimizer else [])]
    return [keras.ops.convert_to_numpy(variable) for variable in found]


def assert_close(folder, other, names=("best.keras", "last.keras")):
    """Two run folders: histories, epochs and all that their networks hold, optimisers too."""
    got, wanted = history(folder / "history.csv"), history(other / "history.csv")
    assert got.keys() == wanted.keys()
    for key, values in wanted.items():
        np.testing.assert_allclose(got[key], values, atol=CLOSE, err_msg=key)
    for name in names:
        assert saved_epoch(folder / name) == saved_epoch(other / name)
        one, two = (variables(path / name) for path in (folder, other))
        for a, b in zip(one, two, strict=True):
            np.testing.assert_allclose(a, b, atol=CLOSE, err_msg=name)


def resumed(name, tmp_path):
    """The options of `train.py --resume`, on a copy."""
    folder = tmp_path / name
    shutil.copytree(BEFORE / name, folder)
    return folder, parse_train(["--resume", str(folder), "--data-path", str(BEFORE / "data")])


def test_an_interrupted_run_resumes(tiny_network, tmp_path):
    folder, config = resumed("interrupted", tmp_path)
    assert saved_epoch(folder / "last.keras") == 1
    _, best = train(config, load_data(config))
    assert best["epoch"] == 2 and saved_epoch(folder / "last.keras") == 3
    assert_close(folder, BEFORE / "finished")


def test_a_run_without_digests_is_noted():
    with pytest.warns(Note, match="finished was begun by an earlier version") as found:
        open_run(BEFORE / "finished")
    assert len(found) == 1


def test_a_finished_run_is_scored(monkeypatch, tmp_path):
    arguments = ["--model", BEFORE / "finished", "--data-path", BEFORE / "data", "--out", tmp_path]
    monkeypatch.setattr(sys, "argv", ["test.py", *map(str, arguments)])
    score.main()
    scores = json.loads((tmp_path / "metrics.json").read_text())
    stems = (BEFORE / "finished" / "split" / "test.txt").read_text().split()
    assert scores["n"] == len(stems) == 1
    predictor = Predictor.load(BEFORE / "finished")
    (image, mask), *_ = [
        (
            read_image(BEFORE / "data" / "images" / f"{stem}.png"),
            read_mask(BEFORE / "data" / "masks" / f"{stem}.png"),
        )
        for stem in stems
    ]
    found = predictor([image])[0] >= 0.5
    dice = 2 * (found & (mask > 0)).sum() / (found.sum() + mask.sum())
    assert scores["threshold"]["dice"] == pytest.approx(dice, abs=1e-6)


def test_a_finished_run_is_finished(tiny_network, tmp_path):
    folder, config = resumed("finished", tmp_path)
    before = (folder / "last.keras").read_bytes()
    assert load_data(config).arrays == {}, "nothing is decoded"
    _, best = train(config, load_data(config))
    assert best["epoch"] == 2 and (folder / "last.keras").read_bytes() == before
    assert (folder / "samples" / "validation.png").is_file()


def test_an_interrupted_cross_validation_resumes(tiny_network, tmp_path):
    folder, config = resumed("folds", tmp_path)
    cross_validate(config, load_folds(config))
    for fold in ("fold-1", "fold-2", "fold-3"):
        names = () if fold == "fold-1" else ("best.keras",)
        assert_close(folder / fold, BEFORE / "folds_finished" / fold, names)
    rows = [
        [row.values() for row in csv.DictReader(open(path, newline="", encoding="utf-8"))]
        for path in (folder / "out_of_fold.csv", BEFORE / "folds_finished" / "out_of_fold.csv")
    ]
    for (stem, fold, *scores), (other_stem, other_fold, *others) in zip(*rows, strict=True):
        assert (stem, fold) == (other_stem, other_fold)
        # One pixel at the threshold may change sides on another processor.
        np.testing.assert_allclose([*map(float, scores)], [*map(float, others)], atol=0.02)

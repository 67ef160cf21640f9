"""Every model format that is registered; and the size at which a network runs."""

import pickle
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import keras
import numpy as np
import pytest
import tiny

from polypseg.attention_unet import AttentionUNet
from polypseg.errors import InputError
from polypseg.inference.export import TOLERANCE, export
from polypseg.inference.formats import NAMES, format_of
from polypseg.inference.predictor import Predictor, open_engine
from polypseg.scoring.sources import network_sources

# Run folders of the test without digests.
pytestmark = pytest.mark.filterwarnings("ignore::polypseg.errors.Note")
ROOT = Path(__file__).resolve().parent.parent
SIZE = 32


def run_folder(model, folder):
    """Of a network with weights that answer differently at each pixel."""
    rng = np.random.default_rng(1)
    model.set_weights(
        [
            old if weight.path.endswith("variance") else old + rng.normal(0, 0.2, old.shape)
            for weight, old in zip(model.weights, model.get_weights(), strict=True)
        ]
    )
    model.save(folder / "best.keras")
    (folder / "config.json").write_text('{"data_path": "data"}')
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    keras.utils.set_random_seed(1)
    return run_folder(tiny.Tiny(SIZE), tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def file_of(folder, tmp_path_factory):
    """A function: the file of a format, exported once; that of the run for "keras"."""
    files = {"keras": folder}

    def get(name):
        if name not in files:
            form = format_of(name)
            for module in form.packages:
                pytest.importorskip(module)
            path = tmp_path_factory.mktemp(name) / f"net{form.suffix}"
            files[name] = export(folder, name, path).path
        return files[name]

    return get


def test_no_two_look_alike():
    formats = [format_of(name) for name in NAMES]
    looks = [(form.suffix, form.marker) for form in formats]
    assert len(set(looks)) == len(looks) and all(suffix or marker for suffix, marker in looks)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_written_is_opened_and_answers_alike(name, folder, file_of):
    form, path = format_of(name), file_of(name)
    assert form.recognises(path) and all(part.exists() for part in form.parts(path))
    others = [other for other in NAMES if other != name and format_of(other).recognises(path)]
    assert not others
    batch = np.random.default_rng(2).uniform(0, 255, (2, SIZE, SIZE, 3)).astype(np.float32)
    engine = (form.open_exact or form.open)(path)
    # Beyond -10..10 float32 probabilities, of which an exported file consists, are too coarse.
    expected, got = (np.clip(one.logits(batch), -10, 10) for one in (open_engine(folder), engine))
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(got, expected, rtol=0, atol=TOLERANCE["float32"])
    assert open_engine(path).input_size == SIZE
    with pytest.raises(
        InputError,
        match=f"input_size: expected {SIZE}, the size that .* was exported with, got 64",
    ):
        open_engine(path, 64)
    assert open_engine(path, SIZE).input_size == SIZE


@pytest.mark.parametrize("name", NAMES)
def test_a_run_folder_may_be_named_like_a_file(name, folder, tmp_path):
    run = tmp_path / f"run{format_of(name).suffix}"
    shutil.copytree(folder, run)
    assert open_engine(run).name == "Keras"


def test_an_unknown_file_is_told_all_that_are_known(tmp_path):
    (tmp_path / "a.h5").touch()
    with pytest.raises(InputError) as error:
        open_engine(tmp_path / "a.h5")
    assert all(format_of(name).suffix in str(error.value) for name in NAMES)
    assert "SavedModel" in str(error.value) and ".keras" in str(error.value)


def test_a_keras_network_runs_at_the_size_that_is_asked_for(tmp_path):
    network = AttentionUNet(filters=2, gate_channels=4, input_size=SIZE)
    folder = run_folder(network, tmp_path)
    image = np.random.default_rng(3).integers(0, 256, (48, 48, 3)).astype(np.uint8)
    predictor = Predictor.load(folder, 48)  # no resizing at all
    from polypseg.inference.formats.keras import load_model

    logits = np.asarray(load_model(folder / "best.keras")(image[None].astype(np.float32)))[
        0, ..., -1
    ]
    # The compiled network and the one called here differ by some 2e-4 in logits of up to 50.
    np.testing.assert_allclose(predictor([image])[0], 1 / (1 + np.exp(-logits)), atol=1e-4)
    assert np.abs(Predictor.load(folder)([image])[0] - predictor([image])[0]).max() > 1e-3
    for wrong in (40, 0, -16):
        with pytest.raises(
            InputError,
            match=f"input_size: expected a multiple of 16 for this network, got {wrong}",
        ):
            Predictor.load(folder, wrong)


def test_the_names_are_read_without_anything_heavy():
    program = (
        "import sys, polypseg.inference.formats\n"
        "heavy = {'numpy', 'cv2', 'keras', 'tensorflow', 'onnxruntime', 'openvino'} & "
        "set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr


def test_scoring_a_missing_export_says_that_it_is_missing(tmp_path):
    missing = tmp_path / "none.onnx"
    with pytest.raises(InputError, match="model: expected .*none.onnx, which does not exist"):
        network_sources([missing], None, "test")


@pytest.mark.parametrize("name", [*NAMES, "keras"])
def test_threads_get_the_answers_of_one_thread(name, file_of):
    """Bit for bit, from a Predictor that is fresh, warm or unpickled, in batches and one by one."""
    path = file_of(name)
    rng = np.random.default_rng(5)
    images = [rng.integers(0, 256, (*rng.integers(30, 70, 2), 3), np.uint8) for _ in range(24)]
    calls = [images[first : first + 4] for first in range(0, 24, 4)] + images
    calls = [calls[index] for index in rng.permutation(len(calls))]
    alone = Predictor.load(path)
    expected = [alone(call) for call in calls]
    fresh = Predictor.load(path)
    with ThreadPoolExecutor(8) as pool:
        for predictor in (fresh, fresh, pickle.loads(pickle.dumps(alone))):
            for got, wanted in zip(pool.map(predictor, calls), expected, strict=True):
                for one, other in zip(got, wanted, strict=True):
                    np.testing.assert_array_equal(one, other)

"""`export.py`: what it writes, what it refuses."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny

from polypseg.errors import InputError
from polypseg.inference.export import TOLERANCE, export, serving_model
from polypseg.inference.formats import NAMES, format_of
from polypseg.inference.predictor import Predictor

# Run folders of the test without digests.
pytestmark = pytest.mark.filterwarnings("ignore::polypseg.errors.Note")
ROOT = Path(__file__).resolve().parent.parent
SIZE = 32
PATHS = {
    "savedmodel": "best_savedmodel",
    "onnx": "best.onnx",
    "openvino": "best.xml",
    "tflite": "best.tflite",
}
kinds = pytest.mark.parametrize("kind", NAMES)


def script(*arguments):
    return subprocess.run(
        [sys.executable, ROOT / "export.py", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )


def require(kind):
    for module in format_of(kind).packages:
        pytest.importorskip(module)


def files(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def stir(model, scale):
    """Leave the symmetry of a new network, whose answers are almost the same everywhere."""
    random = np.random.default_rng(4)
    model.set_weights(
        [
            old if weight.path.endswith("variance") else old + random.normal(0, scale, old.shape)
            for weight, old in zip(model.weights, model.get_weights())
        ]
    )


def run_folder(model, folder):
    """With a network whose answers are neither all 0 nor all 1."""
    stir(model, 0.1)
    model.save(folder / "best.keras")
    (folder / "config.json").write_text('{"data_path": "data"}')
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    import keras

    from polypseg.attention_unet import AttentionUNet

    keras.utils.set_random_seed(4)
    return run_folder(
        AttentionUNet(filters=4, gate_channels=8, input_size=SIZE), tmp_path_factory.mktemp("run")
    )


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    import keras

    keras.utils.set_random_seed(5)
    return run_folder(tiny.Tiny(SIZE, filters=64), tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="module")
def pictures():
    random = np.random.default_rng(5)
    return [
        random.integers(0, 256, (*size, 3), dtype=np.uint8)
        for size in ((45, 61), (32, 32), (20, 77))
    ]


def answers(folder, pictures):
    expected = Predictor.load(folder)(pictures)
    assert all(0.02 < answer.std() for answer in expected), "constants would show nothing"
    return expected


@kinds
def test_a_file_answers_as_the_keras_network(kind, trained, pictures, tmp_path):
    require(kind)
    written = export(trained, kind, tmp_path / PATHS[kind], threshold=0.35)
    assert written.logit_difference <= TOLERANCE["float32"]
    assert sorted(path.name.split(".")[0] for path in tmp_path.iterdir()) == [
        Path(PATHS[kind]).stem
    ] * (2 if kind == "openvino" else 1), "nothing is left beside the file"
    predictor = Predictor.load(written.path)
    assert (predictor.input_size, predictor.threshold, predictor.maps) == (SIZE, 0.35, ("answer",))
    tolerance = 0.03 if "bfloat16" in predictor.engine else 1e-4
    for answer, truth in zip(predictor(pictures), answers(trained, pictures)):
        np.testing.assert_allclose(answer, truth, atol=tolerance)
    with pytest.raises(InputError, match="`overwrite`"):
        export(trained, kind, written.path)


@pytest.mark.parametrize("kind", ["onnx", "openvino", "tflite"])
def test_float16_halves_the_file_and_still_agrees(kind, small, pictures, tmp_path):
    require(kind)
    whole = export(small, kind, tmp_path / PATHS[kind])
    half = export(small, kind, tmp_path / PATHS[kind], precision="float16", overwrite=True)
    weights = 4 * 64 * 25 * 4  # bytes; the graph itself grows by a step a weight
    assert whole.size - half.size > 0.33 * weights
    assert 0 < half.probability_difference and half.logit_difference <= TOLERANCE["float16"]
    for answer, truth in zip(Predictor.load(half.path)(pictures), answers(small, pictures)):
        np.testing.assert_allclose(answer, truth, atol=0.03)


def test_a_file_for_others_gives_probabilities(small, pictures, tmp_path):
    """One output in [0, 1] for float32 RGB in 0..255, with any batch, by ONNX Runtime itself."""
    require("onnx")
    import onnxruntime

    session = onnxruntime.InferenceSession(str(export(small, "onnx", tmp_path / "a.onnx").path))
    (image,), (probability,) = session.get_inputs(), session.get_outputs()
    assert (image.name, image.type, image.shape[1:]) == ("image", "tensor(float)", [SIZE, SIZE, 3])
    assert (probability.name, probability.shape[1:]) == ("probability", [SIZE, SIZE, 1])
    batch = np.stack([pictures[1]] * 3).astype(np.float32)
    out = session.run(None, {"image": batch})[0]
    np.testing.assert_allclose(out[..., 0], np.stack(answers(small, pictures[1:2]) * 3), atol=1e-4)
    description = json.loads(session.get_modelmeta().custom_metadata_map["polypseg"])
    assert description["input_size"] == SIZE and {"keras", "tensorflow", "tf2onnx"} <= set(
        description["versions"]
    )


def test_side_maps_are_left_out_or_named(tmp_path):
    import keras

    from polypseg.pranet import PraNet

    keras.utils.set_random_seed(6)
    model = PraNet("mobilenetv2", channels=8, input_size=64)
    stir(model, 0.05)
    image = np.random.default_rng(6).uniform(0, 255, (1, 64, 64, 3)).astype(np.float32)
    expected = 1 / (1 + np.exp(-np.asarray(model(image, training=False), np.float64)))
    assert (
        np.ptp(expected[..., 3]) > 1e-3 and np.abs(expected[..., 2] - expected[..., 3]).max() > 1e-3
    )
    for all_maps, channels in ((False, slice(3, 4)), (True, slice(0, 4))):
        got = np.asarray(serving_model(model, 64, all_maps, None)(image)["probability"])
        np.testing.assert_allclose(got, expected[..., channels], atol=1e-5)
    assert len(model.maps) == 4 and model.maps[-1] == "answer"


def test_a_file_that_differs_is_refused_and_removed(small, tmp_path, monkeypatch):
    import dataclasses

    from polypseg.inference import export as module
    from polypseg.inference.formats.savedmodel import SavedModelEngine

    class Off(SavedModelEngine):
        def logits(self, batch):
            return super().logits(batch) + 0.02

    old = tmp_path / "model"
    export(small, "savedmodel", old)
    before = files(tmp_path)
    off = dataclasses.replace(format_of("savedmodel"), open=Off)
    monkeypatch.setattr(module, "format_of", lambda name: off)
    with pytest.raises(
        InputError,
        match=r"within 0\.01 of the Keras network's, got a difference of 0\.02.*nothing was "
        r"written",
    ):
        export(small, "savedmodel", old, overwrite=True)
    assert files(tmp_path) == before
    Predictor.load(old)


def test_a_network_that_is_replaced_meanwhile_is_not_exported(small, tmp_path, monkeypatch):
    from polypseg.inference import export as module

    run = Path(shutil.copytree(small, tmp_path / "run"))
    compare = module.compare

    def replace_and_compare(*arguments):
        (run / "best.keras").write_bytes(b"another network")
        return compare(*arguments)

    monkeypatch.setattr(module, "compare", replace_and_compare)
    with pytest.raises(InputError, match="best.keras to stay the same.*nothing was written"):
        export(run, "savedmodel")
    assert files(run) == {"best.keras", "config.json"}


def test_a_package_under_another_name_has_no_version(small, tmp_path, monkeypatch):
    """As onnxruntime-gpu in place of onnxruntime."""
    import importlib.metadata

    require("onnx")
    version = importlib.metadata.version

    def renamed(name):
        if name == "onnxruntime":
            raise importlib.metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(importlib.metadata, "version", renamed)
    path = export(small, "onnx", tmp_path / "a.onnx").path
    import onnx

    (stored,) = onnx.load(path).metadata_props
    assert set(json.loads(stored.value)["versions"]) == {"keras", "tensorflow", "onnx", "tf2onnx"}


def test_the_command(trained, tmp_path):
    require("openvino")
    result = script("--model", trained, "--format", "openvino", "--out", tmp_path / "net.xml")
    assert result.returncode == 0, result.stderr
    assert result.stderr.startswith("export.py: note: ") and result.stderr.count("\n") == 1
    assert files(tmp_path) == {"net.xml", "net.bin"}
    *steps, first, last = result.stdout.splitlines()
    assert "0.01 allowed" in first and str(tmp_path / "net.xml") in last
    assert [step.split()[0] for step in steps] == ["loading", "writing", "comparing"]


def test_each_long_step_is_announced_before_it_begins(small, tmp_path, monkeypatch):
    import dataclasses

    from polypseg.inference import export as module
    from polypseg.inference.formats import keras as of_keras

    happened = []

    def noted(name, function):
        return lambda *arguments: (happened.append(name), function(*arguments))[1]

    form = format_of("savedmodel")
    form = dataclasses.replace(form, write=noted("write", form.write), open=noted("run", form.open))
    monkeypatch.setattr(module, "format_of", lambda name: form)
    monkeypatch.setattr(of_keras, "load_model", noted("load", of_keras.load_model))
    export(small, "savedmodel", tmp_path / "a", progress=lambda step: happened.append(step))
    assert happened[1::2] == ["load", "write", "run"]
    words = [step.split()[0] for step in happened[::2]]
    assert words == ["loading", "writing", "comparing"]
    happened.clear()
    export(small, "savedmodel", tmp_path / "b")
    assert happened == ["load", "write", "run"]


def test_a_missing_package_is_named_before_anything_is_done(trained, monkeypatch):
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: None if name == "tf2onnx" else real(name, *rest),
    )
    with pytest.raises(InputError, match="pip install tf2onnx"):
        export(trained, "onnx")

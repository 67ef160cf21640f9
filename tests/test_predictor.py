"""`Predictor` over every engine, on small networks written by hand, against NumPy."""

import hashlib
import json
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from polypseg.errors import InputError
from polypseg.inference.formats.base import logits_of
from polypseg.inference.predictor import Predictor, sigmoid

ROOT = Path(__file__).resolve().parent.parent
BEFORE = ROOT / "tests" / "data" / "before_rooms"
SIZE = 24
NAMES = ("coarse", "answer")
WEIGHTS = np.float32(
    [[0.02, -0.01, 0.03], [-0.03, 0.05, 0.01]]
)  # maps x RGB: logits of some -8 to 15
BIAS = np.float32([-5.0, 1.0])


def description(maps=2):
    return json.dumps({"input_size": SIZE, "threshold": 0.3, "maps": NAMES[-maps:]})


def write_onnx(path, maps=2, text=None):
    onnx = pytest.importorskip("onnx")
    helper, numpy_helper = onnx.helper, onnx.numpy_helper
    nodes = [
        helper.make_node("MatMul", ["image", "weights"], ["product"]),
        helper.make_node("Add", ["product", "bias"], ["logits"]),
        helper.make_node("Sigmoid", ["logits"], ["probability"]),
    ]
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, ["batch", SIZE, SIZE, 3])],
        [
            helper.make_tensor_value_info(
                "probability", onnx.TensorProto.FLOAT, ["batch", SIZE, SIZE, maps]
            )
        ],
        [
            numpy_helper.from_array(WEIGHTS[-maps:].T.copy(), "weights"),
            numpy_helper.from_array(BIAS[-maps:], "bias"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {"polypseg": description(maps) if text is None else text})
    onnx.save(model, path)


def write_openvino(path, maps=2, text=None):
    openvino = pytest.importorskip("openvino")
    from openvino import opset13 as ops

    image = ops.parameter([-1, SIZE, SIZE, 3], np.float32, name="image")
    product = ops.matmul(image, ops.constant(WEIGHTS[-maps:].T.copy()), False, False)
    logits = ops.add(product, ops.constant(BIAS[-maps:]))
    # Flat and back, since OpenVINO may leave such steps behind the sigmoid.
    flat = ops.sigmoid(ops.reshape(logits, ops.constant(np.int64([-1, SIZE * SIZE * maps])), False))
    shape = ops.constant(np.int64([-1, SIZE, SIZE, maps]))
    model = openvino.Model([ops.reshape(flat, shape, False)], [image], "network")
    model.set_rt_info(description(maps) if text is None else text, "polypseg")
    openvino.save_model(model, path, compress_to_fp16=False)


def write_tflite(path, maps=2, text=None):
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec((1, SIZE, SIZE, 3), tf.float32, name="image")])
    def network(image):
        return tf.sigmoid(image @ WEIGHTS[-maps:].T + BIAS[-maps:])

    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [network.get_concrete_function()], network
    )
    Path(path).write_bytes(converter.convert())
    with zipfile.ZipFile(path, "a") as attached:
        attached.writestr("polypseg.json", description(maps) if text is None else text)


def write_savedmodel(path, maps=2, text=None):
    import tensorflow as tf

    module = tf.Module()
    module.weights = tf.Variable(WEIGHTS[-maps:].T)
    module.serve = tf.function(
        lambda image: {"probability": tf.sigmoid(image @ module.weights + BIAS[-maps:])},
        input_signature=[tf.TensorSpec((None, SIZE, SIZE, 3), tf.float32)],
    )
    tf.saved_model.save(module, str(path))
    (path / "assets.extra").mkdir()
    (path / "assets.extra" / "polypseg.json").write_text(
        description(maps) if text is None else text
    )


KINDS = {
    "onnxruntime": (write_onnx, "network.onnx"),
    "openvino": (write_openvino, "network.xml"),
    "ai_edge_litert": (write_tflite, "network.tflite"),
    "tensorflow": (write_savedmodel, "network"),
}
kinds = pytest.mark.parametrize("package", KINDS)


def written(package, folder, **changes):
    pytest.importorskip(package)
    write, name = KINDS[package]
    write(folder / name, **changes)
    return folder / name


def pictures(count=5):
    """Smooth and noisy, of odd sizes, larger and smaller than the network's."""
    random = np.random.default_rng(3)
    for index, size in zip(range(count), [(61, 75), (48, 40), (17, 90), (12, 16), (100, 60)]):
        picture = random.integers(0, 256, (4, 5, 3) if index % 2 else (*size, 3), dtype=np.uint8)
        yield cv2.resize(picture, size[::-1], interpolation=cv2.INTER_CUBIC)


def by_hand(picture):
    """`(H, W, 2)` float64: by area or bilinearly to the network, logits, bilinearly back,
    sigmoid.
    """
    shrinks = min(picture.shape[:2]) >= SIZE
    small = cv2.resize(
        picture, (SIZE, SIZE), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    )
    logits = small.astype(np.float64) @ WEIGHTS.T + BIAS
    height, width = picture.shape[:2]

    def weights(out):
        position = np.clip((np.arange(out) + 0.5) * SIZE / out - 0.5, 0, SIZE - 1)
        return np.maximum(0, 1 - np.abs(position[:, None] - np.arange(SIZE)))

    logits = np.einsum("ih,hwc,jw->ijc", weights(height), logits, weights(width))
    return 1 / (1 + np.exp(-logits))


@kinds
def test_probabilities_are_those_computed_by_hand(package, tmp_path):
    predictor = Predictor.load(written(package, tmp_path))
    assert (predictor.input_size, predictor.threshold, predictor.maps) == (SIZE, 0.3, NAMES)
    images = list(pictures())
    answers, maps = predictor(images), predictor.all_maps(images)
    alone = [predictor([image])[0] for image in images]
    exact = "bfloat16" not in predictor.engine
    for image, answer, both, single in zip(images, answers, maps, alone):
        expected = by_hand(image)
        assert answer.dtype == both.dtype == np.float32
        assert expected[..., 1].std() > 0.01, "a constant would show nothing"
        np.testing.assert_allclose(both, expected, atol=2e-5 if exact else 0.02)
        np.testing.assert_array_equal(answer, both[..., 1])
        np.testing.assert_allclose(single, answer, atol=1e-6)
    assert predictor([]) == []


@kinds
def test_a_file_with_the_answer_only(package, tmp_path):
    predictor = Predictor.load(written(package, tmp_path, maps=1))
    image = next(pictures())
    np.testing.assert_allclose(predictor([image])[0], by_hand(image)[..., 1], atol=0.02)
    assert predictor.maps == ("answer",)
    with pytest.raises(ValueError, match="expected a network with side outputs"):
        predictor.all_maps([image])


@kinds
@pytest.mark.parametrize("text", ["", "[]", '{"input_size": 24}'])
def test_a_foreign_file_is_refused(package, text, tmp_path):
    with pytest.raises(
        InputError, match="model: expected a file written by export.py, got .*network"
    ) as caught:
        Predictor.load(written(package, tmp_path, text=text))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("package", ["onnxruntime", "openvino", "ai_edge_litert"])
def test_a_damaged_file_is_refused_in_one_line(package, tmp_path):
    path = written(package, tmp_path)
    whole = path.read_bytes()
    for content in (b"", b"hello", whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(InputError, match="model: expected a .*, got .*network") as caught:
            Predictor.load(path)
        assert "\n" not in str(caught.value)


def test_openvino_without_its_weights(tmp_path):
    path = written("openvino", tmp_path)
    path.with_suffix(".bin").unlink()
    with pytest.raises(InputError, match="expected a complete .xml file"):
        Predictor.load(path)


@pytest.mark.parametrize(
    "name, word",
    [
        ("absent.onnx", "does not exist"),
        ("absent", "does not exist"),
        ("notes.txt", "got .*notes.txt"),
        ("network.bin", "xml"),
        ("empty", "with none inside"),
        ("network.keras", "expected a .keras file"),
    ],
)
def test_what_is_not_a_model(name, word, tmp_path):
    (tmp_path / "empty").mkdir()
    for file in ("notes.txt", "network.bin", "network.keras"):
        (tmp_path / file).write_text("hello")
    with pytest.raises(InputError, match=word) as caught:
        Predictor.load(tmp_path / name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("package", ["onnxruntime", "openvino", "ai_edge_litert"])
def test_a_missing_package_is_named(package, tmp_path, monkeypatch):
    path = written(package, tmp_path)
    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=f"pip install {package.replace('_', '-')}"):
        Predictor.load(path)


@pytest.mark.parametrize("package", ["onnxruntime", "openvino", "ai_edge_litert"])
def test_these_engines_import_neither_tensorflow_nor_keras(package, tmp_path):
    path = written(package, tmp_path)
    program = (
        "import sys, numpy\nfrom polypseg.inference.predictor import Predictor\n"
        "Predictor.load(sys.argv[1])([numpy.zeros((40, 30, 3), 'uint8')] * 2)\n"
        "assert not {'tensorflow', 'keras'} & set(sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", program, path], cwd=ROOT, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr


def test_sigmoid_and_its_inverse():
    x = np.float32([-200, -80, -16, -9.5, -1e-3, 0, 0.7, 9.5, 80, 200])
    expected = 1 / (1 + np.exp(-x.astype(np.float64).clip(-80, 80)))
    np.testing.assert_allclose(sigmoid(x.copy()), expected, rtol=1e-6)
    z = np.linspace(-15, 9, 999, dtype=np.float32).reshape(3, 333)
    back = logits_of((1 / (1 + np.exp(-z.astype(np.float64)))).astype(np.float32))
    # Half a unit in the last place of p, 2**-25 near 1, is worth 2**-25 / (1 - p).
    np.testing.assert_allclose(back, z, atol=1e-5 + 2**-24 * (1 + np.exp(9.0)))
    assert np.isfinite(logits_of(np.float32([[0.0, 1.0]]))).all()


def test_a_network_that_was_replaced_since_has_no_digest(tmp_path):
    with tarfile.open(BEFORE / "exports.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    path = tmp_path / "attention_unet.onnx"
    predictor = Predictor.load(path)
    content = path.read_bytes()
    first = hashlib.blake2b(content, digest_size=8).hexdigest()
    assert predictor.digest == hashlib.blake2b(first.encode(), digest_size=8).hexdigest()
    (tmp_path / "new").write_bytes(content + b" ")
    os.replace(tmp_path / "new", path)
    with pytest.raises(InputError, match="model: expected the files of .*onnx to stay the same"):
        predictor.digest  # noqa: B018

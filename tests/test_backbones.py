"""Res2Net50: its block against the formula in float64, its weights from a file.

Run as a program, `test_backbones.py FILE`, it computes the blocks of FILE under another backend.
"""

import importlib.util
import os
import subprocess
import sys
import warnings
from pathlib import Path

import keras
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from polypseg.layers.features import build_backbone
from polypseg.layers.res2net import Res2NetBlock

BLOCKS = {  # arguments, size of the input: even and odd
    "first": ({"width": 3, "filters": 10, "first": True}, (2, 8, 6, 7)),
    "first_strided": ({"width": 3, "filters": 10, "strides": 2, "first": True}, (2, 8, 6, 7)),
    "first_strided_odd": ({"width": 2, "filters": 5, "strides": 2, "first": True}, (1, 9, 7, 4)),
    "later": ({"width": 3, "filters": 7}, (2, 5, 6, 7)),
}


def drawn(arguments, shape, seed):
    """A block with drawn weights, all its statistics among them, and an input."""
    rng = np.random.default_rng(seed)
    block = Res2NetBlock(**arguments)
    block.build(shape)
    for variable in block.variables:
        low, high = (0.5, 1.5) if variable.path.endswith(("gamma", "variance")) else (-0.6, 0.6)
        variable.assign(rng.uniform(low, high, variable.shape))
    return block, rng.normal(size=shape).astype("float32")


def conv_bn(layer, x, strides=1, relu=False):
    """In float64, from the definition: symmetric zero padding, kernel as a sum over its taps."""
    kernel, gamma, beta, mean, variance = (w.astype("float64") for w in layer.get_weights())
    size = kernel.shape[0]
    x = np.pad(x, ((0, 0), (size // 2,) * 2, (size // 2,) * 2, (0, 0)))
    height, width = ((n - size) // strides + 1 for n in x.shape[1:3])
    y = sum(
        x[:, i : i + strides * height : strides, j : j + strides * width : strides][
            :, :height, :width
        ]
        @ kernel[i, j]
        for i in range(size)
        for j in range(size)
    )
    y = (y - mean) / np.sqrt(variance + 1e-5) * gamma + beta
    return np.maximum(y, 0) if relu else y


def expected(block, x):
    """Res2NetBlock from the paper's figure and the authors' choice of pooling."""
    strides, w = block.strides, block.width
    x = x.astype("float64")
    y = conv_bn(block.reduce, x, relu=True)
    parts = []
    for i, scale in enumerate(block.scales):
        part = y[..., i * w : (i + 1) * w]
        if i and not block.first:
            part = part + parts[-1]
        parts.append(conv_bn(scale, part, strides, relu=True))
    last, shortcut = y[..., 3 * w :], x
    if block.first:
        rows, columns = (-(-n // strides) for n in x.shape[1:3])
        padded = np.pad(last, ((0, 0), (1, 1), (1, 1), (0, 0)))
        last, pooled = (
            np.empty((len(x), rows, columns, w)),
            np.empty((len(x), rows, columns, x.shape[-1])),
        )
        for i in range(rows):
            for j in range(columns):
                last[:, i, j] = (
                    padded[:, i * strides : i * strides + 3, j * strides : j * strides + 3].sum(
                        (1, 2)
                    )
                    / 9
                )
                pooled[:, i, j] = x[
                    :, i * strides : (i + 1) * strides, j * strides : (j + 1) * strides
                ].mean((1, 2))
        shortcut = conv_bn(block.shortcut, pooled)
    return np.maximum(conv_bn(block.expand, np.concatenate([*parts, last], -1)) + shortcut, 0)


@pytest.mark.parametrize("name", BLOCKS)
def test_block_equals_the_formula(name):
    block, x = drawn(*BLOCKS[name], seed=6)
    y = block(x, training=False)
    assert tuple(y.shape) == tuple(block.compute_output_shape(x.shape))
    np.testing.assert_allclose(y, expected(block, x), atol=1e-5)


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_block_under_other_backends(backend, tmp_path):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    result = subprocess.run(
        [sys.executable, __file__, tmp_path / "blocks.npz"],
        capture_output=True,
        text=True,
        env=os.environ | {"KERAS_BACKEND": backend, "CUDA_VISIBLE_DEVICES": ""},
    )
    assert result.returncode == 0, result.stderr[-2000:]
    with np.load(tmp_path / "blocks.npz") as blocks:
        for name, arguments in BLOCKS.items():
            np.testing.assert_allclose(
                blocks[name], expected(*drawn(*arguments, seed=7)), atol=1e-5
            )


@pytest.mark.parametrize("name", BLOCKS)
def test_gradients_reach_every_weight_of_a_block(name):
    import tensorflow as tf

    block, x = drawn(*BLOCKS[name], seed=8)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(block(x, training=True) ** 3)
    gradients = tape.gradient(loss, [weight.value for weight in block.trainable_weights])
    assert len(gradients) == (18 if block.first else 15)
    assert all(np.abs(gradient).max() > 0 for gradient in gradients)


def test_block_in_bfloat16():
    block, x = drawn(*BLOCKS["first_strided"], seed=9)
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        half = Res2NetBlock(**BLOCKS["first_strided"][0])
        half.build(x.shape)
    finally:
        keras.config.set_dtype_policy("float32")
    half.set_weights(block.get_weights())
    y = half(x)
    assert keras.backend.standardize_dtype(y.dtype) == "bfloat16"
    np.testing.assert_allclose(
        np.asarray(y, "float32"), block(x), atol=0.05 * np.abs(block(x)).max()
    )


def test_block_config_round_trip():
    block = Res2NetBlock(4, 9, strides=2, first=True, name="b")
    config = keras.saving.serialize_keras_object(block)
    again = keras.saving.deserialize_keras_object(config)
    assert keras.saving.serialize_keras_object(again) == config
    assert (again.width, again.filters, again.strides, again.first) == (4, 9, 2, True)


@pytest.fixture(scope="module")
def backbone():
    return build_backbone("res2net50")


def test_res2net50_normalises_and_returns_strides_8_16_32(backbone):
    image = np.random.default_rng(1).uniform(0, 255, (1, 64, 96, 3)).astype("float32")
    outputs = backbone(image)
    assert [tuple(y.shape) for y in outputs] == [(1, 8, 12, 512), (1, 4, 6, 1024), (1, 2, 3, 2048)]
    normalised = (image / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    for mine, theirs in zip(outputs, backbone.get_layer("features")(normalised.astype("float32"))):
        np.testing.assert_allclose(mine, theirs, atol=1e-4 * np.abs(theirs).max())


def test_weights_of_a_file(backbone, tmp_path):
    file = tmp_path / "res2net50.weights.h5"
    backbone.get_layer("features").save_weights(file)
    network = build_backbone("res2net50", str(file))
    assert len(network.weights) == len(backbone.weights)
    for mine, theirs in zip(network.get_weights(), backbone.get_weights()):
        np.testing.assert_array_equal(mine, theirs)


def test_wrong_weights(backbone, tmp_path):
    with pytest.raises(ValueError, match="expected a file .*convert.py.* got absent.h5"):
        build_backbone("res2net50", "absent.h5")
    other = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    other.save_weights(tmp_path / "other.weights.h5")
    with pytest.raises(ValueError, match="other.weights.h5, which does not fit"):
        build_backbone("res2net50", tmp_path / "other.weights.h5")
    with pytest.raises(
        ValueError,
        match="expected a file .* got imagenet, .*; make a file with convert.py",
    ):
        build_backbone("res2net50", "imagenet")


def test_downloaded_weights_load_without_the_warning_of_keras(tmp_path, monkeypatch):
    """In place of the download there is a file of drawn weights."""
    arguments = {"input_shape": (None, None, 3), "include_top": False}
    network = keras.applications.MobileNetV2(**arguments, weights=None)
    file = tmp_path / "mobilenetv2.weights.h5"
    network.save_weights(file)
    get_file = "keras.src.applications.mobilenet_v2.file_utils.get_file"
    monkeypatch.setattr(get_file, lambda *args, **kwargs: str(file))
    with pytest.warns(UserWarning, match="`input_shape` is undefined or non-square"):
        keras.applications.MobileNetV2(**arguments, weights="imagenet")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        backbone = build_backbone("mobilenetv2", "imagenet")
    assert not [str(warning.message) for warning in caught if warning.category is UserWarning]
    kernel = network.get_layer("Conv1").kernel
    np.testing.assert_array_equal(
        backbone.get_layer("features").get_layer("Conv1").kernel, np.array(kernel)
    )


if __name__ == "__main__":
    results = {}
    for name, arguments in BLOCKS.items():
        block, x = drawn(*arguments, seed=7)
        results[name] = keras.ops.convert_to_numpy(block(x, training=False))
    np.savez(sys.argv[1], **results)

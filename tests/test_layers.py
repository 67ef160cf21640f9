"""The shared layers against Keras's own and against formulas."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from polypseg.layers import BatchNorm, ConvBN, Normalize, Upsample
from polypseg.pranet.model import Quarter

rng = np.random.default_rng(5)


def random(*shape):
    return rng.normal(1.0, 3.0, shape).astype("float32")


@pytest.mark.parametrize("compiled", [False, True])
def test_fused_batch_norm_equals_kerass_layer(compiled):
    ours, plain = (
        BatchNorm(momentum=0.8),
        keras.layers.BatchNormalization(momentum=0.8, epsilon=1e-5),
    )
    weights = [random(6), random(6), random(6), np.abs(random(6))]
    x, upstream = tf.constant(random(3, 5, 7, 6)), tf.constant(random(3, 5, 7, 6))
    results = []
    for layer in (ours, plain):
        layer.build(x.shape)
        layer.set_weights(weights)

        def step(x, layer=layer):
            with tf.GradientTape() as tape:
                tape.watch(x)
                y = layer(x, training=True)
            return y, tape.gradient(y, [x, *layer.trainable_weights], output_gradients=upstream)

        y, gradients = (tf.function(step) if compiled else step)(x)
        results.append([y, *gradients, *layer.non_trainable_weights, layer(x, training=False)])
    for mine, theirs in zip(*results, strict=True):
        mine, theirs = np.asarray(mine), np.asarray(theirs)
        np.testing.assert_allclose(mine, theirs, atol=1e-5 * max(1.0, np.abs(theirs).max()))


def test_the_fused_kernel_is_what_runs():
    layer = BatchNorm()
    layer.build((None, None, None, 4))
    graph = tf.function(lambda x: layer(x, training=True)).get_concrete_function(
        tf.TensorSpec((2, 8, 8, 4))
    )
    names = {op.type for op in graph.graph.get_operations()}
    assert "FusedBatchNormV3" in names


def test_frozen_batch_norm_keeps_its_statistics():
    layer = BatchNorm()
    layer.build((None, 4, 4, 2))
    layer.trainable = False
    x = random(2, 4, 4, 2)
    np.testing.assert_allclose(layer(x, training=True), x / np.sqrt(1 + 1e-5), rtol=1e-5)
    np.testing.assert_array_equal(layer.moving_mean, [0, 0])


def bilinear(signal, positions):
    """Linear interpolation of the rows of `(n, ...)`, clamped at the ends."""
    positions = np.clip(positions, 0, len(signal) - 1)
    low = np.minimum(np.floor(positions).astype(int), max(len(signal) - 2, 0))
    high = np.minimum(low + 1, len(signal) - 1)
    part = (positions - low).reshape(-1, *[1] * (signal.ndim - 1))
    return signal[low] * (1 - part) + signal[high] * part


@pytest.mark.parametrize("factor, height, width", [(2, 5, 7), (8, 3, 1), (32, 2, 3)])
@pytest.mark.parametrize("align_corners", [False, True])
def test_upsample(factor, height, width, align_corners):
    x = random(2, height, width, 3)
    expected = x.astype("float64")
    for axis, size in ((1, height), (2, width)):
        out = np.arange(factor * size)
        if align_corners:
            positions = out * (size - 1) / (factor * size - 1)
        else:
            positions = (out + 0.5) / factor - 0.5
        expected = np.moveaxis(bilinear(np.moveaxis(expected, axis, 0), positions), 0, axis)
    result = Upsample(factor, align_corners)(x)
    np.testing.assert_allclose(result, expected, atol=1e-5)
    if not align_corners:
        keras_layer = keras.layers.UpSampling2D(factor, interpolation="bilinear")
        np.testing.assert_allclose(result, keras_layer(x), atol=1e-5)


def test_resizing_equals_pytorchs():
    torch = pytest.importorskip("torch")
    x = random(2, 12, 20, 3)

    def interpolate(**kwargs):
        y = torch.nn.functional.interpolate(
            torch.tensor(x).permute(0, 3, 1, 2), mode="bilinear", **kwargs
        )
        return y.permute(0, 2, 3, 1).numpy()

    np.testing.assert_allclose(Quarter()(x), interpolate(scale_factor=0.25), atol=1e-5)
    np.testing.assert_allclose(Upsample(8)(x), interpolate(scale_factor=8), atol=1e-5)
    np.testing.assert_allclose(
        Upsample(2, align_corners=True)(x),
        interpolate(scale_factor=2, align_corners=True),
        atol=1e-5,
    )


def test_upsample_works_on_unknown_sizes_and_in_half_precision():
    layer = Upsample(4)
    function = tf.function(
        layer, input_signature=[tf.TensorSpec((None, None, None, 2), tf.float32)]
    )
    x = random(1, 3, 5, 2)
    np.testing.assert_allclose(function(x), layer(x), atol=1e-6)
    half = layer(tf.cast(x, tf.bfloat16))
    assert half.dtype == tf.float32


def test_quarter_is_the_mean_of_the_four_middle_pixels():
    x = random(1, 8, 12, 2)
    expected = [
        [x[0, 4 * i + 1 : 4 * i + 3, 4 * j + 1 : 4 * j + 3].mean((0, 1)) for j in range(3)]
        for i in range(2)
    ]
    np.testing.assert_allclose(Quarter()(x)[0], expected, atol=1e-6)


def test_normalize():
    x = rng.uniform(0, 255, (2, 3, 5, 3)).astype("float32")
    np.testing.assert_allclose(Normalize()(x), x / 255, atol=1e-6)
    caffe = Normalize(mean=[1.0, 2.0, 3.0], std=[4.0, 5.0, 6.0], reverse_channels=True)(x)
    np.testing.assert_allclose(caffe[..., 0], (x[..., 2] - 1.0) / 4.0, atol=1e-5)
    np.testing.assert_allclose(caffe[..., 2], (x[..., 0] - 3.0) / 6.0, atol=1e-5)


@pytest.mark.parametrize(
    "layer",
    [
        BatchNorm(momentum=0.7),
        ConvBN(5, (1, 3), dilation_rate=2, activation="relu"),
        Normalize([1.0, 2.0, 3.0], 4.0, True),
        Upsample(4, True),
        Quarter(),
    ],
)
def test_config_round_trip(layer):
    config = keras.saving.serialize_keras_object(layer)
    again = keras.saving.deserialize_keras_object(config)
    assert keras.saving.serialize_keras_object(again) == config
    x = random(1, 8, 8, 3)
    layer(x), again(x)
    again.set_weights(layer.get_weights())
    np.testing.assert_allclose(layer(x), again(x), atol=1e-6)

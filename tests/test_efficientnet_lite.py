"""EfficientNet-Lite from a checkpoint, against its forward pass in float64 from the definition."""

import keras
import numpy as np
import pytest

from polypseg.errors import InputError
from polypseg.layers.efficientnet_lite import CLASSIFIER, lite_from
from polypseg.layers.features import build_backbone
from polypseg.pranet import convert

STRIDES = (2, 4, 8, 16, 32)
# Of each block: kernel size, strides, expansion, output channels. The strided convolutions are
# padded by these rows before and after: TensorFlow's "same" at 224 and at 260 px.
LITE0 = (
    [(3, 1, 1, 16)]
    + [(3, 2, 6, 24), (3, 1, 6, 24)]
    + [(5, 2, 6, 40), (5, 1, 6, 40)]
    + [(3, 2, 6, 80)] + [(3, 1, 6, 80)] * 2
    + [(5, 1, 6, 112)] * 3
    + [(5, 2, 6, 192)] + [(5, 1, 6, 192)] * 3
    + [(3, 1, 6, 320)]
)  # fmt: skip
LITE2 = (
    [(3, 1, 1, 16)]
    + [(3, 2, 6, 24)] + [(3, 1, 6, 24)] * 2
    + [(5, 2, 6, 48)] + [(5, 1, 6, 48)] * 2
    + [(3, 2, 6, 88)] + [(3, 1, 6, 88)] * 3
    + [(5, 1, 6, 120)] * 4
    + [(5, 2, 6, 208)] + [(5, 1, 6, 208)] * 4
    + [(3, 1, 6, 352)]
)  # fmt: skip
NETWORKS = {
    "efficientnet_lite0": (LITE0, 224, (0, 2, 4, 10)),
    "efficientnet_lite2": (LITE2, 260, (0, 3, 6, 14)),
}


def drawn(blocks):
    """A state dict of random weights with the published keys, and a classifier."""
    rng = np.random.default_rng(5)
    state = {}

    def conv(key, *shape):
        state[key + ".weight"] = rng.normal(size=shape) * np.sqrt(2 / np.prod(shape[1:]))

    def norm(key, channels):
        state[key + ".weight"] = rng.uniform(0.5, 1.5, channels)
        state[key + ".bias"] = rng.normal(size=channels)
        state[key + ".running_mean"] = rng.normal(size=channels) / 2
        state[key + ".running_var"] = rng.uniform(0.5, 1.5, channels)

    conv("_conv_stem", 32, 3, 3, 3)
    norm("_bn0", 32)
    channels = 32
    for number, (size, _, expansion, out) in enumerate(blocks):
        block, wide = f"_blocks.{number}.", channels * expansion
        if expansion > 1:
            conv(block + "_expand_conv", wide, channels, 1, 1)
            norm(block + "_bn0", wide)
        conv(block + "_depthwise_conv", wide, 1, size, size)
        norm(block + "_bn1", wide)
        conv(block + "_project_conv", out, wide, 1, 1)
        norm(block + "_bn2", out)
        channels = out
    conv("_conv_head", 1280, channels, 1, 1)
    norm("_bn1", 1280)
    conv("_fc", 1000, 1280)
    state["_fc.bias"] = np.zeros(1000)
    return {key: array.astype("float32") for key, array in state.items()}


def expected(state, blocks, native, taps, image):
    """The outputs of the blocks `taps` and of the head, in float64."""
    state = {key: array.astype("float64") for key, array in state.items()}

    def same(size, kernel, strides):
        total = max((-(-size // strides) - 1) * strides + kernel - size, 0)
        return total // 2, total - total // 2

    def conv(x, key, strides=1, native=0):
        weight = state[key + ".weight"]  # (out, in, k, k), or (C, 1, k, k)
        size = weight.shape[-1]
        sides = same(native, size, strides) if strides > 1 else (size // 2, size // 2)
        x = np.pad(x, ((0, 0), sides, sides, (0, 0)))
        height, width = ((n - size) // strides + 1 for n in x.shape[1:3])
        y = 0
        for i in range(size):
            for j in range(size):
                part = x[:, i : i + strides * height : strides, j : j + strides * width : strides]
                part = part[:, :height, :width]
                tap = weight[:, :, i, j]
                depthwise = "depthwise" in key
                y = y + (part * tap[:, 0] if depthwise else part @ tap.T)
        return y

    def norm(x, key):
        weight, bias, mean, variance = (
            state[f"{key}.{name}"] for name in ("weight", "bias", "running_mean", "running_var")
        )
        return (x - mean) / np.sqrt(variance + 1e-3) * weight + bias

    def relu6(x):
        return np.clip(x, 0, 6)

    x = relu6(norm(conv((image - 127.0) / 128.0, "_conv_stem", 2, native), "_bn0"))
    native = -(-native // 2)
    found = []
    for number, (_, strides, expansion, _) in enumerate(blocks):
        block, y = f"_blocks.{number}.", x
        if expansion > 1:
            y = relu6(norm(conv(y, block + "_expand_conv"), block + "_bn0"))
        y = relu6(norm(conv(y, block + "_depthwise_conv", strides, native), block + "_bn1"))
        y = norm(conv(y, block + "_project_conv"), block + "_bn2")
        native = -(-native // strides)
        x = x + y if x.shape == y.shape else y
        if number in taps:
            found.append(x)
    return [*found, relu6(norm(conv(x, "_conv_head"), "_bn1"))]


@pytest.mark.parametrize("name", NETWORKS)
def test_a_converted_checkpoint_gives_the_features(name, tmp_path):
    safetensors = pytest.importorskip("safetensors.numpy")
    blocks, native, taps = NETWORKS[name]
    state = drawn(blocks)
    safetensors.save_file(state, tmp_path / "lite.safetensors")
    file = tmp_path / "lite.weights.h5"
    assert convert.convert(tmp_path / "lite.safetensors", file) == (
        f"{file}: {name}, {len(state) - 2} arrays; left out, because a backbone has no "
        "classifier: _fc.bias, _fc.weight"
    )
    backbone = build_backbone(name, file, STRIDES)
    image = np.random.default_rng(6).uniform(0, 255, (1, 64, 96, 3)).astype("float32")
    features = backbone(image, training=False)
    for mine, theirs in zip(features, expected(state, blocks, native, taps, image), strict=True):
        assert mine.shape == theirs.shape
        np.testing.assert_allclose(mine, theirs, atol=1e-4 * np.abs(theirs).max())


def test_faults_of_a_checkpoint_are_listed(tmp_path, monkeypatch):
    state = drawn(LITE0)
    counts = {f"{key}.num_batches_tracked": np.array(3) for key in ("_bn0", "_blocks.3._bn1")}
    assert len(lite_from(state | counts).weights) == len(state) - len(CLASSIFIER)
    del state["_bn1.bias"]
    state["_blocks.0._se_reduce.weight"] = np.zeros((8, 32, 1, 1), "float32")
    state["_blocks.2._depthwise_conv.weight"] = np.zeros((144, 1, 5, 5), "float32")
    monkeypatch.setattr(convert, "_read_state_dict", lambda path: state)
    (tmp_path / "a.safetensors").touch()
    with pytest.raises(InputError) as caught:
        convert.convert(tmp_path / "a.safetensors", tmp_path / "a.weights.h5")
    assert str(caught.value).startswith(
        "FILE: expected the 245 keys of EfficientNet-Lite0, got 1 missing: _bn1.bias; "
        "1 unknown: _blocks.0._se_reduce.weight; 1 of another shape: "
        "_blocks.2._depthwise_conv.weight (144, 1, 5, 5) instead of (144, 1, 3, 3) in "
    )
    assert not (tmp_path / "a.weights.h5").exists()
    with pytest.raises(InputError, match="ends in .weights.h5 for an EfficientNet-Lite backbone"):
        convert.convert(tmp_path / "a.safetensors", tmp_path / "a.keras")


def test_weights_of_the_other_variant_do_not_fit(tmp_path):
    keras.utils.set_random_seed(0)
    build_backbone("efficientnet_lite0").get_layer("features").save_weights(
        tmp_path / "a.weights.h5"
    )
    with pytest.raises(InputError, match="made of an EfficientNet-Lite2 checkpoint, .* not fit"):
        build_backbone("efficientnet_lite2", tmp_path / "a.weights.h5")
    with pytest.raises(InputError, match="got imagenet, which Keras does not have for effic"):
        build_backbone("efficientnet_lite2", "imagenet")

"""EfficientNet-Lite, for processors without fast squeeze-and-excitation and swish.

Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML 2019,
arXiv:1905.11946, in the Lite form of Google's TPU repository: ReLU6, no squeeze-and-excitation,
and the same stem and head in every variant. In training, the authors drop the residual of a block
at random (drop connect); this is left out here.

Convolutions with strides are padded as TensorFlow's "same" pads them at the size at which the
weights were trained, 224 px for Lite0 and 260 px for Lite2. Keras's "same" would pad other sides
of Lite2 at sizes that are multiples of 32, and its features would be shifted.
"""

import math
from collections.abc import Mapping

import keras
import numpy as np
from keras import layers

from .batch_norm import BatchNorm
from .state_dict import Depthwise, Keys, Unused, assign, conv_keys, norm_keys
from .types import Tensor

# Blocks, kernel size, strides of the first block, expansion, filters. The first and the last stage
# have one block at every depth.
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
STEM, HEAD = 32, 1280  # filters

CLASSIFIER = ("_fc.weight", "_fc.bias")


def efficientnet_lite0() -> keras.Model:
    """Build EfficientNet-Lite0: 16 blocks; 40, 112 and 1280 channels at strides 8, 16 and 32."""
    return _build(1.0, 1.0, 224, "efficientnet_lite0")


def efficientnet_lite2() -> keras.Model:
    """Build EfficientNet-Lite2: 21 blocks; 48, 120 and 1280 channels at strides 8, 16 and 32."""
    return _build(1.1, 1.2, 260, "efficientnet_lite2")


def _build(width: float, depth: float, size: int, name: str) -> keras.Model:
    """A model with random weights from normalised RGB `(B, H, W, 3)` to `(B, H/32, W/32, 1280)`.

    Args:
        width: factor of the filters of all blocks.
        depth: factor of the number of blocks of all stages but the first and the last.
        size: height and width in pixels for which the convolutions with strides are padded.
        name: name of the model.
    """
    image = keras.Input((None, None, 3), name="image")
    x = _pad(image, size, 3, "stem")
    x = layers.Conv2D(STEM, 3, 2, use_bias=False, name="stem_conv")(x)
    x = _norm_relu6(x, "stem")
    size = math.ceil(size / 2)
    number = 0
    for stage, (blocks, kernel_size, strides, expansion, filters) in enumerate(STAGES):
        if 0 < stage < len(STAGES) - 1:
            blocks = math.ceil(blocks * depth)
        for block in range(blocks):
            halve = strides == 2 and not block
            x = _block(
                x,
                kernel_size,
                size if halve else None,
                expansion,
                _multiple_of_8(filters * width),
                f"block{number}",
            )
            size = math.ceil(size / 2) if halve else size
            number += 1
    x = layers.Conv2D(HEAD, 1, use_bias=False, name="head_conv")(x)
    x = _norm_relu6(x, "head")
    return keras.Model(image, x, name=name)


def _block(
    x: Tensor, kernel_size: int, halved: int | None, expansion: int, filters: int, name: str
) -> Tensor:
    """Inverted residual: 1x1 convolution that expands, depthwise, 1x1 that projects, and skip.

    The depthwise convolution has strides of 2 if `halved` is the size for which it is padded.
    """
    y, channels = x, x.shape[-1]
    if expansion > 1:
        y = layers.Conv2D(channels * expansion, 1, use_bias=False, name=f"{name}_expand_conv")(y)
        y = _norm_relu6(y, f"{name}_expand")
    if halved:
        y = _pad(y, halved, kernel_size, name)
    y = layers.DepthwiseConv2D(
        kernel_size,
        strides=2 if halved else 1,
        padding="valid" if halved else "same",
        use_bias=False,
        name=f"{name}_depthwise_conv",
    )(y)
    y = _norm_relu6(y, f"{name}_depthwise")
    y = layers.Conv2D(filters, 1, use_bias=False, name=f"{name}_project_conv")(y)
    y = BatchNorm(epsilon=1e-3, name=f"{name}_project_norm")(y)
    if not halved and channels == filters:
        y = layers.Add(name=f"{name}_add")([x, y])
    return y


def _pad(x: Tensor, size: int, kernel_size: int, name: str) -> Tensor:
    """Pad as TensorFlow's "same" with strides of 2 pads an input of `size`."""
    total = 2 * (math.ceil(size / 2) - 1) + kernel_size - size
    sides = (total // 2, total - total // 2)
    return layers.ZeroPadding2D((sides, sides), name=f"{name}_pad")(x)


def _norm_relu6(x: Tensor, name: str) -> Tensor:
    return layers.ReLU(6.0, name=f"{name}_relu")(BatchNorm(epsilon=1e-3, name=f"{name}_norm")(x))


def _multiple_of_8(filters: float) -> int:
    """The nearest multiple of 8, but not less than 90 % of `filters`."""
    rounded = max(8, int(filters + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * filters else rounded + 8


def lite_from(state: Mapping[str, np.ndarray]) -> keras.Model:
    """Build EfficientNet-Lite0 or Lite2 with the weights of a state dict of `efficientnet_pytorch`.

    The classifier, `_fc.weight` and `_fc.bias`, and the `num_batches_tracked` of batch norms have
    no effect on the features and are ignored.

    Raises:
        ValueError: keys are missing or unknown, or arrays have another shape or are not finite.
    """
    larger = any(key.startswith("_blocks.16.") for key in state)
    network = efficientnet_lite2() if larger else efficientnet_lite0()
    assign(
        {key: value for key, value in _keys(network).items() if not isinstance(value, Unused)},
        {
            key: array
            for key, array in state.items()
            if key not in CLASSIFIER and not key.endswith(".num_batches_tracked")
        },
        "EfficientNet-Lite2" if larger else "EfficientNet-Lite0",
    )
    return network


def _keys(network: keras.Model) -> Keys:
    """The key of `efficientnet_pytorch` for each variable of a network of this file."""
    layer = {layer.name: layer for layer in network.layers}
    keys = conv_keys("_conv_stem", layer["stem_conv"]) | norm_keys("_bn0", layer["stem_norm"])
    number = 0
    while f"block{number}_project_conv" in layer:
        key, name = f"_blocks.{number}", f"block{number}"
        if f"{name}_expand_conv" in layer:
            keys |= conv_keys(f"{key}._expand_conv", layer[f"{name}_expand_conv"])
            keys |= norm_keys(f"{key}._bn0", layer[f"{name}_expand_norm"])
        depthwise = layer[f"{name}_depthwise_conv"]
        keys[f"{key}._depthwise_conv.weight"] = Depthwise(depthwise.kernel)
        keys |= norm_keys(f"{key}._bn1", layer[f"{name}_depthwise_norm"])
        keys |= conv_keys(f"{key}._project_conv", layer[f"{name}_project_conv"])
        keys |= norm_keys(f"{key}._bn2", layer[f"{name}_project_norm"])
        number += 1
    keys |= conv_keys("_conv_head", layer["head_conv"])
    return keys | norm_keys("_bn1", layer["head_norm"])

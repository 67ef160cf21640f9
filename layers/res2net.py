"""Res2Net50-v1b-26w-4s, the backbone of PraNet's authors.

Gao et al., "Res2Net: A New Multi-scale Backbone Architecture", TPAMI 2021,
arXiv:1904.01169. It is a ResNet that splits the channels of each 3x3 convolution into four groups.
The result of one group is added to the input of the next group. v1b has a stem of three 3x3
convolutions, and average pooling before the 1x1 convolutions of the shortcuts. All padding is
symmetric, as in PyTorch.
"""

from typing import Any

import keras
from keras import layers, ops

from .blocks import ConvBN
from .types import Shape, Tensor

SCALES = 4
BLOCKS = (3, 4, 6, 3)  # number of blocks of the stages at strides 4, 8, 16 and 32


@keras.saving.register_keras_serializable(package="polypseg")
class Res2NetBlock(layers.Layer):
    """1x1 convolution, 3x3 convolutions in four groups, 1x1 convolution, and shortcut.

    `(B, H, W, C)` to `(B, H / strides, W / strides, filters)`, rounded up. Each of the first
    three groups has its own 3x3 convolution. The result of the previous group is added to the input
    of the second and of the third. The fourth group stays as it is.

    The first block of a stage differs: no results are added between the groups. The fourth group
    gets a 3x3 average pooling that includes the zeros of its padding. The shortcut has a 1x1
    convolution.

    Args:
        width: number of channels of each of the four groups.
        filters: number of channels of the output, and of the input unless `first`.
        strides: strides of the 3x3 convolutions and both poolings; 1 unless `first`.
        first: whether this is the first block of a stage.
    """

    def __init__(
        self, width: int, filters: int, strides: int = 1, first: bool = False, **kwargs: Any
    ):
        super().__init__(**kwargs)
        self.width = width
        self.filters = filters
        self.strides = strides
        self.first = first
        self.reduce = ConvBN(SCALES * width, 1, activation="relu", name="reduce")
        self.scales = [
            ConvBN(width, 3, strides=strides, activation="relu", name=f"scale{i + 1}")
            for i in range(SCALES - 1)
        ]
        self.expand = ConvBN(filters, 1, name="expand")
        if first:
            self.pad = layers.ZeroPadding2D(1, name="pad")
            self.pool = layers.AveragePooling2D(3, strides, name="pool")
            # "same" pads an odd size at the end, and the mean does not include the padding. This is
            # PyTorch's ceil_mode=True with count_include_pad=False.
            self.shortcut_pool = layers.AveragePooling2D(
                strides, padding="same", name="shortcut_pool"
            )
            self.shortcut = ConvBN(filters, 1, name="shortcut")

    def build(self, input_shape: Shape) -> None:
        *space, _ = input_shape
        self.reduce.build(input_shape)
        for scale in self.scales:
            scale.build((*space, self.width))
        self.expand.build((*space, SCALES * self.width))
        if self.first:
            self.shortcut.build(input_shape)

    def call(self, x: Tensor, training: bool | None = None) -> Tensor:
        groups = ops.split(self.reduce(x, training=training), SCALES, axis=-1)
        outputs: list[Tensor] = []
        for group, scale in zip(groups, self.scales):
            if outputs and not self.first:
                group = group + outputs[-1]
            outputs.append(scale(group, training=training))
        outputs.append(self.pool(self.pad(groups[-1])) if self.first else groups[-1])
        y = self.expand(ops.concatenate(outputs, axis=-1), training=training)
        if self.first:
            x = self.shortcut(self.shortcut_pool(x), training=training)
        return ops.relu(y + x)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        batch, height, width, _ = input_shape
        return (
            batch,
            height and -(-height // self.strides),
            width and -(-width // self.strides),
            self.filters,
        )

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "width": self.width,
            "filters": self.filters,
            "strides": self.strides,
            "first": self.first,
        }


def res2net50() -> keras.Model:
    """Build a Res2Net50 with random weights and without the classifier.

    Returns:
        a model from normalised RGB `(B, H, W, 3)` to the features of the last stage,
        `(B, H/32, W/32, 2048)`.
    """
    image = keras.Input((None, None, 3), name="image")
    x = ConvBN(32, 3, strides=2, activation="relu", name="stem1")(image)
    x = ConvBN(32, 3, activation="relu", name="stem2")(x)
    x = ConvBN(64, 3, activation="relu", name="stem3")(x)
    # PyTorch pads with -inf. After a ReLU, padding with zeros gives the same maximum.
    x = layers.ZeroPadding2D(1, name="pool_pad")(x)
    x = layers.MaxPooling2D(3, 2, name="pool")(x)  # stride 4
    for stage, blocks in enumerate(BLOCKS):
        for block in range(blocks):
            x = Res2NetBlock(
                width=26 * 2**stage,
                filters=256 * 2**stage,
                strides=2 if stage and not block else 1,
                first=not block,
                name=f"stage{stage + 1}_block{block + 1}",
            )(x)
    return keras.Model(image, x, name="res2net50")

"""The three parts of PraNet: receptive field block, partial decoder and reverse attention.

Fan et al., "PraNet: Parallel Reverse Attention Network for Polyp Segmentation",
MICCAI 2020, arXiv:2006.11392. As in the authors' code, a convolution is followed by batch norm. A
ReLU follows only the sum of the receptive field block and the inner convolutions of reverse
attention.
"""

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers, ops

from polypseg.layers import ConvBN, Upsample
from polypseg.layers.types import Shape, Tensor

register = keras.saving.register_keras_serializable(package="polypseg")


@register
class RFB(layers.Layer):
    """Receptive field block: four parallel branches, concatenated and reduced to `channels`.

    `(B, H, W, C)` to `(B, H, W, channels)`. One branch is a 1x1 convolution. For k = 3, 5 and 7
    there is a branch of four convolutions: 1x1, 1xk, kx1, and 3x3 with dilation k. Liu et al.,
    "Receptive Field Block Net", ECCV 2018, as modified by Wu et al., "Cascaded Partial Decoder",
    CVPR 2019.

    Args:
        channels: number of channels of all convolutions and of the output.
    """

    def __init__(self, channels: int = 32, **kwargs: Any):
        super().__init__(**kwargs)
        self.channels = channels
        self.branches = [[ConvBN(channels, 1, name="branch1_1x1")]]
        for k in (3, 5, 7):
            self.branches.append(
                [
                    ConvBN(channels, 1, name=f"branch{k}_1x1"),
                    ConvBN(channels, (1, k), name=f"branch{k}_1x{k}"),
                    ConvBN(channels, (k, 1), name=f"branch{k}_{k}x1"),
                    ConvBN(channels, 3, dilation_rate=k, name=f"branch{k}_3x3"),
                ]
            )
        self.fuse = ConvBN(channels, 3, name="fuse")
        self.shortcut = ConvBN(channels, 1, name="shortcut")

    def build(self, input_shape: Shape) -> None:
        *space, _ = input_shape
        for branch in self.branches:
            shape = input_shape
            for layer in branch:
                layer.build(shape)
                shape = (*space, self.channels)
        self.fuse.build((*space, 4 * self.channels))
        self.shortcut.build(input_shape)

    def call(self, x: Tensor, training: bool | None = None) -> Tensor:
        outputs = []
        for branch in self.branches:
            y = x
            for layer in branch:
                y = layer(y, training=training)
            outputs.append(y)
        fused = self.fuse(ops.concatenate(outputs, axis=-1), training=training)
        return ops.relu(fused + self.shortcut(x, training=training))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (*input_shape[:-1], self.channels)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"channels": self.channels}


@register
class PartialDecoder(layers.Layer):
    """Parallel partial decoder: combines the outputs of three `RFB`s into the global map.

    Inputs: `[x2, x3, x4]` at strides 8, 16 and 32, with `channels` channels each. Output: logits at
    stride 8, `(B, h, w, 1)`. Wu et al., "Cascaded Partial Decoder", CVPR 2019.

    Args:
        channels: number of channels of each input.
    """

    def __init__(self, channels: int = 32, **kwargs: Any):
        super().__init__(**kwargs)
        self.channels = channels
        self.up = Upsample(2, align_corners=True, name="up")
        self.up1 = ConvBN(channels, 3, name="up1")
        self.up2 = ConvBN(channels, 3, name="up2")
        self.up3 = ConvBN(channels, 3, name="up3")
        self.up4 = ConvBN(channels, 3, name="up4")
        self.up5 = ConvBN(2 * channels, 3, name="up5")
        self.concat2 = ConvBN(2 * channels, 3, name="concat2")
        self.concat3 = ConvBN(3 * channels, 3, name="concat3")
        self.head = ConvBN(3 * channels, 3, name="head")
        self.logits = layers.Conv2D(1, 1, name="logits")

    def build(self, input_shapes: Sequence[Shape]) -> None:
        *space, _ = input_shapes[0]
        for layer in (self.up1, self.up2, self.up3, self.up4):
            layer.build((*space, self.channels))
        for layer in (self.up5, self.concat2):
            layer.build((*space, 2 * self.channels))
        for layer in (self.concat3, self.head, self.logits):
            layer.build((*space, 3 * self.channels))

    def call(self, features: Sequence[Tensor], training: bool | None = None) -> Tensor:
        x2, x3, x4 = features
        x4_up = self.up(x4)
        x3_1 = self.up1(x4_up, training=training) * x3
        x2_1 = (
            self.up2(self.up(x4_up), training=training)
            * self.up3(self.up(x3), training=training)
            * x2
        )
        x3_2 = ops.concatenate([x3_1, self.up4(x4_up, training=training)], axis=-1)
        x3_2 = self.concat2(x3_2, training=training)
        x2_2 = ops.concatenate([x2_1, self.up5(self.up(x3_2), training=training)], axis=-1)
        x2_2 = self.concat3(x2_2, training=training)
        return self.logits(self.head(x2_2, training=training))

    def compute_output_shape(self, input_shapes: Sequence[Shape]) -> Shape:
        return (*input_shapes[0][:-1], 1)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"channels": self.channels}


@register
class ReverseAttention(layers.Layer):
    """Reverse attention: refine a coarse map with the features of the region outside it.

    Inputs: `[features (B, h, w, C), coarse (B, h, w, 1)]`, where `coarse` are logits. Output:
    logits `(B, h, w, 1)`, coarse + convolutions((1 - sigmoid(coarse)) * features).

    Args:
        channels, kernel_size: as in `ConvBN`, for the inner convolutions. PraNet has 256 and 5 at
            stride 32, and 64 and 3 at strides 16 and 8.
        depth: number of inner convolutions; 3 at stride 32, else 2.
        out_kernel_size: kernel size of the last convolution; 1 at stride 32, else 3.
    """

    def __init__(
        self,
        channels: int = 64,
        kernel_size: int = 3,
        depth: int = 2,
        out_kernel_size: int = 3,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.channels = channels
        self.kernel_size = kernel_size
        self.depth = depth
        self.out_kernel_size = out_kernel_size
        self.reduce = ConvBN(channels, 1, name="reduce")
        self.inner = [
            ConvBN(channels, kernel_size, activation="relu", name=f"inner{i + 1}")
            for i in range(depth)
        ]
        self.out = ConvBN(1, out_kernel_size, name="out")

    def build(self, input_shapes: Sequence[Shape]) -> None:
        features, (*space, _) = input_shapes
        self.reduce.build(features)
        for layer in (*self.inner, self.out):
            layer.build((*space, self.channels))

    def call(self, inputs: Sequence[Tensor], training: bool | None = None) -> Tensor:
        features, coarse = inputs
        x = (1.0 - ops.sigmoid(coarse)) * features
        x = self.reduce(x, training=training)
        for layer in self.inner:
            x = layer(x, training=training)
        return self.out(x, training=training) + coarse

    def compute_output_shape(self, input_shapes: Sequence[Shape]) -> Shape:
        return input_shapes[1]

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "channels": self.channels,
            "kernel_size": self.kernel_size,
            "depth": self.depth,
            "out_kernel_size": self.out_kernel_size,
        }

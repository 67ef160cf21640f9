"""The two parts of Attention U-Net: the block of convolutions and the attention gate.

Oktay et al., "Attention U-Net: Learning Where to Look for the Pancreas", MIDL 2018,
arXiv:1804.03999, in the form published on OpenGenus.
"""

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers, ops

from polypseg.layers import BatchNorm
from polypseg.layers.types import Shape, Tensor

register = keras.saving.register_keras_serializable(package="polypseg")


@register
class ConvBlock(layers.Layer):
    """(3x3 convolution, ReLU, batch norm) twice, then dropout.

    `(B, H, W, C)` to `(B, H, W, filters)`.

    Args:
        filters: number of filters of both convolutions.
        dropout: dropout rate in [0, 1).
    """

    def __init__(self, filters: int, dropout: float = 0.0, **kwargs: Any):
        super().__init__(**kwargs)
        self.filters = filters
        self.conv1 = layers.Conv2D(filters, 3, padding="same", activation="relu", name="conv1")
        self.norm1 = BatchNorm(name="norm1")
        self.conv2 = layers.Conv2D(filters, 3, padding="same", activation="relu", name="conv2")
        self.norm2 = BatchNorm(name="norm2")
        self.dropout = layers.Dropout(dropout, name="dropout")

    def build(self, input_shape: Shape) -> None:
        inner = (*input_shape[:-1], self.filters)
        self.conv1.build(input_shape)
        for layer in (self.norm1, self.conv2, self.norm2):
            layer.build(inner)

    def call(self, x: Tensor, training: bool | None = None) -> Tensor:
        x = self.norm1(self.conv1(x), training=training)
        x = self.norm2(self.conv2(x), training=training)
        return self.dropout(x, training=training)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (*input_shape[:-1], self.filters)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"filters": self.filters, "dropout": self.dropout.rate}


@register
class AttentionGate(layers.Layer):
    """Attention gate: weight each pixel of a skip connection, using the coarser features below it.

    Inputs: `[skip (B, H, W, C), gating (B, H/2, W/2, D)]`, H and W even. Output: `(B, H, W, C)`,
    skip * upsample(sigmoid(psi(relu(theta(skip) + phi(gating))))). theta is a 1x1 convolution with
    stride 2, phi and psi are 1x1 convolutions.

    Args:
        channels: number of channels of theta and phi.
    """

    def __init__(self, channels: int = 64, **kwargs: Any):
        super().__init__(**kwargs)
        self.channels = channels
        self.theta = layers.Conv2D(channels, 1, strides=2, name="theta")
        self.phi = layers.Conv2D(channels, 1, name="phi")
        self.psi = layers.Conv2D(1, 1, activation="sigmoid", name="psi")
        self.up = layers.UpSampling2D(2, name="up")

    def build(self, input_shapes: Sequence[Shape]) -> None:
        skip, gating = input_shapes
        self.theta.build(skip)
        self.phi.build(gating)
        self.psi.build((*gating[:-1], self.channels))

    def call(self, inputs: Sequence[Tensor]) -> Tensor:
        skip, gating = inputs
        weights = self.psi(ops.relu(self.theta(skip) + self.phi(gating)))
        return skip * self.up(weights)

    def compute_output_shape(self, input_shapes: Sequence[Shape]) -> Shape:
        return input_shapes[0]

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"channels": self.channels}

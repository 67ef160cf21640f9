"""Convolution with batch norm, input normalisation and resizing."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers, ops

from .batch_norm import BatchNorm
from .types import Shape, Tensor

register = keras.saving.register_keras_serializable(package="polypseg")


@register
class ConvBN(layers.Layer):
    """Convolution without bias, then batch norm.

    `(B, H, W, C)` to `(B, H / strides, W / strides, filters)`, rounded up. This is `BasicConv2d` of
    PraNet's authors. Padding is symmetric, as in PyTorch; with strides, Keras's "same" would pad
    more on the right and at the bottom.

    Args:
        filters, kernel_size, strides, dilation_rate: as in `keras.layers.Conv2D`.
        activation: activation after the batch norm; None for no activation.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int | Sequence[int],
        strides: int | Sequence[int] = 1,
        dilation_rate: int | Sequence[int] = 1,
        activation: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        strides, kernel_size, dilation_rate = map(_pair, (strides, kernel_size, dilation_rate))
        strided = max(strides) > 1
        self.conv = layers.Conv2D(
            filters,
            kernel_size,
            strides=strides,
            dilation_rate=dilation_rate,
            padding="valid" if strided else "same",
            use_bias=False,
            name="conv",
        )
        sides = [rate * (size - 1) // 2 for size, rate in zip(kernel_size, dilation_rate)]
        self.pad = layers.ZeroPadding2D(sides, name="pad") if strided else None
        self.norm = BatchNorm(name="norm")
        self.activation = keras.activations.get(activation)

    def build(self, input_shape: Shape) -> None:
        self.conv.build(input_shape)
        self.norm.build(self.compute_output_shape(input_shape))

    def call(self, x: Tensor, training: bool | None = None) -> Tensor:
        if self.pad:
            x = self.pad(x)
        return self.activation(self.norm(self.conv(x), training=training))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        if self.pad:
            input_shape = self.pad.compute_output_shape(input_shape)
        return self.conv.compute_output_shape(input_shape)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "filters": self.conv.filters,
            "kernel_size": self.conv.kernel_size,
            "strides": self.conv.strides,
            "dilation_rate": self.conv.dilation_rate,
            "activation": keras.activations.serialize(self.activation),
        }


def _pair(value: int | Sequence[int]) -> tuple[int, ...]:
    return (value, value) if isinstance(value, int) else tuple(value)


@register
class Normalize(layers.Layer):
    """`(x - mean) / std` per channel, for RGB images in 0..255.

    It is part of the network, so a saved network needs no preprocessing. It is computed in float32
    under every precision policy. The shape, `(B, H, W, 3)`, stays the same.

    Args:
        mean, std: one number or three, in the order of the output's channels.
        reverse_channels: whether to convert RGB to BGR first, for weights that were trained with
            Caffe.
    """

    def __init__(
        self,
        mean: float | Sequence[float] = 0.0,
        std: float | Sequence[float] = 255.0,
        reverse_channels: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**(kwargs | {"dtype": "float32"}))
        self.mean = mean
        self.std = std
        self.reverse_channels = reverse_channels

    def call(self, x: Tensor) -> Tensor:
        if self.reverse_channels:
            x = ops.flip(x, axis=-1)
        return (x - ops.convert_to_tensor(self.mean, "float32")) / ops.convert_to_tensor(
            self.std, "float32"
        )

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "mean": self.mean,
            "std": self.std,
            "reverse_channels": self.reverse_channels,
        }


@register
class Upsample(layers.Layer):
    """Bilinear upsampling by an integer factor, in float32.

    `(B, H, W, C)` to `(B, factor * H, factor * W, C)`. It multiplies by two small matrices of
    interpolation weights. This gives the same result on every backend, even if H and W are known
    only at run time.

    Args:
        factor: a positive integer.
        align_corners: as in PyTorch. False aligns the corners of the images, like Keras. True
            aligns the centres of the corner pixels, like the partial decoder of PraNet's authors.
    """

    def __init__(self, factor: int, align_corners: bool = False, **kwargs: Any):
        # In half precision, interpolation would round the logits.
        super().__init__(**(kwargs | {"dtype": "float32"}))
        self.factor = factor
        self.align_corners = align_corners

    def call(self, x: Tensor) -> Tensor:
        _, height, width, _ = ops.shape(x)
        x = ops.einsum("ih,bhwc->biwc", self._weights(height), x)
        return ops.einsum("jw,biwc->bijc", self._weights(width), x)

    def _weights(self, size: Tensor) -> Tensor:
        """`(factor * size, size)`: row i has the weights of the input pixels for output pixel i."""
        out = ops.cast(ops.arange(self.factor * size), "float32")
        last = ops.cast(size - 1, "float32")
        if self.align_corners:
            position = out * (last / ops.cast(self.factor * size - 1, "float32"))
        else:
            position = ops.clip((out + 0.5) / self.factor - 0.5, 0.0, last)
        distance = ops.abs(position[:, None] - ops.cast(ops.arange(size), "float32")[None])
        return ops.relu(1.0 - distance)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        batch, height, width, channels = input_shape
        return (batch, height and height * self.factor, width and width * self.factor, channels)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"factor": self.factor, "align_corners": self.align_corners}

"""Attention U-Net as a Keras model, from images to one map of logits."""

from typing import Any

import keras
from keras import layers

from polypseg.layers import BatchNorm, ImageModel, Normalize

from .layers import AttentionGate, ConvBlock


@keras.saving.register_keras_serializable(package="polypseg")
class AttentionUNet(ImageModel):
    """U-Net of five levels with attention gates on its skip connections.

    Oktay et al., MIDL 2018, arXiv:1804.03999, in the form published on OpenGenus
    (7,951,369 parameters with 32 filters).

    Input: RGB `(B, H, W, 3)` in 0..255, H and W multiples of 16. Output: float32
    logits `(B, H, W, 1)`.

    Args:
        filters: number of filters of the first level; each level below has twice as many.
        dropout: dropout rate in [0, 1) after each block of convolutions.
        gate_channels: number of channels inside the attention gates.
        input_size: height and width in pixels at which the model is used. It is saved with the
            model, but not checked.
        **kwargs: arguments of `keras.Model`, such as `name`.

    Raises:
        InputError: (a subclass of `ValueError`) the model is called with images whose height or
            width is not a multiple of 16.

    >>> model = AttentionUNet(filters=8)
    >>> tuple(model(keras.ops.zeros((1, 96, 80, 3))).shape)
    (1, 96, 80, 1)
    """

    stride = 16
    maps = ("answer",)  # the channels of the logits

    def __init__(
        self,
        filters: int = 32,
        dropout: float = 0.0,
        gate_channels: int = 64,
        input_size: int | None = None,
        **kwargs: Any,
    ):
        image = keras.Input((None, None, 3), name="image")
        x = Normalize(name="normalize")(image)  # 0..1
        skips = []
        for level in range(4):
            x = ConvBlock(filters * 2**level, dropout, name=f"encoder{level + 1}")(x)
            skips.append(x)
            x = layers.MaxPooling2D(2, name=f"pool{level + 1}")(x)
        x = ConvBlock(filters * 16, dropout, name="bridge")(x)  # (B, H/16, W/16, 16 * filters)
        for level in reversed(range(4)):
            gated = AttentionGate(gate_channels, name=f"gate{level + 1}")([skips[level], x])
            x = layers.UpSampling2D(2, name=f"up{level + 1}")(x)
            x = layers.Concatenate(name=f"concat{level + 1}")([x, gated])
            x = ConvBlock(filters * 2**level, dropout, name=f"decoder{level + 1}")(x)
        x = layers.Conv2D(1, 1, name="head")(x)
        x = BatchNorm(name="head_norm")(x)
        logits = layers.Activation("linear", dtype="float32", name="logits")(x)
        super().__init__(image, logits, **kwargs)
        self.config = {
            "filters": filters,
            "dropout": dropout,
            "gate_channels": gate_channels,
            "input_size": input_size,
        }
        self.input_size = input_size

"""PraNet as a Keras model, from images to four maps of logits."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from polypseg.errors import expect, of_argument
from polypseg.layers import ImageModel, Upsample
from polypseg.layers.features import build_backbone
from polypseg.layers.types import Shape, Tensor

from .layers import RFB, PartialDecoder, ReverseAttention


@keras.saving.register_keras_serializable(package="polypseg")
class PraNet(ImageModel):
    """Parallel reverse attention network.

    Fan et al., "PraNet: Parallel Reverse Attention Network for Polyp Segmentation", MICCAI 2020,
    arXiv:2006.11392.

    Input: RGB `(B, H, W, 3)` in 0..255, H and W multiples of 32. Output: float32
    logits `(B, H, W, 4)`, coarse to fine: the global map of the partial decoder, then
    the side outputs of strides 32, 16 and 8. The last channel is the final prediction,
    the "answer".

    Args:
        backbone: a name in `polypseg.layers.backbones.BACKBONES`.
        channels: number of channels of the receptive field blocks and the partial decoder.
        weights: weights of the backbone: None for random ones, `"imagenet"`, or the path of a `.h5`
            file. The configuration does not store this, because a saved model has its weights.
        input_size: height and width in pixels at which the model is used. It is saved with the
            model, but not checked.
        reverse_channels: number of channels of reverse attention at strides 32, 16 and 8. The
            default is the paper's, whose layers at stride 32 have 5.2 million parameters.
        backbone_weights: the same as `weights`, under the name that `TrainConfig` and `train.py`
            use.
        **kwargs: arguments of `keras.Model`, such as `name`.

    Raises:
        ValueError: an unknown backbone, or other than three `reverse_channels`.
        InputError: (a subclass of `ValueError`) the weights are missing, do not fit or are given
            twice; or the model is called with images whose height or width is not a multiple of 32.

    >>> model = PraNet("mobilenetv2")
    >>> tuple(model(keras.ops.zeros((1, 64, 96, 3))).shape)
    (1, 64, 96, 4)
    """

    stride = 32
    maps = ("global map", "stride 32", "stride 16", "answer")  # the channels of the logits

    def __init__(
        self,
        backbone: str = "resnet50",
        channels: int = 32,
        weights: str | Path | None = None,
        input_size: int | None = None,
        *,
        reverse_channels: Sequence[int] = (256, 64, 64),
        backbone_weights: str | Path | None = None,
        **kwargs: Any,
    ):
        if backbone_weights is not None:
            expect(weights is None, "weights", "one of weights and backbone_weights", "both")
        if len(reverse_channels) != 3 or min(reverse_channels) < 1:
            raise ValueError(f"expected three positive reverse_channels, got {reverse_channels}")
        reverse4, reverse3, reverse2 = reverse_channels
        with of_argument("weights" if backbone_weights is None else "backbone_weights"):
            network = build_backbone(backbone, weights if weights else backbone_weights)
        image = keras.Input((None, None, 3), name="image")
        x2, x3, x4 = network(image)  # strides 8, 16, 32

        global_map = PartialDecoder(channels, name="partial_decoder")(
            [
                RFB(channels, name="rfb2")(x2),
                RFB(channels, name="rfb3")(x3),
                RFB(channels, name="rfb4")(x4),
            ]
        )  # (B, H/8, W/8, 1)

        coarse = Quarter(name="global_to_32")(global_map)
        map4 = ReverseAttention(reverse4, 5, depth=3, out_kernel_size=1, name="reverse4")(
            [x4, coarse]
        )
        coarse = Upsample(2, name="map4_to_16")(map4)
        map3 = ReverseAttention(reverse3, name="reverse3")([x3, coarse])
        coarse = Upsample(2, name="map3_to_8")(map3)
        map2 = ReverseAttention(reverse2, name="reverse2")([x2, coarse])

        logits = keras.layers.Concatenate(name="logits", dtype="float32")(
            [
                Upsample(8, name="global_map")(global_map),
                Upsample(32, name="side4")(map4),
                Upsample(16, name="side3")(map3),
                Upsample(8, name="side2")(map2),
            ]
        )
        super().__init__(image, logits, **kwargs)
        self.config = {
            "backbone": backbone,
            "channels": channels,
            "reverse_channels": list(reverse_channels),
            "input_size": input_size,
        }
        self.input_size = input_size
        # Arrays of a converted checkpoint that this network does not use: see official.py.
        self.official_unused: dict[str, np.ndarray] = {}

    def save_assets(self, folder: str) -> None:
        """Called by Keras: save the arrays of a converted checkpoint that have no variable."""
        if self.official_unused:
            path = Path(folder) / "official_unused.npz"
            np.savez(path, allow_pickle=False, **self.official_unused)

    def load_assets(self, folder: str) -> None:
        """Called by Keras: load what `save_assets` has saved."""
        file = Path(folder) / "official_unused.npz"
        if file.is_file():
            with np.load(file) as arrays:
                self.official_unused = dict(arrays)


@keras.saving.register_keras_serializable(package="polypseg")
class Quarter(keras.layers.Layer):
    """Bilinear resizing by 1/4 without antialiasing: the mean of the middle 2 x 2 of 4 x 4 pixels.

    `(B, H, W, C)`, H and W multiples of 4, to `(B, H/4, W/4, C)` float32. This layer is
    `interpolate(scale_factor=0.25, mode="bilinear")` in the authors' PyTorch code.
    """

    def __init__(self, **kwargs: Any):
        super().__init__(**(kwargs | {"dtype": "float32"}))

    def call(self, x: Tensor) -> Tensor:
        upper, lower = x[:, 1::4], x[:, 2::4]
        return (upper[:, :, 1::4] + upper[:, :, 2::4] + lower[:, :, 1::4] + lower[:, :, 2::4]) / 4.0

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        batch, height, width, channels = input_shape
        return (batch, height and height // 4, width and width // 4, channels)

"""PraNet as a Keras model: image in, four maps of logits out."""

from pathlib import Path
from typing import Any

import keras
import numpy as np

from polypseg.errors import expect, of_argument
from polypseg.layers import ImageModel, Upsample
from polypseg.layers.types import Shape, Tensor

from .features import build_backbone
from .layers import RFB, PartialDecoder, ReverseAttention


@keras.saving.register_keras_serializable(package="polypseg")
class PraNet(ImageModel):
    """Parallel reverse attention network.

    Fan et al., MICCAI 2020, arXiv:2006.11392.

    Input: RGB `(B, H, W, 3)` in 0..255, H and W multiples of 32. Output: float32
    logits `(B, H, W, 4)`, coarse to fine: the global map of the partial decoder, then
    the side outputs of strides 32, 16 and 8. The last channel is the answer.

    Args:
        backbone: `"resnet50"`, `"mobilenetv2"` or `"res2net50"`.
        channels: of the RFBs and the partial decoder.
        weights: of the backbone: None (random), `"imagenet"` or the path of a `.h5` file.
            Not part of the saved configuration: a saved model brings its weights.
        input_size: height and width it is meant to run at; kept in the file, not enforced.
        backbone_weights: another name of `weights`, that of `TrainConfig` and `train.py`.

    Raises:
        ValueError: unknown backbone, weights that are missing, do not fit or are given twice; when
            called, images whose height or width is no multiple of 32.

    Example:
        >>> model = PraNet("mobilenetv2")
        >>> model(np.zeros((1, 224, 224, 3))).shape
        (1, 224, 224, 4)
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
        backbone_weights: str | Path | None = None,
        **kwargs: Any,
    ):
        if backbone_weights is not None:
            expect(weights is None, "weights", "one of weights and backbone_weights", "both")
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
        map4 = ReverseAttention(256, 5, depth=3, out_kernel_size=1, name="reverse4")([x4, coarse])
        coarse = Upsample(2, name="map4_to_16")(map4)
        map3 = ReverseAttention(name="reverse3")([x3, coarse])
        coarse = Upsample(2, name="map3_to_8")(map3)
        map2 = ReverseAttention(name="reverse2")([x2, coarse])

        logits = keras.layers.Concatenate(name="logits", dtype="float32")(
            [
                Upsample(8, name="global_map")(global_map),
                Upsample(32, name="side4")(map4),
                Upsample(16, name="side3")(map3),
                Upsample(8, name="side2")(map2),
            ]
        )
        super().__init__(image, logits, **kwargs)
        self.config = {"backbone": backbone, "channels": channels, "input_size": input_size}
        self.input_size = input_size
        # What a converted checkpoint holds beside the weights, see official.py
        self.official_unused: dict[str, np.ndarray] = {}

    def save_assets(self, folder: str) -> None:
        if self.official_unused:
            path = Path(folder) / "official_unused.npz"
            np.savez(path, allow_pickle=False, **self.official_unused)

    def load_assets(self, folder: str) -> None:
        file = Path(folder) / "official_unused.npz"
        if file.is_file():
            with np.load(file) as arrays:
                self.official_unused = dict(arrays)


@keras.saving.register_keras_serializable(package="polypseg")
class Quarter(keras.layers.Layer):
    """Bilinear resizing by 1/4 without antialiasing: the mean of the four middle pixels.

    `(B, H, W, C)` to `(B, H/4, W/4, C)`, float32, as `interpolate(scale_factor=0.25)`
    of the authors' network.
    """

    def __init__(self, **kwargs: Any):
        super().__init__(**(kwargs | {"dtype": "float32"}))

    def call(self, x: Tensor) -> Tensor:
        upper, lower = x[:, 1::4], x[:, 2::4]
        return (upper[:, :, 1::4] + upper[:, :, 2::4] + lower[:, :, 1::4] + lower[:, :, 2::4]) / 4.0

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        batch, height, width, channels = input_shape
        return (batch, height and height // 4, width and width // 4, channels)

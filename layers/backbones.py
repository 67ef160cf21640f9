"""The backbones that networks can use. Importing this module imports neither Keras nor NumPy.

To add a backbone, add an entry here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

STRIDES = (2, 4, 8, 16, 32)


@dataclass(frozen=True)
class Backbone:
    """A backbone that a network can use.

    Attributes:
        constructor: the function that builds the backbone, as `"module:function"`. It is either a
            function of `keras.applications`, or one without arguments that returns a `keras.Model`
            from normalised images to the last features.
        taps: names of the layers whose outputs are the features at `STRIDES`, the last layer of
            each stride.
        normalize: arguments of `Normalize` that fit the pretrained weights.
        licence: licence of the pretrained weights.
        checkpoint: what `convert.py` makes a file of weights from; None if Keras has ImageNet
            weights to download.
    """

    constructor: str
    taps: tuple[str, str, str, str, str]
    normalize: Mapping[str, Any]
    licence: str
    checkpoint: str | None = None

    @property
    def downloads(self) -> bool:
        """Whether Keras has ImageNet weights to download."""
        return self.checkpoint is None


BACKBONES = {
    "resnet50": Backbone(
        constructor="keras.applications:ResNet50",
        taps=(
            *("conv1_relu", "conv2_block3_out"),
            *("conv3_block4_out", "conv4_block6_out", "conv5_block3_out"),
        ),
        normalize={"mean": [103.939, 116.779, 123.68], "std": 1.0, "reverse_channels": True},
        licence="MIT (Kaiming He)",
    ),
    "resnet101": Backbone(
        constructor="keras.applications:ResNet101",
        taps=(
            *("conv1_relu", "conv2_block3_out"),
            *("conv3_block4_out", "conv4_block23_out", "conv5_block3_out"),
        ),
        normalize={"mean": [103.939, 116.779, 123.68], "std": 1.0, "reverse_channels": True},
        licence="MIT (Kaiming He)",
    ),
    "mobilenetv2": Backbone(
        constructor="keras.applications:MobileNetV2",
        taps=(
            *("block_1_expand_relu", "block_3_expand_relu"),
            *("block_6_expand_relu", "block_13_expand_relu", "out_relu"),
        ),
        normalize={"mean": 127.5, "std": 127.5},
        licence="Apache-2.0 (Google)",
    ),
    "efficientnet_lite0": Backbone(
        constructor="polypseg.layers.efficientnet_lite:efficientnet_lite0",
        taps=("block0_project_norm", "block2_add", "block4_add", "block10_add", "head_relu"),
        normalize={"mean": 127.0, "std": 128.0},
        licence="Apache-2.0 (Google)",
        checkpoint="an EfficientNet-Lite0 checkpoint",
    ),
    "efficientnet_lite2": Backbone(
        constructor="polypseg.layers.efficientnet_lite:efficientnet_lite2",
        taps=("block0_project_norm", "block3_add", "block6_add", "block14_add", "head_relu"),
        normalize={"mean": 127.0, "std": 128.0},
        licence="Apache-2.0 (Google)",
        checkpoint="an EfficientNet-Lite2 checkpoint",
    ),
    "res2net50": Backbone(
        constructor="polypseg.layers.res2net:res2net50",
        taps=("stem3", "stage1_block3", "stage2_block4", "stage3_block6", "stage4_block3"),
        normalize={"mean": [123.675, 116.28, 103.53], "std": [58.395, 57.12, 57.375]},
        licence="stated by the authors of Res2Net with their checkpoint, which is not distributed "
        "here",
        checkpoint="a Res2Net50-v1b-26w-4s checkpoint",
    ),
}

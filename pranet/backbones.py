"""The backbones of PraNet. PraNet uses their features at strides 8, 16 and 32.

To add a backbone, add an entry here.
"""

from polypseg.layers.network import Backbone

BACKBONES = {
    "resnet50": Backbone(
        constructor="keras.applications:ResNet50",
        taps=("conv3_block4_out", "conv4_block6_out", "conv5_block3_out"),
        normalize={"mean": [103.939, 116.779, 123.68], "std": 1.0, "reverse_channels": True},
        licence="MIT (Kaiming He)",
    ),
    "mobilenetv2": Backbone(
        constructor="keras.applications:MobileNetV2",
        taps=("block_6_expand_relu", "block_13_expand_relu", "out_relu"),
        normalize={"mean": 127.5, "std": 127.5},
        licence="Apache-2.0 (Google)",
    ),
    "res2net50": Backbone(
        constructor="polypseg.pranet.res2net:res2net50",
        taps=(),
        normalize={"mean": [123.675, 116.28, 103.53], "std": [58.395, 57.12, 57.375]},
        licence="stated by the authors of Res2Net with their checkpoint, which is not distributed "
        "here",
    ),
}

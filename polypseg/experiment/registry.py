"""The names that the command line offers, and how to build what they stand for.

Importing this file imports nothing heavy, so that `--help` answers at once.
"""

from dataclasses import dataclass

BACKBONES = ("resnet50", "mobilenetv2", "res2net50")
LOSSES = (
    "structure", "structure_official", "wbce_dice", "dice", "iou", "bce",
    "weighted_bce", "weighted_dice", "weighted_iou",
)
AUGMENTATIONS = ("full", "flips", "none")
PRECISIONS = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}


@dataclass(frozen=True)
class Network:
    stride: int  # height and width are multiples of it
    maps: int  # channels of the logits
    loss: str  # the default


NETWORKS = {
    "pranet": Network(stride=32, maps=4, loss="structure"),
    "attention_unet": Network(stride=16, maps=1, loss="dice"),
}


def build_network(config):
    """The untrained network of a `TrainConfig`."""
    if config.model == "attention_unet":
        from polypseg.attention_unet import AttentionUNet

        return AttentionUNet(input_size=config.input_size)
    from polypseg.pranet import PraNet

    weights = None if config.backbone_weights == "none" else config.backbone_weights
    return PraNet(config.backbone, backbone_weights=weights, input_size=config.input_size)


def build_loss(config):
    from polypseg.losses.losses import SegmentationLoss

    return SegmentationLoss(config.loss, map_weights=config.map_weights)

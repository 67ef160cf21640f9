"""The names that the command line offers. Reading them imports nothing heavy."""

from polypseg.attention_unet.spec import SPEC as ATTENTION_UNET
from polypseg.pranet.spec import SPEC as PRANET

# A network is a folder with a `spec.py`, and a line here.
NETWORKS = {
    network.name: network
    for network in (
        PRANET,
        ATTENTION_UNET,
    )
}
BACKBONES = {name: backbone for network in NETWORKS.values() for name, backbone in network.backbones.items()}
LOSSES = (
    "structure", "structure_official", "wbce_dice", "dice", "iou", "bce",
    "weighted_bce", "weighted_dice", "weighted_iou",
)
AUGMENTATIONS = ("full", "flips", "none")
PRECISIONS = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}


def load_networks():
    """Import every network, so that Keras knows the classes in a saved one."""
    for network in NETWORKS.values():
        network.load()

"""The names that options accept. Importing this module imports nothing heavy."""

import importlib

from polypseg.layers.network import Network

# To add a network, add a folder with a `spec.py`, and its name here, which is the value of `model`.
NETWORKS: dict[str, Network] = {
    name: importlib.import_module(f"polypseg.{name}.spec").SPEC
    for name in (
        "pranet",
        "attention_unet",
    )
}
BACKBONES = {
    name: backbone for network in NETWORKS.values() for name, backbone in network.backbones.items()
}
DECODERS = list(dict.fromkeys(name for network in NETWORKS.values() for name in network.decoders))
LOSSES = (
    "structure",
    "structure_official",
    "wbce_dice",
    "dice",
    "iou",
    "bce",
    "weighted_bce",
    "weighted_dice",
    "weighted_iou",
)
MAP_SUMS = ("none", "all", "pairs")
AUGMENTATIONS = ("full", "flips", "none")
PRECISIONS = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}


def load_networks() -> None:
    """Import all networks, so that Keras can load saved ones."""
    for network in NETWORKS.values():
        network.load()

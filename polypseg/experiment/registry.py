"""The names that the command line offers. Reading them imports nothing heavy."""

import importlib

from polypseg.layers.network import Network

# A network is a folder with a `spec.py`, and a line here; `--model` takes the folder's name.
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
AUGMENTATIONS = ("full", "flips", "none")
PRECISIONS = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}


def load_networks() -> None:
    """Import every network, so that Keras knows the classes in a saved one."""
    for network in NETWORKS.values():
        network.load()

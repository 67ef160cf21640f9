"""The entry of PraNet in the registry, `--model pranet`."""

from typing import Any

from polypseg.layers.backbones import BACKBONES
from polypseg.layers.network import Network

# The arguments of `PraNet` for each value of `decoder`. In "published", reverse attention at stride
# 32 has 5.2 million parameters.
DECODERS = {
    "published": {"channels": 32, "reverse_channels": [256, 64, 64]},
    "slim": {"channels": 16, "reverse_channels": [32, 32, 32]},
}


def _load() -> type:
    from .model import PraNet

    return PraNet


def _arguments(config: Any) -> dict[str, Any]:
    return {
        "backbone": config.backbone,
        "backbone_weights": None if config.backbone_weights == "none" else config.backbone_weights,
        "input_size": config.input_size,
        **DECODERS[config.decoder],
    }


SPEC = Network(
    stride=32,
    maps=4,
    loss="structure",
    load=_load,
    arguments=_arguments,
    backbones=BACKBONES,
    decoders=DECODERS,
)

"""The entry of Attention U-Net in the registry, `--model attention_unet`."""

from typing import Any

from polypseg.layers.network import Network


def _load() -> type:
    from .model import AttentionUNet

    return AttentionUNet


def _arguments(config: Any) -> dict[str, Any]:
    return {"input_size": config.input_size}


SPEC = Network(stride=16, maps=1, loss="dice", load=_load, arguments=_arguments)

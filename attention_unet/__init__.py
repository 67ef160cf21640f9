"""Attention U-Net: a U-Net whose skips pass attention gates."""

from typing import TYPE_CHECKING

from polypseg.runtime import alias, lazy

if TYPE_CHECKING:
    from polypseg.attention_unet.model import AttentionUNet

__all__ = ["AttentionUNet"]
__getattr__ = lazy(
    __name__, {"AttentionUNet": "polypseg.attention_unet.model"}
)  # SPEC is read without Keras

if __name__ == "attention_unet":
    alias(__name__, "model")

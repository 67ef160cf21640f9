"""Attention U-Net: a U-Net with attention gates on its skip connections."""

from typing import TYPE_CHECKING

from polypseg.runtime import alias, lazy

if TYPE_CHECKING:
    from polypseg.attention_unet.model import AttentionUNet

__all__ = ["AttentionUNet"]
# Lazy, so that `spec.py` can be imported without Keras.
__getattr__ = lazy(__name__, {"AttentionUNet": "polypseg.attention_unet.model"})

if __name__ == "attention_unet":
    alias(__name__, "model")

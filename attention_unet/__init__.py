"""Attention U-Net: a U-Net whose skips pass attention gates."""

from typing import TYPE_CHECKING

from polypseg.runtime import lazy

if (
    TYPE_CHECKING or __name__ == "attention_unet"
):  # `import attention_unet` in a checkout: the classes of polypseg.attention_unet
    from polypseg.attention_unet.model import AttentionUNet

__all__ = ["AttentionUNet"]
__getattr__ = lazy(
    __name__, {"AttentionUNet": "polypseg.attention_unet.model"}
)  # SPEC is read without Keras

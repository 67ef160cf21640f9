"""Attention U-Net: a U-Net whose skips pass attention gates."""

from typing import TYPE_CHECKING

if TYPE_CHECKING or __name__ == "attention_unet":  # `import attention_unet` in a checkout gives the classes of `polypseg.attention_unet`
    from polypseg.attention_unet.model import AttentionUNet

__all__ = ["AttentionUNet"]


def __getattr__(name):
    if name == "AttentionUNet":  # on first use: the SPEC beside it is read without Keras
        from polypseg.attention_unet.model import AttentionUNet

        return AttentionUNet
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

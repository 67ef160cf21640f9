"""Attention U-Net: a U-Net whose skips pass attention gates."""

from .model import AttentionUNet

__all__ = ["AttentionUNet"]

"""PraNet: parallel reverse attention network for polyp segmentation."""

from .model import PraNet

__all__ = ["PraNet"]

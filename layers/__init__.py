"""The few building blocks that both networks share."""

from .batch_norm import BatchNorm
from .blocks import ConvBN, Normalize, Upsample

__all__ = ["BatchNorm", "ConvBN", "Normalize", "Upsample"]

"""The few building blocks that both networks share."""

from polypseg.layers.batch_norm import BatchNorm
from polypseg.layers.blocks import ConvBN, Normalize, Upsample

__all__ = ["BatchNorm", "ConvBN", "Normalize", "Upsample"]

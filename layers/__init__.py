"""Building blocks that the networks share."""

from typing import TYPE_CHECKING

from polypseg.runtime import alias, lazy

if TYPE_CHECKING:
    from polypseg.layers.batch_norm import BatchNorm
    from polypseg.layers.blocks import ConvBN, Normalize, Upsample
    from polypseg.layers.model import ImageModel

__all__ = ["BatchNorm", "ConvBN", "ImageModel", "Normalize", "Upsample"]
__getattr__ = lazy(
    __name__,
    {"BatchNorm": "polypseg.layers.batch_norm", "ImageModel": "polypseg.layers.model"}
    | dict.fromkeys(("ConvBN", "Normalize", "Upsample"), "polypseg.layers.blocks"),
)

if __name__ == "layers":
    alias(__name__, "batch_norm", "blocks", "model")

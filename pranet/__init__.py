"""PraNet: parallel reverse attention network for polyp segmentation."""

from typing import TYPE_CHECKING

from polypseg.runtime import alias, lazy

if TYPE_CHECKING:
    from polypseg.pranet.model import PraNet

__all__ = ["PraNet"]
# Lazy, so that `spec.py` can be imported without Keras.
__getattr__ = lazy(__name__, {"PraNet": "polypseg.pranet.model"})

if __name__ == "pranet":
    alias(__name__, "model")

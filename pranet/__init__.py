"""PraNet: parallel reverse attention network for polyp segmentation."""

from typing import TYPE_CHECKING

from polypseg.runtime import lazy

if (
    TYPE_CHECKING or __name__ == "pranet"
):  # `import pranet` in a checkout: the classes of polypseg.pranet
    from polypseg.pranet.model import PraNet

__all__ = ["PraNet"]
__getattr__ = lazy(__name__, {"PraNet": "polypseg.pranet.model"})  # SPEC is read without Keras

"""PraNet: parallel reverse attention network for polyp segmentation."""

from typing import TYPE_CHECKING

if TYPE_CHECKING or __name__ == "pranet":  # `import pranet` in a checkout gives the classes of `polypseg.pranet`
    from polypseg.pranet.model import PraNet

__all__ = ["PraNet"]


def __getattr__(name):
    if name == "PraNet":  # on first use: the SPEC beside it is read without Keras
        from polypseg.pranet.model import PraNet

        return PraNet
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

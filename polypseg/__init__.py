"""Train, score and run segmentation networks for medical images with Keras 3.

>>> from polypseg import PraNet, AttentionUNet, Predictor, TrainConfig, train, evaluate

Importing this package is quick: each of these names is loaded when it is first used.
"""

import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import TYPE_CHECKING

from polypseg.runtime import lazy

if TYPE_CHECKING:
    from polypseg.attention_unet.model import AttentionUNet
    from polypseg.experiment.config import TrainConfig
    from polypseg.inference.predictor import Predictor
    from polypseg.pranet.model import PraNet
    from polypseg.scoring.evaluation import evaluate
    from polypseg.training.train import train

__version__ = "0.2.0"

__all__ = ["AttentionUNet", "PraNet", "Predictor", "TrainConfig", "evaluate", "train"]


class _Leaves:
    """Finds `polypseg.data` and the other leaves in a checkout, where they lie beside this folder.

    In a wheel they lie inside it. The scripts beside it, such as `train.py`, are not found.
    """

    root = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))

    @classmethod
    def find_spec(
        cls, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        package, _, leaf = name.rpartition(".")
        folder = os.path.join(cls.root, leaf, "__init__.py")
        if package == __name__ and leaf != __name__ and os.path.isfile(folder):
            return PathFinder.find_spec(name, [cls.root], target)
        return None


if not os.path.isdir(os.path.join(_Leaves.root, "polypseg", "layers")):
    sys.meta_path.append(_Leaves)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


__getattr__ = lazy(
    __name__,
    {
        "AttentionUNet": "polypseg.attention_unet.model",
        "PraNet": "polypseg.pranet.model",
        "Predictor": "polypseg.inference.predictor",
        "TrainConfig": "polypseg.experiment.config",
        "evaluate": "polypseg.scoring.evaluation",
        "train": "polypseg.training.train",
    },
)

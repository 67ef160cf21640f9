"""Train, score and run segmentation networks for medical images with Keras 3.

>>> from polypseg import PraNet, AttentionUNet, Predictor, TrainConfig, train, evaluate

Importing this package imports nothing else: each of these names is loaded when it is first used.
"""

import os
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

# In a wheel the leaves (data, layers, losses, metrics and the networks) lie in this folder, in a
# checkout beside it.
_HERE = os.path.dirname(os.path.realpath(__file__))
if not os.path.isdir(os.path.join(_HERE, "layers")):
    __path__.append(os.path.dirname(_HERE))

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

"""A word to who runs a network in a slower way than need be."""

import os
import shlex
from typing import TYPE_CHECKING

from polypseg.runtime import command, has_gpu

if TYPE_CHECKING:
    from .predictor import Predictor

FASTER = "up to three times as fast"  # OpenVINO against Keras in float32: docs/performance.md


def export_advice(model: str | os.PathLike, predictor: "Predictor") -> str | None:
    """One line with the command for a faster file, or None: it is one already, or there is a
    GPU.
    """
    if predictor.engine != "Keras" or has_gpu():
        return None
    return (
        f"note: Keras runs this network on the CPU; exported, it is {FASTER}, more on one with "
        f"bfloat16: {command('export')} --model {shlex.quote(os.fspath(model))} --format openvino"
    )

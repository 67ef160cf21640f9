"""A hint for users whose network could run faster on this computer."""

import os
import shlex
from typing import TYPE_CHECKING

from polypseg.runtime import command, has_gpu

if TYPE_CHECKING:
    from .predictor import Predictor

FASTER = "up to three times as fast"  # OpenVINO against Keras in float32: docs/performance.md


def export_advice(model: str | os.PathLike[str], predictor: "Predictor") -> str | None:
    """One line with the command that exports the network to a faster file.

    Args:
        model: path of the network, for the command.
        predictor: the loaded network.

    Returns:
        None if the network is an exported file already, or if there is a GPU.
    """
    if predictor.engine != "Keras" or has_gpu():
        return None
    return (
        f"note: Keras runs this network on the CPU. An exported file is {FASTER}, and faster still "
        f"on a CPU with bfloat16: {command('export')} --model {shlex.quote(os.fspath(model))} "
        "--format openvino"
    )

"""A hint for users whose network can run faster on this computer."""

import os
import shlex
from typing import TYPE_CHECKING

from polypseg.runtime import command, has_gpu

if TYPE_CHECKING:
    from .ensemble import Where
    from .predictor import Predictor

# OpenVINO compared with Keras, both in float32 (docs/performance.md).
FASTER = "up to three times as fast"


def export_advice(where: "Where", predictor: "Predictor") -> str | None:
    """A line that names the command to export the network to a faster file.

    Args:
        where: path of the network, or those of an ensemble, to show in the command.
        predictor: the loaded network.

    Returns:
        The line. None if the network is an exported file already, or if there is a GPU.
    """
    if not predictor.engine.startswith("Keras") or has_gpu():
        return None
    if isinstance(where, str | os.PathLike):
        network, out = f"--model {shlex.quote(os.fspath(where))}", ""
    else:
        network, out = (
            f"--ensemble {shlex.join(os.fspath(path) for path in where)}",
            " --out ensemble.xml",
        )
    return (
        f"note: Keras runs this network on the CPU. An exported file is {FASTER}, and faster still "
        f"on a CPU with bfloat16: {command('export')} {network} "
        f"--format openvino{out}"
    )

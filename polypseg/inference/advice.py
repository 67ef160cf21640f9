"""Hints for users whose network can run faster on this computer."""

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from polypseg.runtime import command, has_gpu

from .formats import export_command

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
        The line. None if Keras does not run the network, or if there is a GPU.
    """
    if not predictor.engine.startswith("Keras") or has_gpu():
        return None
    if isinstance(where, str | os.PathLike) and os.path.isdir(where) and not predictor.origin:
        if os.path.lexists(Path(where, "best.onnx")):  # a note has said why it is not used
            return None
        again = export_command(Path(where), "onnx")
        return f"note: Keras runs this network; with best.onnx it starts and runs faster: {again}"
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

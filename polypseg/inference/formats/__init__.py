"""The formats of exported networks. Each format is one module, with a writer and an engine."""

import importlib
import shlex
from functools import cache
from typing import TYPE_CHECKING

from polypseg.runtime import command

if TYPE_CHECKING:
    from pathlib import Path

    from .base import Format

# To add a format, write a module with a `FORMAT` and add its name here. `--format` takes this name.
NAMES = (
    "savedmodel",
    "onnx",
    "openvino",
    "tflite",
)

AUTO = "auto"
# What runs the network of a run folder; "auto" takes the first one that can. ONNX Runtime comes
# before OpenVINO, because it starts faster (docs/performance.md).
ENGINES = ("onnx", "openvino", "tflite", "keras")


@cache
def format_of(name: str) -> "Format":
    """The `Format` with a name in `NAMES`."""
    return importlib.import_module(f".{name}", __name__).FORMAT


def exported_as(path: "Path") -> "Format | None":
    """The format of a path that export.py wrote; None for anything else, such as a run folder."""
    formats = [format_of(name) for name in NAMES]
    return next((form for form in formats if form.recognises(path)), None)


def export_command(folder: "Path", kind: str) -> str:
    """The command that writes the file with which a run opens."""
    return f"{command('export')} --model {shlex.quote(str(folder))} --format {kind} --all-maps"

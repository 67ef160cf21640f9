"""The formats of a trained network: a file each, with its writer and its engine."""

import importlib
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from .base import Format

# A format is a file with a `FORMAT`, and a line here; `--format` takes the file's name.
NAMES = (
    "savedmodel",
    "onnx",
    "openvino",
    "tflite",
)


@cache
def format_of(name: str) -> "Format":
    """The `Format` of a name in `NAMES`."""
    return importlib.import_module(f".{name}", __name__).FORMAT


def exported_as(path: "Path") -> "Format | None":
    """The format of what export.py wrote to `path`; None for anything else, a run folder say."""
    formats = [format_of(name) for name in NAMES]
    return next((form for form in formats if form.recognises(path)), None)

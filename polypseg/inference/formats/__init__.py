"""The formats of a trained network: a file each, with what writes it and the engine that runs
it.
"""

import importlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polypseg.errors import InputError
from polypseg.experiment.run_folder import find_run, similar_run

if TYPE_CHECKING:
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


def exported_as(path: str | Path) -> "Format | None":
    """The format of what export.py wrote to `path`; None for anything else, a run folder say."""
    formats = [format_of(name) for name in NAMES]
    return next((form for form in formats if form.recognises(Path(path))), None)


def open_engine(path: str | Path, input_size: int | None = None) -> Any:
    """The engine of a run folder or a model file, see `base`.

    Args:
        path: run folder, `.keras` file, or what export.py wrote.
        input_size: height and width at which it runs; default: its own.

    Raises:
        InputError: a file that is none of these, a missing package, a size that it cannot run at.
    """
    path = Path(path)
    if not path.exists():
        similar = similar_run(path)
        raise InputError(
            f"--model: expected a run folder or a model file, got {path}, which does not "
            f"exist{similar}"
        )
    exported = exported_as(path)
    if exported and exported.open:
        engine: Any = exported.open(path)
    elif path.suffix == ".keras" or path.is_dir():
        from .keras import KerasEngine

        engine = KerasEngine(path if path.suffix == ".keras" else find_run(path) / "best.keras")
    else:
        suffixes = ", ".join(filter(None, (format_of(name).suffix for name in NAMES)))
        raise InputError(
            f"--model: expected a run folder, a SavedModel folder, .keras, {suffixes}, got {path}"
        )
    if input_size is not None:
        engine.resize(input_size)
    return engine

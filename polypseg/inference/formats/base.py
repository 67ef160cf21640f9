"""What the formats share.

ONNX Runtime, OpenVINO and LiteRT run without TensorFlow and Keras.
"""

import contextlib
import importlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import cv2
import numpy as np

from polypseg.errors import InputError, expect, reading
from polypseg.runtime import quiet

KEY = "polypseg"  # key of the description in an exported file


class Engine(Protocol):
    """Runs a network.

    Attributes:
        input_size: S, the height and width at which the network runs.
        threshold: threshold of the probabilities, as stored in the file.
        maps: names of the output channels. The last one is `"answer"`, the final prediction.
        name: name of the engine for the user, such as `"OpenVINO float32"`.
    """

    input_size: int
    threshold: float
    maps: tuple[str, ...]
    name: str

    def logits(self, batch: np.ndarray) -> np.ndarray:
        """Compute `(B, S, S, maps)` float32 from `(B, S, S, 3)` float32 RGB in 0..255."""

    def resize(self, input_size: int) -> None:
        """Run at another size. Raises `InputError` if this is not possible."""


@dataclass(frozen=True)
class Format:
    """A format that export.py writes.

    Attributes:
        suffix: suffix of the file, such as `".onnx"`; "" if the format is a folder.
        write: function that writes the file. Its arguments are the Keras model, the path, the
            precision and the description (JSON).
        open: function from a path to its `Engine`; None if the format does not run in Python.
        open_exact: like `open`, but always computes in float32. Needed only if `open` may choose a
            lower precision; default: `open`.
        packages: optional packages for writing and checking: module -> name on PyPI.
        marker: name of a file that identifies a folder of this format.
        beside: suffixes of the further files that lie beside the main file.
        float16: whether weights can be stored in float16.
        one_image: whether the file takes only batches of one image.
    """

    suffix: str
    write: Callable[[Any, Path, str, str], None]
    open: Callable[[Path], Engine] | None
    open_exact: Callable[[Path], Engine] | None = None
    packages: Mapping[str, str] = field(default_factory=dict)
    marker: str = ""
    beside: tuple[str, ...] = ()
    float16: bool = True
    one_image: bool = False

    def recognises(self, path: Path) -> bool:
        """Whether a path exists and has this format, judged by its suffix or its marker."""
        if self.suffix:  # a run folder may have any name, also one with this suffix
            return path.suffix == self.suffix and os.path.isfile(path)
        return os.path.isfile(path / self.marker)

    def parts(self, path: Path) -> list[Path]:
        """All files of an export to `path`; `path` itself is the last."""
        return [*(path.with_suffix(suffix) for suffix in self.beside), path]


class ExportedEngine:
    """Base class of the engines of exported files. Their input size is fixed."""

    def describe(self, text: str | bytes | None, path: Path) -> None:
        """Read the description (JSON) that export.py stored in the file. Raises `InputError`."""
        self.path = path
        try:
            description = json.loads(text or "null")
            self.input_size = int(description["input_size"])
            self.threshold = float(description["threshold"])
            self.maps = tuple(description["maps"])
            window = description.get("window")  # not in files of earlier versions
            self.window = (int(window[0]), int(window[1])) if window else None
            if self.input_size < 1 or not 0 <= self.threshold <= 1 or not self.maps:
                raise ValueError("out of range")
        except (TypeError, KeyError, ValueError) as error:
            raise InputError(
                f"expected a file written by export.py, got {path} without its description", "model"
            ) from error

    def resize(self, input_size: int) -> None:
        """Raise `InputError` if the size is not that of the file."""
        exported = f"{self.input_size}, the size that {self.path} was exported with"
        expect(input_size == self.input_size, "input_size", exported, input_size)


def logits_of(probability: np.ndarray) -> np.ndarray:
    """`log(p / (1 - p))` of float32 probabilities, in -16.1..16.6 (for 0 and 1)."""
    p = np.clip(probability, np.float32(1e-7), np.float32(1 - 2**-24))
    return cv2.log(p / (1 - p)).reshape(p.shape)


def signature(serving: Any) -> list[Any]:
    """The input signature of a Keras model, for `Model.export`.

    Without it, Keras would make the batch size variable even if it is 1. For ONNX, it would also
    require that the model is called first.
    """
    import keras

    return [keras.InputSpec(shape=serving.input.shape, dtype="float32", name="image")]


def load_package(module: str, package: str, path: Path) -> ModuleType:
    """Import an optional package that runs the file `path`. Raises `InputError`."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InputError(
            f"expected the package {package} to run {path} (pip install {package}), got: {error}",
            "model",
        ) from error


@contextlib.contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn any error of an engine about a bad file into an `InputError`, and hide its log."""
    kind = f"{path.suffix} file" if path.is_file() else "SavedModel"
    with quiet(), reading(path, f"a complete {kind} of export.py", "model"):
        yield

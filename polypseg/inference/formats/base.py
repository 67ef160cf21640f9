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

KEY = "polypseg"  # under which the description is stored in an exported file


class Engine(Protocol):
    """What runs a network.

    Attributes:
        input_size: S, the height and width at which it runs.
        threshold: on probabilities, as stored in the file.
        maps: names of the channels, the answer last.
        name: for the user, `"OpenVINO float32"`.
    """

    input_size: int
    threshold: float
    maps: tuple[str, ...]
    name: str

    def logits(self, batch: np.ndarray) -> np.ndarray:
        """From `(B, S, S, 3)` float32 RGB in 0..255 to `(B, S, S, maps)` float32."""

    def resize(self, input_size: int) -> None:
        """Run at another size. Raises `InputError` where that is not possible."""


@dataclass(frozen=True)
class Format:
    """A format that export.py writes.

    Attributes:
        suffix: of the file, `".onnx"`; "" for a folder.
        write: function of the Keras model, the path, the precision and the description (JSON).
        open: function from a path to its `Engine`; None if the format does not run in Python.
        open_exact: the same, but computing in float32 where `open` may choose a lower precision;
            default: `open`.
        packages: optional packages for writing and checking: module -> name on PyPI.
        marker: name of a file by which a folder of this format is recognised.
        beside: suffixes of further files, which lie beside the main one.
        half: whether weights can be stored in float16.
        one_image: whether the file takes batches of one image only.
    """

    suffix: str
    write: Callable[[Any, Path, str, str], None]
    open: Callable[[Path], Engine] | None
    open_exact: Callable[[Path], Engine] | None = None
    packages: Mapping[str, str] = field(default_factory=dict)
    marker: str = ""
    beside: tuple[str, ...] = ()
    half: bool = True
    one_image: bool = False

    def recognises(self, path: Path) -> bool:
        """Whether a path exists and has this format, by its suffix or its marker."""
        if self.suffix:
            return path.suffix == self.suffix and os.path.isfile(
                path
            )  # a run folder may have any name
        return os.path.isfile(path / self.marker)

    def parts(self, path: Path) -> list[Path]:
        """All files of an export to `path`; `path` itself is the last."""
        return [*(path.with_suffix(suffix) for suffix in self.beside), path]


class ExportedEngine:
    """Base class of the engines of exported files: reads the description; the size is fixed."""

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
    """The input of a Keras model, for `Model.export`.

    Without it Keras would let the batch size of one vary and, for ONNX, require a call first.
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

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

KEY = "polypseg"  # of the description inside an exported file


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
    """One that export.py writes.

    Attributes:
        suffix: of the file; "" for a folder.
        write: from Keras model, path, precision and description (JSON).
        open: from a path to its engine; None where Python does not run it.
        open_exact: the same, computing in float32 where `open` would choose less; default: `open`.
        packages: what writing and checking need beside the requirements: module -> name on PyPI.
        marker: of a folder, the file in it that tells it from others.
        beside: suffixes of further files that belong to it.
        half: whether weights can be stored in float16.
        one_image: whether it takes batches of one only.
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
        """Whether an existing path is of this format, by its name or its marker."""
        if self.suffix:
            return path.suffix == self.suffix and os.path.isfile(path)  # a run may have any name
        return os.path.isfile(path / self.marker)

    def parts(self, path: Path) -> list[Path]:
        """All files of an export to `path`, which comes last."""
        return [*(path.with_suffix(suffix) for suffix in self.beside), path]


class ExportedEngine:
    """What the engines of exported files share: their description, and a size that is fixed."""

    def describe(self, text: str | bytes | None, path: Path) -> None:
        """Read the JSON that export.py left in the file."""
        self.path = path
        try:
            description = json.loads(text or "null")
            self.input_size = int(description["input_size"])
            self.threshold = float(description["threshold"])
            self.maps = tuple(description["maps"])
            if self.input_size < 1 or not 0 <= self.threshold <= 1 or not self.maps:
                raise ValueError("out of range")
        except (TypeError, KeyError, ValueError) as error:
            raise InputError(
                f"expected a file written by export.py, got {path} without its description", "model"
            ) from error

    def resize(self, input_size: int) -> None:
        """Raise `InputError` for another size than the file's."""
        own = f"{self.input_size}, the size that {self.path} was exported with"
        expect(input_size == self.input_size, "input_size", own, input_size)


def logits_of(probability: np.ndarray) -> np.ndarray:
    """`log(p / (1 - p))` of float32 probabilities; those that round to 0 or 1 become -16.1 and
    16.6.
    """
    p = np.clip(probability, np.float32(1e-7), np.float32(1 - 2**-24))
    return cv2.log(p / (1 - p)).reshape(p.shape)


def signature(serving: Any) -> list:
    """The input of a Keras model as it is: `Model.export` would free the batch of one and, for
    ONNX, ask for a call first."""
    import keras

    return [keras.InputSpec(shape=serving.input.shape, dtype="float32", name="image")]


def load_package(module: str, package: str, path: Path) -> ModuleType:
    """Import an optional package, which runs `path`."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InputError(
            f"expected the package {package} to run {path} (pip install {package}), got: {error}",
            "model",
        ) from error


@contextlib.contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn what an engine says about a bad file into one line, also what it writes to stderr."""
    kind = f"{path.suffix} file" if path.is_file() else "SavedModel"
    with quiet(), reading(path, f"a complete {kind} of export.py", "model"):
        yield

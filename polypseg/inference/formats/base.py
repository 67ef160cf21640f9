"""What the formats share.

ONNX Runtime, OpenVINO and LiteRT run without TensorFlow and Keras.
"""

import contextlib
import importlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import cv2
import numpy as np

from polypseg.data.preparation import Preparation
from polypseg.errors import InputError, expect, reading
from polypseg.runtime import quiet

KEY = "polypseg"  # key of the description in an exported file
_WRITTEN = "a file written by export.py"


class Engine(Protocol):
    """Runs a network.

    Attributes:
        input_size: S, the height and width at which the network runs.
        threshold: threshold of the probabilities, as stored in the file.
        maps: names of the output channels. The last one is `"answer"`, the final prediction.
        name: name of the engine for the user, such as `"OpenVINO float32"`.
        kind: its name in `formats.ENGINES`, or that of its format.
    """

    input_size: int
    threshold: float
    maps: tuple[str, ...]
    name: str
    kind: str

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
        runs_with: the modules that running needs.
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
    runs_with: tuple[str, ...] = ()
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
    """Base class of the engines of exported files. Their input size is fixed.

    Attributes:
        source: digest of the `.keras` file that the file was made of; None for an ensemble, and in
            files of earlier versions.
        all_maps: whether it has all maps of the network; False in files of earlier versions.
        precision: of the stored weights, `"float32"` or `"float16"`.
    """

    kind: str
    name: str

    def logits(self, batch: np.ndarray) -> np.ndarray:
        """As in `Engine`."""
        raise NotImplementedError

    def describe(self, text: str | bytes | None, path: Path) -> None:
        """Read the description (JSON) that export.py stored in the file. Raises `InputError`."""
        self.path = path
        if not text:
            raise InputError(f"expected {_WRITTEN}, got {path} without its description", "model")
        with reading(path, _WRITTEN, "model"):
            description = json.loads(text)
            if not isinstance(description, dict):
                raise ValueError("its description is no JSON object")
            self.input_size = _checked(
                description, "input_size", "a number of pixels", lambda size: _is_level(size, 1)
            )
            self.threshold = _checked(
                description,
                "threshold",
                "a probability from 0 to 1",
                lambda value: type(value) in (int, float) and 0 <= value <= 1,
            )
            self.maps = tuple(
                _checked(
                    description,
                    "maps",
                    "a list of names",
                    lambda maps: (
                        isinstance(maps, list)
                        and maps
                        and all(isinstance(name, str) and name for name in maps)
                    ),
                )
            )
            # The window is not in files of earlier versions.
            window = _checked(
                description,
                "window",
                "two levels from 0 to 65535, the lower first",
                lambda window: (
                    window is None
                    or (
                        isinstance(window, list)
                        and len(window) == 2
                        and all(map(_is_level, window))
                        and window[0] < window[1]
                    )
                ),
            )
            self.window = (window[0], window[1]) if window else None
            self.source = description.get("source")
            self.all_maps = description.get("all_maps") is True
            self.precision = str(description.get("precision"))
            # Only in the file of a network that was trained on slices of volumes.
            volume = description.get("volume")
            self.preparation = None if volume is None else Preparation.from_dict(volume)
            # Of an ensemble, what `ensemble.origin` returned when it was exported.
            self.origin = _checked(
                description,
                "ensemble",
                "how its members were averaged",
                lambda ensemble: ensemble is None or isinstance(ensemble, dict),
            )

    def check_shapes(self, takes: Iterable[Any], gives: Iterable[Any]) -> None:
        """Compare the description with the network itself.

        Args:
            takes: shape of the network's input. A size that is no number is not compared.
            gives: shape of its output.

        Raises:
            InputError: the network takes another size, or gives other maps.
        """
        size = self.input_size
        described = ([size, size, 3], [size, size, len(self.maps)])
        for known, shape in zip(described, (list(takes)[1:], list(gives)[1:]), strict=True):
            fixed = [isinstance(length, int) and length > 0 for length in shape]
            if len(shape) != 3 or any(a != b and f for a, b, f in zip(shape, known, fixed)):
                raise InputError(
                    f"expected {_WRITTEN}, got {self.path}, whose description says "
                    f"{' x '.join(map(str, known))} where the network has "
                    f"{' x '.join(map(str, shape))}",
                    "model",
                )

    def resize(self, input_size: int) -> None:
        """Raise `InputError` if the size is not that of the file."""
        exported = f"{self.input_size}, the size that {self.path} was exported with"
        expect(input_size == self.input_size, "input_size", exported, input_size)


def _checked(
    description: Mapping[str, Any], key: str, expected: str, good: Callable[[Any], object]
) -> Any:
    """A value of the description. Raises ValueError."""
    value = description.get(key)
    if not good(value):
        raise ValueError(f"{key}: expected {expected}, got {json.dumps(value)}")
    return value


def _is_level(value: Any, lowest: int = 0) -> bool:
    """Whether a value is an integer of 16 bits, and no bool."""
    return type(value) is int and lowest <= value < 2**16


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

"""The one arrow from pixels to probability."""

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np

from polypseg.data.images import resize_image
from polypseg.errors import InputError
from polypseg.experiment.run import open_run
from polypseg.experiment.run_folder import similar_run
from polypseg.files import digest, file_digest

from .formats import NAMES, exported_as, format_of
from .formats.base import Engine, Format
from .formats.keras import KerasEngine
from .inputs import OneImage, as_image, is_one
from .predict import Network, predictions

Stamp = tuple[int, int, int]  # inode, size and time of a file: they change when it is replaced


class Predictor:
    """A trained network that takes images of any size, whatever runs it.

    Image -> network's size (by area) -> logits -> image's size (bilinear) -> sigmoid.

    It can be pickled; the other process opens the file anew, when it first uses it. Processes that
    are forked (multiprocessing's "fork") can run ONNX and TensorFlow Lite files alone, others raise
    `InputError` there.

    Attributes:
        input_size: height and width at which the network runs.
        threshold: on probabilities, as stored in the file; 0.5 where none is.
        maps: names of the network's channels, the answer last: `("answer",)` or
            `("global map", "stride 32", "stride 16", "answer")`.
        engine: what runs it, for the user: `"OpenVINO float32"`.

    Example:
        >>> predictor = Predictor.load("runs/pranet_resnet50")
        >>> probability = predictor("image.jpg")  # float32 (H, W) in [0, 1]
    """

    def __init__(
        self, engine: Engine, path: Path | None = None, stamps: dict[Path, Stamp] | None = None
    ):
        self._engine: Engine | None = engine
        self._path, self._stamps = path, stamps or {}
        self.input_size = engine.input_size
        self.threshold = engine.threshold
        self.maps: tuple[str, ...] = tuple(engine.maps)
        self.engine = engine.name

    @classmethod
    def load(cls, path: str | os.PathLike, input_size: int | None = None) -> "Predictor":
        """From a run folder, a `.keras` file or what export.py writes: a SavedModel folder,
        `.onnx`, OpenVINO's `.xml`, `.tflite`.

        Args:
            path: of it.
            input_size: height and width at which the network runs, a multiple of its stride;
                default: those it was trained at. An exported file runs at its own alone.

        Raises:
            InputError: another file, a missing package, a size that it cannot run at.
        """
        stamps = _stamps(find_network(path)[1])  # before it is read
        return cls(open_engine(path, input_size), Path(path).absolute(), stamps)

    def __getstate__(self) -> dict[str, Any]:
        if self._path is None:
            raise TypeError(
                "expected a Predictor of Predictor.load to pickle, got one without a path"
            )
        return self.__dict__ | {"_engine": None}

    @property
    def digest(self) -> str:
        """Of the network's files, 16 hexadecimal digits; of a run that is its `best.keras`.

        Raises:
            InputError: they are others by now than those that were loaded.
        """
        found = digest("".join(map(file_digest, self._stamps)).encode())
        if _stamps(self._stamps) != self._stamps:
            raise InputError(
                f"expected the files of {self._path} as they were loaded, got others: they have "
                "been changed since",
                "model",
            )
        return found

    def __call__(self, images: OneImage | Sequence[OneImage] | Iterator[OneImage]) -> Any:
        """Probabilities of one image or of several, of any sizes.

        Args:
            images: one image: an RGB `(H, W, 3)` or grey `(H, W)` uint8 array (OpenCV's BGR looks
                the same and has to be turned round before), a PIL image, or the path of a file. Or
                several: a list or a tuple of these, which is run as one batch, an `(N, H, W, 3)`
                uint8 array, or a generator.

        Returns:
            Of one image its `(H, W)` float32 array in [0, 1]; of several a list of these. Of a
            generator a generator, which runs at most 8 images at a time, when their maps are asked
            for.

        Raises:
            InputError: what is no image.
        """
        return self._each(images, self._answers)

    def all_maps(self, images: OneImage | Sequence[OneImage] | Iterator[OneImage]) -> Any:
        """As a call, but `(H, W, S)`: all maps, in the order of `maps`.

        Raises:
            ValueError: the network, or the exported file, gives the answer only.
        """
        if len(self.maps) == 1:
            raise ValueError(
                "expected a network with side maps (or a file exported with `all_maps`), got the "
                "answer only"
            )
        return self._each(images, self._stacks)

    def _each(self, images: Any, network: Network) -> Any:
        if isinstance(images, Iterator):
            pairs = ((None, as_image(image, index)) for index, image in enumerate(images))
            return (found.maps for batch in predictions(pairs, network) for found in batch)
        if is_one(images):
            return network([as_image(images)])[0]
        return network([as_image(image, index) for index, image in enumerate(images)])

    def _answers(self, images: list[np.ndarray]) -> list[np.ndarray]:
        return [maps[0] for maps in self._predict(images, slice(-1, None))]

    def _stacks(self, images: list[np.ndarray]) -> list[np.ndarray]:
        return [np.stack(maps, axis=-1) for maps in self._predict(images, slice(None))]

    def _predict(self, images: list[np.ndarray], channels: slice) -> list[list[np.ndarray]]:
        """For each `(H, W, 3)` uint8 image a list of its maps."""
        if not images:
            return []
        if self._engine is None:  # unpickled, and so it has a path
            self._engine = open_engine(cast(Path, self._path), self.input_size)
        logits = np.moveaxis(self._engine.logits(self._batch(images))[..., channels], -1, 1)
        return [
            [_invert(_enlarge(answer, image.shape[:2])) for answer in maps]
            for maps, image in zip(logits, images)
        ]

    def _batch(self, images: list[np.ndarray]) -> np.ndarray:
        """`(B, S, S, 3)` float32 in 0..255."""
        size = self.input_size, self.input_size
        return np.stack([resize_image(image, size) for image in images]).astype(np.float32)


def open_engine(path: str | os.PathLike, input_size: int | None = None) -> Engine:
    """The engine of a run folder or a model file, see `formats.base`.

    Args:
        path: run folder, `.keras` file, or what export.py wrote.
        input_size: height and width at which it runs; default: its own.

    Raises:
        InputError: a file that is none of these, a missing package, a size that it cannot run at.
    """
    form, files = find_network(path)
    engine: Any = form.open(Path(path)) if form and form.open else KerasEngine(files[0])
    if input_size is not None:
        engine.resize(input_size)
    return engine


def find_network(path: str | os.PathLike) -> tuple[Format | None, list[Path]]:
    """The format of a network, None for Keras's own, and its files; of a run its `best.keras`.

    Raises:
        InputError: there is no network.
    """
    path = Path(path)
    if not os.path.exists(path):  # which also takes names that are too long
        raise InputError(
            "expected a run folder or a model file, "
            f"got {path}, which does not exist{similar_run(path)}",
            "model",
        )
    form = exported_as(path)
    if form and form.open:
        return form, sorted(path.rglob("*")) if path.is_dir() else form.parts(path)
    if path.suffix == ".keras" or path.is_dir():
        return None, [path if path.suffix == ".keras" else open_run(path).best]
    suffixes = ", ".join(filter(None, (format_of(name).suffix for name in NAMES)))
    raise InputError(
        f"expected a run folder, a SavedModel folder, .keras, {suffixes}, got {path}", "model"
    )


def _stamps(files: Iterable[Path]) -> dict[Path, Stamp]:
    """The `Stamp` of each file."""
    found = {}
    for file in map(Path.absolute, files):
        if os.path.isfile(file):
            status = file.stat()
            found[file] = status.st_ino, status.st_size, status.st_mtime_ns
    return found


def _enlarge(logits: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """`(h, w)` logits to `(H, W)` negated ones, cut to -80..80: steps that cost less on the small
    map.
    """
    return cv2.resize(
        _negated(np.array(logits, order="C")), size[::-1], interpolation=cv2.INTER_LINEAR
    )


def sigmoid(values: np.ndarray) -> np.ndarray:
    """`1 / (1 + exp(-x))` of float32 logits, in place. OpenCV's exp is several times faster than
    NumPy's.
    """
    return _invert(_negated(values))


def _negated(values: np.ndarray) -> np.ndarray:
    np.clip(values, -80.0, 80.0, out=values)
    return np.negative(values, out=values)


def _invert(values: np.ndarray) -> np.ndarray:
    """`1 / (1 + exp(x))`, in place."""
    cv2.exp(values, values)
    values += 1.0
    return np.reciprocal(values, out=values)

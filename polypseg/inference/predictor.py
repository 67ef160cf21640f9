"""From an image to the probability of each of its pixels, for scoring, images and videos."""

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np

from polypseg.data.images import Window, resize_image
from polypseg.data.preparation import Preparation
from polypseg.errors import InputError
from polypseg.files import digest, file_digest
from polypseg.runtime import ProcessLock

from .ensemble import Where, origin
from .formats import AUTO
from .formats.base import Engine
from .inputs import OneImage, as_image, is_one_image
from .networks import find_network, open_engine
from .predict import Network, predictions

Stamp = tuple[int, int, int]  # inode, size and time of a file, which change when it is replaced


class Predictor:
    """A trained network that takes images of any size, run by any engine.

    An image is resized to the network's input size (by area). The logits are resized to the
    image's size (bilinearly). Then the sigmoid is computed.

    Threads can share a Predictor: the network processes one call after the other.

    A Predictor can be pickled: the process that receives it opens the file again at its first use.
    In a forked process (multiprocessing's "fork") only ONNX and TensorFlow Lite files run; other
    networks raise `InputError` there.

    Attributes:
        input_size: height and width at which the network runs.
        threshold: threshold of the probabilities, as stored in the file; 0.5 if it stores none.
        maps: names of the network's output channels: `("answer",)` or
            `("global map", "stride 32", "stride 16", "answer")`. The last one, the answer, is the
            final prediction.
        engine: name of the engine that runs the network, such as `"OpenVINO float32"`.
        origin: of an ensemble, how it averages and the digests of its members by their paths, as
            `ensemble.origin` returns them; {} for one network.
        window: the two levels that become black and white in image files with 16 bits, as in the
            training of the network; None for 0 and 65535. It can be set.
        preparation: how the slices of volumes were made that the network was trained on; None if it
            was trained on other images, or if this is not known, as for a `.keras` file.

    Example:
        >>> predictor = Predictor.load("runs/pranet_resnet50")
        >>> probability = predictor("image.jpg")  # float32 (H, W) in [0, 1]
    """

    def __init__(
        self,
        engine: Engine,
        path: Path | list[Path] | None = None,
        stamps: dict[Path, Stamp] | None = None,
        window: Window | None = None,
        origin: dict[str, Any] | None = None,
        preparation: Preparation | None = None,
    ):
        self._engine: Engine | None = engine
        self._lock = ProcessLock()  # most engines mix up the calls of two threads
        self._path, self._stamps = path, stamps or {}
        self.input_size = engine.input_size
        self.threshold = engine.threshold
        self.maps: tuple[str, ...] = tuple(engine.maps)
        self.engine = engine.name
        self._kind = engine.kind
        self.origin = origin or {}
        self.window = window
        self.preparation = preparation

    @classmethod
    def load(cls, path: Where, input_size: int | None = None, engine: str = AUTO) -> "Predictor":
        """Load a network, or several as one that gives the mean of their logits.

        Args:
            path: run folder, `.keras` file, or a file that `export` wrote: a SavedModel folder,
                `.onnx`, OpenVINO's `.xml`, `.tflite`. For an ensemble a list of run folders and
                `.keras` files, or the folder of a cross-validation or of several seeds.
            input_size: height and width in pixels at which the network runs, a multiple of its
                stride; default: the size of its training. An exported file has a fixed size.
            engine: what runs the network of a run folder, `"onnx"`, `"openvino"`, `"tflite"` or
                `"keras"`; all but Keras run the file that `export` wrote beside `best.keras`.
                `"auto"` takes the first of these that is installed and has a file of this network;
                the attribute `engine` says which one it is.

        Raises:
            InputError: the path is none of these, a package is missing, the network cannot run at
                this size or in this engine, or the networks of an ensemble do not fit together.

        Example:
            >>> Predictor.load("pranet.onnx").engine
            'ONNX Runtime'
        """
        network = find_network(path, engine)
        stamps = _stamps(network.files)  # taken before the files are read
        opened = network.open(input_size)
        window = getattr(opened, "window", network.window)
        preparation = getattr(opened, "preparation", network.preparation)
        if network.members:
            paths = [member.path.absolute() for member in network.members]
            return cls(opened, paths, stamps, window, origin(network.members), preparation)
        one = Path(path).absolute()  # type: ignore[arg-type]  # a list has members
        return cls(opened, one, stamps, window, getattr(opened, "origin", None), preparation)

    def __getstate__(self) -> dict[str, Any]:
        if self._path is None:
            raise TypeError(
                "expected a Predictor made by Predictor.load, got one without a path, which cannot "
                "be pickled"
            )
        return self.__dict__ | {"_engine": None}

    @property
    def digest(self) -> str:
        """A hash of the network's files (of a run: `best.keras`), 16 hexadecimal digits.

        That of an ensemble does not depend on the order of its members.

        Raises:
            InputError: the files have changed since they were loaded.
        """
        of_files = [file_digest(file) for file in self._stamps]
        if isinstance(self._path, list):
            of_files.sort()
        found = digest("".join(of_files).encode())
        if _stamps(self._stamps) != self._stamps:
            paths = self._path if isinstance(self._path, list) else [self._path]
            raise InputError(
                f"expected the files of {', '.join(map(str, paths))} to stay the same, got files "
                "that have changed since they were loaded",
                "model",
            )
        return found

    def __call__(self, images: OneImage | Sequence[OneImage] | Iterator[OneImage]) -> Any:
        """Probability of foreground for each pixel of one or several images, of any size.

        Args:
            images: one image: an RGB `(H, W, 3)` or grey `(H, W)` uint8 array (convert OpenCV's
                BGR first), a PIL image, or the path of a file. Or several: a list or a tuple of
                these, which is run as one batch, an `(N, H, W, 3)` uint8 array, or a generator.

        Returns:
            `(H, W)` float32 in [0, 1] for one image, a list of such arrays for several. A generator
            gives a generator, which runs up to 8 images at a time when their maps are requested.

        Raises:
            InputError: something is not an image.

        Example:
            >>> [map_.shape for map_ in predictor(["a.jpg", "b.png"])]
            [(480, 560), (1080, 1350)]
        """
        return self._run(images, self._final_maps)

    def all_maps(self, images: OneImage | Sequence[OneImage] | Iterator[OneImage]) -> Any:
        """Like a call of the Predictor, but return all maps, `(H, W, S)`, in the order of `maps`.

        Raises:
            ValueError: the network, or the exported file, has only one map, the answer.
        """
        if len(self.maps) == 1:
            raise ValueError(
                "expected a network with side outputs (or a file exported with `all_maps`), got "
                "one whose only map is the answer"
            )
        return self._run(images, self._stacked_maps)

    def _run(self, images: Any, network: Network) -> Any:
        if isinstance(images, Iterator):
            pairs = (
                (None, as_image(image, index, self.window)) for index, image in enumerate(images)
            )
            batches = predictions(pairs, network)
            return (prediction.maps for batch in batches for prediction in batch)
        if is_one_image(images):
            return network([as_image(images, window=self.window)])[0]
        return network([as_image(image, index, self.window) for index, image in enumerate(images)])

    def _final_maps(self, images: list[np.ndarray]) -> list[np.ndarray]:
        return [maps[0] for maps in self._predict(images, slice(-1, None))]

    def _stacked_maps(self, images: list[np.ndarray]) -> list[np.ndarray]:
        return [np.stack(maps, axis=-1) for maps in self._predict(images, slice(None))]

    def _predict(self, images: list[np.ndarray], channels: slice) -> list[list[np.ndarray]]:
        """A list of maps `(H, W)` for each `(H, W, 3)` uint8 image."""
        if not images:
            return []
        batch = self._batch(images)
        with self._lock:
            if self._engine is None:  # unpickled, so it has a path
                self._engine = open_engine(cast(Where, self._path), self.input_size, self._kind)
            logits = self._engine.logits(batch)
        logits = np.moveaxis(logits[..., channels], -1, 1)
        return [
            [_sigmoid_of_negated(_negated_at(map_, image.shape[:2])) for map_ in maps]
            for maps, image in zip(logits, images)
        ]

    def _batch(self, images: list[np.ndarray]) -> np.ndarray:
        """The images at the network's size, `(B, S, S, 3)` float32 in 0..255."""
        size = self.input_size, self.input_size
        return np.stack([resize_image(image, size) for image in images]).astype(np.float32)


def _stamps(files: Iterable[Path]) -> dict[Path, Stamp]:
    """The `Stamp` of each file."""
    found = {}
    for file in map(Path.absolute, files):
        if os.path.isfile(file):
            status = file.stat()
            found[file] = status.st_ino, status.st_size, status.st_mtime_ns
    return found


def _negated_at(logits: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Negate `(h, w)` logits, clip them to -80..80, and resize them to `(H, W)`.

    Resizing comes last, because the small map has fewer pixels.
    """
    return cv2.resize(
        _negated(np.array(logits, order="C")), size[::-1], interpolation=cv2.INTER_LINEAR
    )


def sigmoid(values: np.ndarray) -> np.ndarray:
    """`1 / (1 + exp(-x))` of float32 logits, in place.

    OpenCV's exp is several times faster than NumPy's.
    """
    return _sigmoid_of_negated(_negated(values))


def _negated(values: np.ndarray) -> np.ndarray:
    np.clip(values, -80.0, 80.0, out=values)
    return np.negative(values, out=values)


def _sigmoid_of_negated(values: np.ndarray) -> np.ndarray:
    """`1 / (1 + exp(x))`, in place."""
    cv2.exp(values, values)
    values += 1.0
    return np.reciprocal(values, out=values)

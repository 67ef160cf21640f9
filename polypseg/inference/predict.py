"""The loop that runs a network on many images, used for scoring, images and videos."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from polypseg.data.images import read_image

from .stages import Stages

_FLIPS = ((1,), (0,), (0, 1))


# A function from images `(H, W, 3)` uint8 to their maps `(H, W)` or `(H, W, S)` float32, such as a
# `Predictor`.
Network = Callable[[list[np.ndarray]], list[np.ndarray]]


class Prediction(NamedTuple):
    """The result of the network for one image.

    Attributes:
        item: the item that came with the image.
        image: `(H, W, 3)` uint8; None if the item had no image.
        maps: `(H, W)` or `(H, W, S)` float32; None if the item had no image.
    """

    item: Any
    image: np.ndarray | None
    maps: np.ndarray | None


@dataclass
class CallTimes:
    """How long the calls of a network take, from images to maps at the images' sizes.

    The first call with each number of images is counted separately, because it may build or compile
    a graph for this number.

    Attributes:
        images: number of images in all other calls.
        seconds: time of all other calls.
        first_images: number of images in the first calls.
        first_seconds: time of the first calls.
    """

    images: int = 0
    seconds: float = 0.0
    first_images: int = 0
    first_seconds: float = 0.0
    _seen: set[int] = field(default_factory=set)

    def add(self, images: int, seconds: float) -> None:
        """Count a call with `images` images that took `seconds`."""
        if images in self._seen:
            self.images += images
            self.seconds += seconds
        else:
            self._seen.add(images)
            self.first_images += images
            self.first_seconds += seconds

    @property
    def milliseconds(self) -> float | None:
        """Mean time of an image, without the first calls; None if there were no other calls."""
        return 1e3 * self.seconds / self.images if self.images else None


def predict(
    predictor: Network, items: Iterable[Any], tta: bool = False, batch_size: int = 8
) -> Iterator[np.ndarray]:
    """Yield the probability map of each item's image, `(H, W)` float32 in [0, 1], in order.

    Reading, the network and the work of the caller overlap in time.

    Args:
        predictor: the network.
        items: objects whose attribute `image` is a path.
        tta: whether to average the maps of the image and of its three flips.
        batch_size: number of images in a call of the network.

    Raises:
        InputError: an image cannot be read.
    """
    network = partial(_mean_of_flips, predictor) if tta else predictor

    def read(item: Any) -> np.ndarray:
        return read_image(item.image, window=getattr(predictor, "window", None))

    def maps() -> Iterator[list[np.ndarray | None]]:
        pairs = read_ahead(items, read, pool, 2 * batch_size)
        for batch in predictions(pairs, network, batch_size):
            yield [prediction.maps for prediction in batch]

    with ThreadPoolExecutor() as pool:
        for batch in Stages({"network": maps}, depth=1):
            yield from batch


def read_ahead(
    items: Iterable[Any], read: Callable[[Any], Any], pool: Executor, ahead: int
) -> Iterator[tuple[Any, Any]]:
    """Yield `(item, read(item))` in order, while `pool` reads up to `ahead` items in advance."""
    futures = ((item, pool.submit(read, item)) for item in items)
    waiting = deque(islice(futures, ahead))
    try:
        while waiting:
            item, future = waiting.popleft()
            yield item, future.result()
            waiting.extend(islice(futures, 1))
    finally:
        for _, future in waiting:
            future.cancel()


def predictions(
    pairs: Iterable[tuple[Any, np.ndarray | None]],
    network: Network,
    batch_size: int = 8,
    max_pixels: float = 2**24,
    times: CallTimes | None = None,
) -> Iterator[list[Prediction]]:
    """Yield a list of `Prediction`s for each call of the network.

    Args:
        pairs: items and their images, `(H, W, 3)` uint8 of any sizes. If an image is None, the
            network does not run on it.
        network: function from images to their maps: a `Predictor`, or its `all_maps`.
        batch_size: number of pairs in a call.
        max_pixels: largest number of pixels in a call with several images; it limits memory.
        times: measures the calls.
    """
    for batch in _batches(pairs, batch_size, max_pixels):
        images = [image for _, image in batch if image is not None]
        started = time.perf_counter()
        maps = iter(network(images))
        if times and images:
            times.add(len(images), time.perf_counter() - started)
        yield [
            Prediction(item, image, None if image is None else next(maps)) for item, image in batch
        ]


def _batches(
    pairs: Iterable[tuple[Any, np.ndarray | None]], size: int, max_pixels: float
) -> Iterator[list[tuple[Any, np.ndarray | None]]]:
    """Lists of `size` pairs; a list with more than `max_pixels` pixels is split."""
    batch: list[tuple[Any, np.ndarray | None]] = []
    pixels = 0
    for number, (item, image) in enumerate(pairs, 1):
        added = 0 if image is None else image.shape[0] * image.shape[1]
        if batch and pixels + added > max_pixels:
            yield batch
            batch, pixels = [], 0
        batch.append((item, image))
        pixels += added
        if number % size == 0:
            yield batch
            batch, pixels = [], 0
    if batch:
        yield batch


def _mean_of_flips(predictor: Network, images: list[np.ndarray]) -> list[np.ndarray]:
    maps = predictor(images)
    for axes in _FLIPS:
        flipped = predictor([np.ascontiguousarray(np.flip(image, axes)) for image in images])
        maps = [total + np.flip(map_, axes) for total, map_ in zip(maps, flipped)]
    return [total / np.float32(1 + len(_FLIPS)) for total in maps]

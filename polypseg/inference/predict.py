"""The one loop from images through a network to maps."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from polypseg.data.images import read_image

from .stages import Stages

_FLIPS = ((1,), (0,), (0, 1))


class Prediction(NamedTuple):
    """An item, its image `(H, W, 3)` uint8, the network's maps of it, `(H, W)` or `(H, W, S)`
    float32, both None where there was no image, and its share of the call's milliseconds.
    """

    item: Any
    image: np.ndarray | None
    maps: np.ndarray | None
    milliseconds: float


def predict(
    predictor: Callable, items: Iterable, tta: bool = False, batch_size: int = 8
) -> Iterator[np.ndarray]:
    """Yield the probability map `(H, W)` float32 of each item's image, in order; reading, the
    network and what the caller does with the maps overlap.

    Args:
        predictor: see `Predictor`.
        items: anything with `image`, a path.
        tta: average over the image and its three flips.
    """
    network = partial(_mean_of_flips, predictor) if tta else predictor

    def maps():
        pairs = read_ahead(items, lambda item: read_image(item.image), pool, 2 * batch_size)
        for batch in predictions(pairs, network, batch_size):
            yield [found.maps for found in batch]

    with ThreadPoolExecutor() as pool:
        for batch in Stages({"network": maps}, depth=1):
            yield from batch


def read_ahead(
    items: Iterable, read: Callable, pool: Executor, ahead: int
) -> Iterator[tuple[Any, Any]]:
    """Yield `(item, read(item))` in order, while `pool` reads at most `ahead` items."""
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
    pairs: Iterable,
    network: Callable,
    batch_size: int = 8,
    most: float = 2**24,
    warm: bool = False,
) -> Iterator[list[Prediction]]:
    """Yield a list of `Prediction`s for each call of the network.

    Args:
        pairs: items and their images `(H, W, 3)` uint8 of any sizes; None is not for the network.
        network: from images to their maps: a `Predictor`, or its `all_maps`.
        batch_size: pairs a call.
        most: pixels a call of several images, whose maps need memory.
        warm: leave the first call with so many images, which may compile, out of the milliseconds.
    """
    warmed = {0}
    for batch in _batches(pairs, batch_size, most):
        images = [image for _, image in batch if image is not None]
        if warm and len(images) not in warmed:
            warmed.add(len(images))
            network([np.zeros((1, 1, 3), np.uint8)] * len(images))
        started = time.perf_counter()
        maps = iter(network(images))
        milliseconds = 1e3 * (time.perf_counter() - started) / max(len(images), 1)
        yield [
            Prediction(item, image, None if image is None else next(maps), milliseconds)
            for item, image in batch
        ]


def _batches(pairs, size, most):
    """Lists of `size` pairs, split where they exceed `most` pixels."""
    batch, pixels = [], 0
    for number, (item, image) in enumerate(pairs, 1):
        more = 0 if image is None else image.shape[0] * image.shape[1]
        if batch and pixels + more > most:
            yield batch
            batch, pixels = [], 0
        batch.append((item, image))
        pixels += more
        if number % size == 0:
            yield batch
            batch, pixels = [], 0
    if batch:
        yield batch


def _mean_of_flips(predictor, images):
    maps = predictor(images)
    for axes in _FLIPS:
        flipped = predictor([np.ascontiguousarray(np.flip(image, axes)) for image in images])
        maps = [total + np.flip(map_, axes) for total, map_ in zip(maps, flipped)]
    return [total / np.float32(1 + len(_FLIPS)) for total in maps]

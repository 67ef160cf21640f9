"""The scores of maps, image by image."""

import time
from collections import deque
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from multiprocessing import get_context
from typing import NamedTuple

import cv2
import numpy as np

from polypseg.data.images import read_mask
from polypseg.data.maps import read_map
from polypseg.errors import InputError, of_argument
from polypseg.inference.predict import predict
from polypseg.metrics import DataSetScores, ImageScores, overlap, score
from polypseg.runtime import cores

# Starting a pool takes about as long.
_ALONE = 1.0


class Scored(NamedTuple):
    """One picture: its pair, its probability map and its numbers."""

    pair: tuple
    probability: np.ndarray
    scores: dict


def evaluate(predictor, pairs, threshold=0.5, batch_size=8):
    """Yield a `Scored` for each pair, in order: the overlap only."""
    for pair, probability in zip(pairs, predict(predictor, pairs, batch_size=batch_size)):
        yield Scored(pair, probability, overlap(read_mask(pair.mask), probability >= threshold))


class Rules(NamedTuple):
    """How maps are scored; see `metrics.score`. `resize`: a map of another size than its mask is
    scaled.
    """

    threshold: float = 0.5
    empty: str = "one"
    resize: bool = False


class Result(NamedTuple):
    stem: str
    scores: ImageScores
    top: int  # the highest grey level of a saved map; 255 for others


def score_items(items, rules, maps=None, workers=None):
    """Yield the `Result` of each item, in order, on all processor cores.

    Args:
        items: `Item`s.
        rules: `Rules`.
        maps: a generator of their maps, closed in the end; default: the files that the items name.
        workers: processes to use; default: as many as there are cores.

    Raises:
        InputError: an unreadable file, a map of another size than its mask, nan: one line with the
            file's name.
    """
    maps = (None for _ in items) if maps is None else maps
    jobs = ((item, map_, rules) for item, map_ in zip(items, maps))
    workers = workers or cores()
    spent, last = 0.0, time.monotonic()
    with closing(maps):
        for job in jobs:  # a small data set is done before they have started
            if time.monotonic() - last > 0.01:  # the network is slower: they could not help it
                spent = 0.0
            start = time.thread_time()
            result = score_item(*job)
            spent += time.thread_time() - start
            yield result
            if workers > 1 and spent > _ALONE:
                break
            last = time.monotonic()
        yield from _share_out(jobs, workers)


def _share_out(jobs, workers):
    pending = deque()
    job = next(jobs, None)
    if job is None:
        return
    # A fresh interpreter each, because TensorFlow's threads do not survive a fork.
    pool = ProcessPoolExecutor(workers, get_context("spawn"), initializer=_one_thread)
    try:
        while job is not None or pending:
            while (
                job is not None and len(pending) < 3 * workers
            ):  # no more maps in memory than that
                pending.append(pool.submit(score_item, *job))
                job = next(jobs, None)
            yield pending.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _one_thread():
    cv2.setNumThreads(1)


def score_item(item, map_, rules):
    """The `Result` of one item; `map_` is its map, or None to read it."""
    with of_argument("masks" if map_ is None else "data_path"):
        mask = read_mask(item.mask)
    given = read_map(item.map) if map_ is None else map_
    name = item.map if map_ is None else item.image
    if given.shape != mask.shape:
        if not rules.resize:
            raise InputError(
                f"{name}: expected the size of its mask, {_size(mask)}, got {_size(given)}; "
                "`resize` scales the map"
            )
        given = resize_map(given, mask.shape)
    try:
        scores = score(mask, given, rules.threshold, rules.empty)
    except ValueError as error:
        raise InputError(f"{name}: {error}") from error
    top = int(given.max()) if given.dtype == np.uint8 else 255
    return Result(item.stem, scores, top)


class SourceScores:
    """All that was found out about one `Source`.

    Attributes:
        source, rules, results: what was scored and how, and the `Result`s.
        total: as `DataSetScores.result`; `curves`: protocol to mean curves.
        empty: how many masks have no foreground.
    """

    def __init__(self, source, rules, results):
        self.source, self.rules, self.results = source, rules, results
        scores = DataSetScores()
        for result in results:
            scores.update_state(result.scores)
        self.total = scores.result()
        self.curves = {protocol: scores.curves(protocol) for protocol in ("threshold", "pranet")}
        self.empty = sum(result.scores.area == 0 for result in results)


def resize_map(map_, size):
    """A map as float32 in [0, 1] of (height, width): by area or, if a side grows, bilinearly."""
    values = (
        np.divide(map_, 255, dtype=np.float32)
        if map_.dtype == np.uint8
        else map_.astype(np.float32)
    )
    shrinks = size[0] <= values.shape[0] and size[1] <= values.shape[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.clip(cv2.resize(values, size[::-1], interpolation=method), 0, 1)


def _size(array):
    return f"{array.shape[1]} x {array.shape[0]}"

"""The scores of maps, image by image."""

import contextlib
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple, cast

import cv2
import numpy as np

from polypseg.data.decoding import limit_pixels, max_megapixels
from polypseg.data.images import Window, read_orientation
from polypseg.data.maps import read_map
from polypseg.data.mask_rule import BLACK_AND_WHITE, MaskRule
from polypseg.data.masks import orientation_problem, read_mask
from polypseg.data.pairs import Pair
from polypseg.errors import InputError, of_argument
from polypseg.inference.predict import predict
from polypseg.layers.types import IGNORED
from polypseg.metrics import GroundTruth, ImageScores, overlap, score
from polypseg.runtime import cores

from .sources import Item

# Other processes are started after this many seconds of scoring, which is about how long they need
# to start.
_SECONDS_ALONE = 1.0

_Job = tuple[Item, np.ndarray | None, "Rules"]


class Scored(NamedTuple):
    """One image with its prediction.

    Attributes:
        pair: the image and its mask.
        probability: `(H, W)` float32 in [0, 1], of the mask's size.
        scores: Dice, IoU, precision and recall at the threshold, as `metrics.overlap` returns them.
        mask: as `data.masks.read_mask` returns it.
    """

    pair: Pair
    probability: np.ndarray
    scores: dict[str, float]
    mask: np.ndarray


def evaluate(
    predictor: Callable[..., Any],
    pairs: Sequence[Pair],
    threshold: float = 0.5,
    batch_size: int = 8,
    rule: MaskRule = BLACK_AND_WHITE,
) -> Iterator[Scored]:
    """Run a network on pairs and score each image.

    Args:
        predictor: a `Predictor`, or a function from a list of images to a list of their maps.
        pairs: images and masks, see `data.find_pairs`.
        threshold: from 0 to 1; a pixel is foreground if its probability is at least this.
        batch_size: images per call of the network.
        rule: what the levels of the masks mean, see `data.masks.read_mask`.

    Yields:
        A `Scored` for each pair, in order.

    Raises:
        InputError: an image or a mask that cannot be read.

    >>> predictor = Predictor.load("runs/pranet_resnet50")  # doctest: +SKIP
    >>> pairs, _ = find_pairs("datasets/kvasir-seg")  # doctest: +SKIP
    >>> [scored.scores["dice"] for scored in evaluate(predictor, pairs)]  # doctest: +SKIP
    """
    for pair, probability in zip(pairs, predict(predictor, pairs, batch_size=batch_size)):
        mask = read_mask(pair.mask, rule)
        _check_orientation(pair.image, pair.mask, mask.shape)
        found = (probability >= threshold) & (mask != IGNORED)
        yield Scored(pair, probability, overlap(mask == 1, found), mask)


class Rules(NamedTuple):
    """How maps are scored.

    Attributes:
        threshold: from 0 to 1; see `metrics.score`.
        empty: what an empty mask scores, "skip", "one" or "zero"; see `metrics.score`.
        resize: scale a map whose size differs from its mask's, instead of raising an error.
        masks: what the levels of the masks mean, see `data.masks.read_mask`.
        window: of the images with 16 bits, see `data.images.read_image`.
        lesion_iou: a lesion is found if its IoU with a predicted component is above this.
        lesion_pixels: the smallest size of a lesion; smaller components of the mask do not count.
        boundary: tolerance of the surface Dice, in pixels (of volumes: in mm); None leaves the
            boundary scores out.
    """

    threshold: float = 0.5
    empty: str = "one"
    resize: bool = False
    masks: MaskRule = BLACK_AND_WHITE
    window: Window | None = None
    lesion_iou: float = 0.1
    lesion_pixels: int = 10
    boundary: float | None = None


class Result(NamedTuple):
    """The scores of one image.

    Attributes:
        stem: of the image.
        scores: under both protocols.
        top: the highest grey level of a uint8 map; 255 for a map of floats.
    """

    stem: str
    scores: ImageScores
    top: int


def score_items(
    items: Iterable[Item],
    rules: Rules,
    maps: Iterator[np.ndarray] | None = None,
    workers: int | None = None,
) -> Iterator[Result]:
    """Score items on several processor cores.

    Args:
        items: what is scored.
        rules: how it is scored.
        maps: their maps, in the same order; default: the files in `Item.map`. A generator is closed
            at the end.
        workers: number of processes; default: the number of cores.

    Yields:
        A `Result` for each item, in order.

    Raises:
        InputError: a file that cannot be read, a map that does not have the size of its mask, or a
            map with nan. One line with the name of the file.
    """
    pairs = zip(items, maps) if maps is not None else ((item, None) for item in items)
    jobs = ((item, map_, rules) for item, map_ in pairs)
    workers = workers or cores()
    spent, last = 0.0, time.monotonic()
    with contextlib.ExitStack() as stack:
        if isinstance(maps, Generator):
            stack.callback(maps.close)
        for job in jobs:  # a small data set is scored before other processes would have started
            # In a longer pause this loop waits for the network: more processes would not help.
            if time.monotonic() - last > 0.01:
                spent = 0.0
            start = time.thread_time()
            result = score_item(*job)
            spent += time.thread_time() - start
            yield result
            if workers > 1 and spent > _SECONDS_ALONE:
                break
            last = time.monotonic()
        yield from _score_in_processes(jobs, workers)


def _score_in_processes(jobs: Iterator[_Job], workers: int) -> Iterator[Result]:
    """Score jobs in several processes."""
    pending: deque[Any] = deque()
    job = next(jobs, None)
    if job is None:
        return
    # New interpreters, because TensorFlow's threads do not survive a fork.
    pool = ProcessPoolExecutor(
        workers, get_context("spawn"), initializer=_prepare_worker, initargs=(max_megapixels(),)
    )
    try:
        while job is not None or pending:
            while job is not None and len(pending) < 3 * workers:  # limits the maps in memory
                pending.append(pool.submit(score_item, *job))
                job = next(jobs, None)
            yield pending.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _prepare_worker(megapixels: float) -> None:
    cv2.setNumThreads(1)
    limit_pixels(megapixels)


def score_item(item: Item, map_: np.ndarray | None, rules: Rules) -> Result:
    """Score one item.

    Args:
        item: what is scored.
        map_: `(H, W)`, uint8 or floats in [0, 1]; if it is None, the map is read from `item.map`.
        rules: how it is scored.

    Raises:
        InputError: see `score_items`.
    """
    with of_argument("masks" if map_ is None else "data_path"):
        mask = read_mask(item.mask, rules.masks)
        if map_ is not None and item.image is not None:  # the network has seen the image
            _check_orientation(item.image, item.mask, mask.shape)
    name = item.image
    if map_ is None:
        name = item.map
        map_ = read_map(cast(Path, item.map))
    if map_.shape != mask.shape:
        if not rules.resize:
            raise InputError(
                f"{name}: expected the size of its mask, {_size(mask)}, got {_size(map_)}; "
                "`resize` scales the map"
            )
        map_ = resize_map(map_, mask.shape)
    try:
        truth = GroundTruth(mask == 1, mask == IGNORED)
        scores = score(
            truth,
            map_,
            rules.threshold,
            rules.empty,
            rules.lesion_iou,
            rules.lesion_pixels,
            rules.boundary,
        )
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{name}: {error}") from error
    top = int(map_.max()) if map_.dtype == np.uint8 else 255
    return Result(item.stem, scores, top)


def _check_orientation(image: Path, mask: Path, shape: tuple[int, ...]) -> None:
    problem = orientation_problem(read_orientation(image), read_orientation(mask), shape)
    if problem:
        raise InputError(f"{mask}: expected a mask that lies on its image, but {problem}")


def resize_map(map_: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Resize a map: by area if no side grows, else bilinearly.

    Args:
        map_: `(H, W)`, uint8 grey levels or floats in [0, 1].
        size: height and width.

    Returns:
        `size` float32 in [0, 1].
    """
    values = (
        np.divide(map_, 255, dtype=np.float32)
        if map_.dtype == np.uint8
        else map_.astype(np.float32)
    )
    shrinks = size[0] <= values.shape[0] and size[1] <= values.shape[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.clip(cv2.resize(values, size[::-1], interpolation=method), 0, 1)


def _size(array: np.ndarray) -> str:
    return f"{array.shape[1]} x {array.shape[0]}"

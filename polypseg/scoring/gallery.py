"""Example images for the report: true positives, false positives and false negatives in colour."""

import base64
import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import cv2
import numpy as np

from polypseg.data.images import Window, read_image
from polypseg.data.masks import read_mask
from polypseg.drawing.comparison import draw_comparison
from polypseg.layers.types import IGNORED

from .evaluation import Result, Rules, resize_map
from .sources import Item

_MOST_EXAMPLES = 64  # in a report; each takes 20 to 40 kB


class Example(NamedTuple):
    """An image of a report.

    Attributes:
        kind: "worst" or "median".
        stem: of the image.
        dice: its Dice at the threshold.
        src: a JPEG as a data URL.
    """

    kind: str
    stem: str
    dice: float
    src: str


def draw_examples(
    items: Sequence[Item],
    results: Sequence[Result],
    rules: Rules,
    maps_of: Callable[[Sequence[Item]], Iterable[np.ndarray]],
    sources: int = 1,
) -> list[Example]:
    """Draw the images with the lowest Dice and those around the median.

    Args:
        items: what was scored.
        results: their scores, in the same order.
        rules: how they were scored.
        maps_of: returns the maps of items.
        sources: number of sources that share the report.
    """
    worst, median = choose(results, min(8, max(1, _MOST_EXAMPLES // (2 * sources))))
    chosen = [*(("worst", index) for index in worst), *(("median", index) for index in median)]
    maps = maps_of([items[index] for _, index in chosen])
    examples = []
    for (kind, index), map_ in zip(chosen, maps):
        stem, scores, _ = results[index]
        if map_.shape != scores.size:
            map_ = resize_map(map_, scores.size)
        tile = draw_tile(items[index], map_, rules)
        examples.append(Example(kind, stem, scores.threshold["dice"], data_url(tile)))
    return examples


def choose(results: Sequence[Result], count: int) -> tuple[list[int], list[int]]:
    """Indices of the `count` results with the lowest Dice, and of `count` others around the median.

    Both lists are in rising order of Dice, and no index is in both.
    """
    ranked = sorted(
        (result.scores.threshold["dice"], index)
        for index, result in enumerate(results)
        if not math.isnan(result.scores.threshold["dice"])
    )
    worst = [index for _, index in ranked[:count]]
    start = max(min(len(ranked) // 2 - count // 2, len(ranked) - count), len(worst))
    return worst, [index for _, index in ranked[start : start + count]]


def draw_tile(item: Item, map_: np.ndarray, rules: Rules) -> np.ndarray:
    """Draw the comparison of one mask and its map, see `drawing.comparison.draw_comparison`.

    Args:
        item: the mask and its image; if the image cannot be read, the map is the background.
        map_: `(H, W)`, uint8 or floats in [0, 1], of the mask's size.
        rules: how the map is scored.
    """
    mask = read_mask(item.mask, rules.masks)
    values = map_ / np.float32(255) if map_.dtype == np.uint8 else map_
    background = _read_if_possible(item, rules.window)
    if background is None:
        background = np.repeat((values * 160)[..., None], 3, axis=2).astype(np.uint8)
    found = values >= rules.threshold
    tile: np.ndarray = draw_comparison(background, mask == 1, found, mask == IGNORED)
    return tile


def _read_if_possible(item: Item, window: Window | None) -> np.ndarray | None:
    """The image, or None if it is missing or broken: saved maps can be scored without it."""
    if item.image is None:
        return None
    try:
        return read_image(item.image, window=window)
    except (ValueError, OSError):
        return None


def data_url(tile: np.ndarray) -> str:
    """An RGB image as a JPEG in a data URL."""
    bgr = cv2.cvtColor(tile, cv2.COLOR_RGB2BGR)
    _, encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 82])
    return "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode("ascii")

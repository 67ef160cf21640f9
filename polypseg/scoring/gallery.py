"""The pictures of a report: what was found rightly, found wrongly and missed, on the image."""

import base64
import math

import cv2
import numpy as np

from polypseg.data.images import read_image, read_mask
from polypseg.drawing.comparison import draw


def choose(results, each):
    """Indices of the `each` results of lowest Dice and of the `each` around the median, both in
    rising order.
    """
    ranked = sorted(
        (result.scores.threshold["dice"], index)
        for index, result in enumerate(results)
        if not math.isnan(result.scores.threshold["dice"])
    )
    worst = [index for _, index in ranked[:each]]
    start = max(min(len(ranked) // 2 - each // 2, len(ranked) - each), len(worst))
    return worst, [index for _, index in ranked[start : start + each]]


def picture(item, map_, threshold):
    """One tile as a JPEG in a data URL.

    Args:
        item: `Item`; without an image the map itself is the ground.
        map_: `(H, W)`, uint8 or floats in [0, 1], of the mask's size.
        threshold: on the map.
    """
    mask = read_mask(item.mask).astype(bool)
    values = map_ / np.float32(255) if map_.dtype == np.uint8 else map_
    try:
        ground = read_image(item.image)
    except (
        TypeError,
        ValueError,
        OSError,
    ):  # none, or a broken one beside saved maps, which were scored without it
        ground = np.repeat((values * 160)[..., None], 3, axis=2).astype(np.uint8)
    tile = draw(ground, mask, values >= threshold)
    _, encoded = cv2.imencode(
        ".jpg", cv2.cvtColor(tile, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 82]
    )
    return "data:image/jpeg;base64," + base64.b64encode(encoded).decode("ascii")

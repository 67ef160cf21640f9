"""What a mask consists of, in numbers."""

from typing import NamedTuple

import cv2
import numpy as np


class Regions(NamedTuple):
    """A cut probability map.

    Attributes:
        area: foreground pixels.
        boxes: `(left, top, width, height)` in pixels of each region (pixels that touch, at a corner
            too), largest area first.
        confidence: mean probability of the foreground pixels; NaN where there are none.
    """

    area: int
    boxes: list[tuple[int, int, int, int]]
    confidence: float


def find_regions(probability: np.ndarray, threshold: float) -> Regions:
    """`Regions` of a `(H, W)` float32 probability map; foreground is `probability >= threshold`."""
    mask = (probability >= threshold).astype(np.uint8)
    count, _, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    rows = sorted(stats[1:count].tolist(), key=lambda row: (-row[cv2.CC_STAT_AREA], *row))
    area = sum(row[cv2.CC_STAT_AREA] for row in rows)
    confidence = (
        float(np.sum(probability, where=mask > 0, dtype=np.float64) / area)
        if area
        else float("nan")
    )
    boxes = [(left, top, width, height) for left, top, width, height, _ in rows]
    return Regions(area, boxes, confidence)

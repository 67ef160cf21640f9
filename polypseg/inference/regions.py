"""Number, position, size and confidence of the regions of a mask."""

from typing import NamedTuple

import cv2
import numpy as np


class Regions(NamedTuple):
    """The foreground of a probability map after thresholding.

    Attributes:
        area: number of foreground pixels.
        boxes: `(left, top, width, height)` of each region in pixels, largest area first. Pixels
            that touch, even only at a corner, belong to the same region.
        confidence: mean probability of the foreground pixels; NaN if there are none.
    """

    area: int
    boxes: list[tuple[int, int, int, int]]
    confidence: float


def find_regions(probability: np.ndarray, threshold: float) -> Regions:
    """Find the regions of a probability map.

    Args:
        probability: `(H, W)` float32 in [0, 1].
        threshold: a pixel is foreground if its probability is at least this.

    Example:
        >>> find_regions(np.float32([[0.9, 0.7, 0.1]]), 0.5)
        Regions(area=2, boxes=[(0, 0, 2, 1)], confidence=0.8...)
    """
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

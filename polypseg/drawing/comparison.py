"""True positives, false positives and false negatives, drawn on the image."""

import cv2
import numpy as np

from .colours import FALSE, HIT, IGNORED, MISSED, OUTLINE
from .overlay import draw_contour, tint

_SIDE = 420


def draw_comparison(
    image: np.ndarray, mask: np.ndarray, found: np.ndarray, ignored: np.ndarray | None = None
) -> np.ndarray:
    """Colour where a prediction agrees with the ground truth and where it differs from it.

    Args:
        image: RGB uint8 with three channels, of any size. It is resized to the size of the result.
        mask: ground truth, `(H, W)` bool; its outline is drawn.
        found: prediction, `(H, W)` bool.
        ignored: pixels that do not count, `(H, W)` bool; they are darkened.

    Returns:
        `(h, w, 3)` uint8 RGB with the proportions of the mask; the longer side is at most 420.
    """
    scale = min(1.0, _SIDE / max(mask.shape))
    size = max(1, round(mask.shape[1] * scale)), max(1, round(mask.shape[0] * scale))
    image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    ignored = np.zeros_like(mask) if ignored is None else ignored
    mask, found, ignored = (
        cv2.resize(part.astype(np.uint8) * 255, size, interpolation=cv2.INTER_AREA) > 127
        for part in (mask, found, ignored)
    )
    image = tint(image, ignored, IGNORED, 0.75)
    found = found & ~ignored
    for part, colour, strength in (
        (mask & found, HIT, 0.3),
        (found & ~mask, FALSE, 0.5),
        (mask & ~found, MISSED, 0.5),
    ):
        image = tint(image, part, colour, strength)
    return draw_contour(image, mask, OUTLINE)

"""A page of pictures with ground truth and prediction."""

import cv2
import numpy as np

from .colours import INK, PAGE, PREDICTION, TRUTH
from .overlay import draw_contour, tint


def fit(array, size, fill):
    """Resize `(H, W)` or `(H, W, 3)` uint8 into a `size` x `size` square of `fill`, proportions
    kept.
    """
    height, width = array.shape[:2]
    scale = size / max(height, width)
    height, width = max(1, round(height * scale)), max(1, round(width * scale))
    square = np.empty((size, size, *array.shape[2:]), np.uint8)
    square[:] = fill
    top, left = (size - height) // 2, (size - width) // 2
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    square[top : top + height, left : left + width] = cv2.resize(
        array, (width, height), interpolation=interpolation
    )
    return square


def sheet(rows, columns=4, size=224):
    """A contact sheet: each picture with ground truth (cyan) and prediction (yellow).

    Args:
        rows: `(image (H, W, 3) uint8, ground truth (H, W), prediction (H, W), caption)` each,
            masks in {0, 1}.
        columns: pictures side by side.
        size: of a picture, in pixels.

    Returns:
        uint8 RGB.
    """
    pad, head, foot = 12, 44, 26
    lines = -(-len(rows) // columns)
    page = np.empty((head + lines * (size + foot), columns * (size + pad) + pad, 3), np.uint8)
    page[:] = PAGE
    _text(page, "ground truth", (pad, 29), TRUTH)
    _text(page, "prediction", (pad + 130, 29), PREDICTION)
    for index, (image, truth, prediction, caption) in enumerate(rows):
        top, left = head + index // columns * (size + foot), pad + index % columns * (size + pad)
        truth, prediction = (
            fit(mask.astype(np.uint8) * 255, size, 0) > 127 for mask in (truth, prediction)
        )
        picture = tint(fit(image, size, PAGE), prediction, PREDICTION, 0.15)
        picture = draw_contour(draw_contour(picture, truth, TRUTH), prediction, PREDICTION)
        page[top : top + size, left : left + size] = picture
        _text(page, caption, (left, top + size + 16), INK, 0.42)
    return page


def _text(page, text, position, colour, scale=0.55):
    cv2.putText(page, text, position, cv2.FONT_HERSHEY_SIMPLEX, scale, colour, 1, cv2.LINE_AA)

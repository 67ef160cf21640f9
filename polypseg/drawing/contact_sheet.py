"""A page of images with ground truth and prediction."""

from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image

from .colours import INK, PAGE, PREDICTION, TRUTH, Colour
from .overlay import draw_contour, tint
from .text import draw_text

_SIDE = 224


def fit(array: np.ndarray, size: int, fill: int | Colour) -> np.ndarray:
    """Resize an image so that it fits into a square and keeps its proportions.

    Args:
        array: `(H, W)` or `(H, W, 3)` uint8.
        size: side of the square, in pixels.
        fill: grey level or colour of the bars beside the image.

    Returns:
        `(size, size)` or `(size, size, 3)` uint8.
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


def sheet(
    rows: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray, str]], columns: int = 4
) -> np.ndarray:
    """A contact sheet: each image with ground truth (cyan) and prediction (yellow).

    Args:
        rows: one `(image, ground truth, prediction, caption)` per tile: an `(H, W, 3)` uint8 RGB
            image, two `(H, W)` masks in {0, 1} or bool, and a text. If the text is wider than the
            tile, it is shortened in its middle.
        columns: largest number of tiles side by side.

    Returns:
        The page, `(height, width, 3)` uint8 RGB.
    """
    pad, head, foot = 12, 44, 36
    columns = min(columns, len(rows))
    lines = -(-len(rows) // columns)
    page = Image.new("RGB", (columns * (_SIDE + pad) + pad, head + lines * (_SIDE + foot)), PAGE)
    draw_text(page, "ground truth", (pad, 12), TRUTH, 18)
    draw_text(page, "prediction", (pad + 122, 12), PREDICTION, 18)
    for index, (image, truth, prediction, caption) in enumerate(rows):
        top, left = head + index // columns * (_SIDE + foot), pad + index % columns * (_SIDE + pad)
        truth, prediction = (
            fit(mask.astype(np.uint8) * 255, _SIDE, 0) > 127 for mask in (truth, prediction)
        )
        tile = tint(fit(image, _SIDE, PAGE), prediction, PREDICTION, 0.15)
        tile = draw_contour(draw_contour(tile, truth, TRUTH), prediction, PREDICTION)
        page.paste(Image.fromarray(tile), (left, top))
        draw_text(page, caption, (left, top + _SIDE + 7), INK, 14, _SIDE)
    return np.asarray(page)

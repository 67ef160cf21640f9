"""Some slices of a volume side by side, with ground truth and prediction."""

from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image

from .colours import INK, PAGE, PREDICTION, TRUTH
from .overlay import draw_contour
from .scale_bar import draw_scale_bar
from .text import draw_text

_SIDE, _GAP, _HEAD = 220, 6, 26


def slice_strip(
    slices: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray, str]],
    spacing: tuple[float, float],
    columns: int,
    sides: tuple[str, str] | None = None,
) -> np.ndarray:
    """Draw the outlines of ground truth (cyan) and prediction (yellow) on slices.

    All slices show the same part: the square around all foreground, with a margin, at least two
    fifths of the slice. Each has a scale bar.

    Args:
        slices: `(image, ground truth, prediction, caption)` of one size: an `(H, W, 3)` uint8 RGB
            image, two `(H, W)` bool masks, and a text.
        spacing: height and width of a pixel in mm.
        columns: for how many slices there is room.
        sides: letters of what is on the left and on the right of a slice, such as `("R", "L")`.

    Returns:
        The strip, `(height, width, 3)` uint8 RGB.
    """
    window = _window(np.any([truth | found for _, truth, found, _ in slices], axis=0), spacing)
    pixels_per_mm = _SIDE / ((window[0].stop - window[0].start) * spacing[0])
    page = Image.new("RGB", (columns * (_SIDE + _GAP) - _GAP, _HEAD + _SIDE), PAGE)
    for index, (image, truth, found, caption) in enumerate(slices):
        tile = _square(image, window)
        for mask, colour in ((truth, TRUTH), (found, PREDICTION)):
            part = _square(mask.astype(np.uint8) * 255, window)
            tile = draw_contour(tile, part > 127, colour, 2)
        left = index * (_SIDE + _GAP)
        page.paste(Image.fromarray(tile), (left, _HEAD))
        for side, x in zip(sides or (), (left + 10, left + _SIDE - 10)):
            draw_text(page, side, (x, _HEAD + _SIDE // 2), INK, 14, anchor="mm")
        draw_scale_bar(page, (left + _SIDE - 6, _HEAD + _SIDE - 8), pixels_per_mm, _SIDE)
        draw_text(page, caption, (left + 4, 4), INK, 14, _SIDE - 8)
    return np.asarray(page)


def _window(occupied: np.ndarray, spacing: tuple[float, float]) -> tuple[slice, slice]:
    """Rows and columns of a square, in mm, around what is occupied; it may leave the slice."""
    top, left = (np.flatnonzero(occupied.any(axis=axis))[0] for axis in (1, 0))
    bottom, right = (np.flatnonzero(occupied.any(axis=axis))[-1] + 1 for axis in (1, 0))
    sides = [length * size for length, size in zip(occupied.shape, spacing)]
    foreground = max((bottom - top) * spacing[0], (right - left) * spacing[1])
    side = min(max(1.5 * foreground, 0.4 * max(sides)), max(sides))
    cuts = []
    for first, last, size in ((top, bottom, spacing[0]), (left, right, spacing[1])):
        count = max(1, round(side / size))
        start = round((first + last - count) / 2)
        cuts.append(slice(start, start + count))
    return cuts[0], cuts[1]


def _square(array: np.ndarray, window: tuple[slice, slice]) -> np.ndarray:
    """That part of a slice as a square; 0 outside of the slice."""
    rows, columns = window
    part = np.zeros((rows.stop - rows.start, columns.stop - columns.start, *array.shape[2:]), "u1")
    inside = [
        slice(max(cut.start, 0), min(cut.stop, length))
        for cut, length in zip((rows, columns), array.shape)
    ]
    place = tuple(
        slice(cut.start - whole.start, cut.stop - whole.start)
        for cut, whole in zip(inside, (rows, columns))
    )
    part[place] = array[tuple(inside)]
    shrinks = max(part.shape[:2]) > _SIDE
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(part, (_SIDE, _SIDE), interpolation=method), np.uint8)

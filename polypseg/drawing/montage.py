"""A page with slices of a volume and the outline of a mask, as a radiologist sees them."""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

from .colours import FAINT, INK, MARK, PAGE
from .scale_bar import draw_scale_bar
from .text import draw_text

_SIDE, _MARGIN, _GAP, _HEAD = 360, 22, 8, 92
_LEVEL = 16  # darker pixels are air around the body


class Tile(NamedTuple):
    """A slice.

    Attributes:
        image: `(H, W, 3)` uint8; all slices of a page have the same size.
        mask: `(H, W)` in {0, 1} or bool.
        caption: a short text, drawn on the slice.
    """

    image: np.ndarray
    mask: np.ndarray
    caption: str


def montage(
    tiles: Sequence[Tile],
    pixel: float,
    sides: tuple[str, str],
    title: str,
    facts: str,
    columns: int = 4,
) -> np.ndarray:
    """Show slices with the outline of their masks, the letters of their sides, and a scale bar.

    All slices are cut to the part that has something to see.

    Args:
        tiles: the slices, in the order of the page. Their pixels are square.
        pixel: size of a pixel in mm.
        sides: letters of what is on the left and on the right of a slice, such as `("R", "L")`.
        title: first line of the page. If it is too long, it is shortened in its middle.
        facts: second line of the page.
        columns: largest number of slices side by side.

    Returns:
        The page, `(height, width, 3)` uint8 RGB.
    """
    rows, cols = _body([tile.image for tile in tiles])
    height, width = rows.stop - rows.start, cols.stop - cols.start
    scale = min(_SIDE / width, _SIDE / height)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    cell = max(size[0], _SIDE // 2) + 2 * _MARGIN, size[1] + 2 * _MARGIN
    columns = min(columns, len(tiles))
    lines = -(-len(tiles) // columns)
    page_width = max(columns * (cell[0] + _GAP) + _GAP, 640)
    page = Image.new("RGB", (page_width, _HEAD + lines * (cell[1] + _GAP)), PAGE)
    draw_text(page, title, (_GAP + 4, 16), INK, 24, page.width - 2 * _GAP)
    draw_text(page, facts, (_GAP + 4, 54), FAINT, 16, page.width - 2 * _GAP)
    for index, tile in enumerate(tiles):
        left = _GAP + index % columns * (cell[0] + _GAP)
        top = _HEAD + index // columns * (cell[1] + _GAP)
        page.paste(_cell(tile, (rows, cols), size, cell, sides, scale / pixel), (left, top))
    return np.asarray(page)


def _cell(
    tile: Tile,
    part: tuple[slice, slice],
    size: tuple[int, int],
    cell: tuple[int, int],
    sides: tuple[str, str],
    pixels_per_mm: float,
) -> Image.Image:
    """A part of a slice, resized to `size`, in the middle of a black cell with letters and bar."""
    drawn = Image.fromarray(_drawn(tile.image[part], tile.mask[part], size))
    page = Image.new("RGB", cell)
    page.paste(drawn, ((cell[0] - size[0]) // 2, _MARGIN))
    middle = cell[1] // 2
    draw_text(page, sides[0], (_MARGIN // 2, middle), INK, 16, anchor="mm")
    draw_text(page, sides[1], (cell[0] - _MARGIN // 2, middle), INK, 16, anchor="mm")
    draw_text(page, tile.caption, (6, 4), INK, 14, cell[0] - 12)
    draw_scale_bar(page, (cell[0] - 8, cell[1] - 8), pixels_per_mm, cell[0])
    return page


def _body(images: Sequence[np.ndarray]) -> tuple[slice, slice]:
    """Rows and columns outside of which all images are black, with a small margin."""
    bright = np.maximum.reduce(images).max(axis=-1) > _LEVEL
    found = []
    for axis in (1, 0):
        indices = np.flatnonzero(bright.any(axis=axis))
        length = bright.shape[1 - axis]
        margin = length // 40
        first, last = (indices[0], indices[-1]) if len(indices) else (0, length - 1)
        found.append(slice(max(0, int(first) - margin), min(length, int(last) + margin + 1)))
    return found[0], found[1]


def _drawn(image: np.ndarray, mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A slice at another size with a thin outline, which lies outside of the mask.

    So a single pixel is seen, too, and nothing of what is inside is hidden.
    """
    smaller = size[0] < image.shape[1]
    method = cv2.INTER_AREA if smaller else cv2.INTER_CUBIC
    image = cv2.resize(image, size, interpolation=method)
    full = np.ascontiguousarray(mask, np.uint8) * np.uint8(255)
    # Rounded, not in steps of the slice's pixels: the outline shows where the level is one half.
    grey = cv2.resize(full, size, interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)
    inside = (grey > 127).astype(np.uint8)
    outline, rim = (
        cv2.dilate(inside, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))) > 0
        for side in (3, 5)
    )
    image[rim & (inside == 0)] //= 2
    image[outline & (inside == 0)] = MARK
    return image

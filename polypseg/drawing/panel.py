"""All maps of a network for one image, side by side."""

from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image

from .colours import FAINT, INK, PAGE
from .overlay import overlay
from .text import draw_text

_SIDE, _GAP, _COLUMNS, _TEXT = 400, 20, 4, 17


def panel(
    image: np.ndarray,
    maps: np.ndarray,
    names: Sequence[str],
    threshold: float,
    title: str,
    facts: str,
) -> np.ndarray:
    """Show image, overlay, mask and probability, and then the side outputs from coarse to fine.

    A text that is too long is shortened in its middle.

    Args:
        image: `(H, W, 3)` uint8 RGB.
        maps: `(H, W, S)` float32 probabilities; the last map is the final prediction.
        names: names of the S maps.
        threshold: the mask is `maps[..., -1] >= threshold`.
        title: first line of the page.
        facts: second line of the page.

    Returns:
        The page, `(height, width, 3)` uint8 RGB.
    """
    scale = _SIDE / max(image.shape[:2])
    width, height = (max(1, round(side * scale)) for side in image.shape[1::-1])

    def fit(array: np.ndarray) -> np.ndarray:
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        return cv2.resize(array, (width, height), interpolation=method)

    mask = fit((maps[..., -1] >= threshold) * np.uint8(255))
    cells = {
        "image": fit(image),
        "overlay": overlay(fit(image), mask > 127),  # resized first, for a thin outline
        f"mask (probability of {threshold:g} or more)": cv2.cvtColor(mask, cv2.COLOR_GRAY2RGB),
        "probability": fit(_heat(maps[..., -1])),
    }
    cells |= {name: fit(_heat(maps[..., index])) for index, name in enumerate(names[:-1])}
    cell_width, cell_height = max(width, 280) + _GAP, height + 44
    lines = -(-len(cells) // _COLUMNS)
    page = Image.new("RGB", (_COLUMNS * cell_width + _GAP, 96 + lines * cell_height), PAGE)
    bar_left = page.width - _GAP - 180
    draw_text(page, title, (_GAP, 20), INK, 24, bar_left - 2 * _GAP)
    draw_text(page, facts, (_GAP, 56), FAINT, _TEXT, page.width - 2 * _GAP)
    _draw_colour_bar(page, bar_left, 28)
    for index, (name, cell) in enumerate(cells.items()):
        left, top = _GAP + index % _COLUMNS * cell_width, 96 + index // _COLUMNS * cell_height
        page.paste(Image.fromarray(cell), (left, top))
        draw_text(page, name, (left, top + height + 8), INK, _TEXT, cell_width - _GAP)
    return np.asarray(page)


def _heat(probability: np.ndarray) -> np.ndarray:
    """Show `(H, W)` in [0, 1] as RGB colours from black through red to pale yellow."""
    colours = cv2.applyColorMap(np.rint(probability * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)
    return np.ascontiguousarray(colours[..., ::-1])  # BGR to RGB


def _draw_colour_bar(page: Image.Image, left: int, top: int) -> None:
    """Draw the scale of the colours, from 0 to 1."""
    ramp = np.broadcast_to(np.linspace(0, 1, 140, dtype=np.float32), (12, 140))
    page.paste(Image.fromarray(_heat(ramp)), (left + 18, top))
    draw_text(page, "0", (left + 10, top + 6), FAINT, _TEXT, anchor="rm")
    draw_text(page, "1", (left + 166, top + 6), FAINT, _TEXT, anchor="lm")

"""A scale bar on a slice of a volume."""

from PIL import Image, ImageDraw

from .colours import INK
from .text import draw_text


def draw_scale_bar(
    page: Image.Image, corner: tuple[int, int], pixels_per_mm: float, width: int
) -> None:
    """Draw a bar of a round length, and its length in cm or mm.

    Args:
        page: the image, which is changed in place.
        corner: (x, y) of the right end of the bar, in pixels.
        pixels_per_mm: pixels of the page for a millimetre.
        width: of the slice in pixels; the bar is at most two fifths of it.
    """
    mm = next((mm for mm in (100, 50, 20, 10, 5, 2, 1) if mm * pixels_per_mm <= 0.4 * width), None)
    if mm is None:
        return
    length = round(mm * pixels_per_mm)
    right, bottom = corner
    draw = ImageDraw.Draw(page)
    draw.line([(right - length, bottom), (right, bottom)], INK, 2)
    for x in (right - length, right):
        draw.line([(x, bottom - 3), (x, bottom + 3)], INK, 2)
    text = f"{mm // 10} cm" if mm >= 10 else f"{mm} mm"
    draw_text(page, text, (right - length - 8, bottom), INK, 13, anchor="rm")

"""Text on images."""

import importlib.util
import math
from functools import cache
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from .colours import Colour

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@cache
def _font(size: int) -> Font:
    """DejaVu Sans from matplotlib's folder, found without importing matplotlib (0.25 s)."""
    spec = importlib.util.find_spec("matplotlib")
    folder = Path(spec.origin).parent if spec and spec.origin else Path()
    try:
        return ImageFont.truetype(folder / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf", size)
    except OSError:  # some systems keep matplotlib's fonts elsewhere
        return ImageFont.load_default(size)


def draw_text(
    page: Image.Image,
    text: str,
    position: tuple[int, int],
    colour: Colour,
    size: int,
    width: float = math.inf,
    anchor: str = "la",
) -> None:
    r"""Draw one line of text on an RGB image.

    The font has Latin, Greek, Cyrillic and more, but no Chinese or Japanese. A letter that it lacks
    is shown as an escape (`\u65e5`, `\n`), as in the messages of the commands. With "?" instead,
    two file names could look the same.

    Args:
        page: the image, which is changed in place.
        position: (x, y) of the anchor, in pixels.
        colour: colour of the text.
        size: height of the font, in pixels.
        width: largest width in pixels. If the text is wider, "…" replaces its middle.
        anchor: Pillow's name for the point of the text at `position`; "la" is its top left corner.
    """
    font = _font(size)
    text = _shortened([_shown(letter) for letter in text], font, width)
    ImageDraw.Draw(page).text(position, text, colour, font, anchor)


def _shortened(letters: list[str], font: Font, width: float) -> str:
    text = "".join(letters)
    head, tail = letters[: len(letters) // 2], letters[len(letters) // 2 :]
    while font.getlength(text) > width and (head or tail):
        if len("".join(head)) > len("".join(tail)):
            head.pop()
        else:
            tail.pop(0)
        text = "".join(head).rstrip() + "…" + "".join(tail).lstrip()
    return text


@cache
def _shown(letter: str) -> str:
    """The letter, or an escape if the font has no glyph for it."""
    missing = "\U0010ffff"  # no font has it, because Unicode reserves it
    known = letter.isprintable() and _glyph(letter) != _glyph(missing)
    return letter if known else ascii(letter)[1:-1]


def _glyph(letter: str) -> tuple[tuple[int, int], bytes]:
    mask = _font(16).getmask(letter)
    return mask.size, bytes(mask)

"""One set of colours, and text that stays in its place, on sheets and panels."""

import ast
import math
import re
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from polypseg.data.synthetic import draw_scene
from polypseg.drawing.colours import INK, PAGE, PREDICTION, TRUTH
from polypseg.drawing.contact_sheet import sheet
from polypseg.drawing.panel import panel
from polypseg.drawing.slice_strip import slice_strip
from polypseg.drawing.text import draw_text

ROOT = Path(__file__).resolve().parent.parent


def colour_literals(code):
    """Source of each RGB triple and hex colour in Python code.

    No colours are triples that are unpacked or iterated over at once, and, but for black, those
    below 16: shapes and axes.
    """
    nodes, found = list(ast.walk(ast.parse(code))), []
    others = [node.iter for node in nodes if isinstance(node, (ast.For, ast.comprehension))]
    others += [
        node.value
        for node in nodes
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Tuple)
    ]
    for node in nodes:
        if isinstance(node, (ast.Tuple, ast.List)) and node not in others:
            values = [getattr(item, "value", None) for item in node.elts]
            if len(values) == 3 and all(type(value) is int for value in values):
                if max(values) <= 255 and (max(values) >= 16 or not any(values)):
                    found.append(ast.unparse(node))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found += re.findall(r"#(?:[0-9a-fA-F]{3}){1,2}\b", node.value)
    return found


@pytest.mark.parametrize(
    "code, found",
    [
        ("draw(page, (0, 0, 0))", ["(0, 0, 0)"]),
        ("A, B = (1, 2, 3), (18, 184, 134)", ["(18, 184, 134)"]),
        ("def f(colour=[255, 255, 255]): pass", ["[255, 255, 255]"]),
        ("f(color='#2563eb')", ["#2563eb"]),
        ("style = f'color: #fff; width: {w}'", ["#fff"]),
        ("np.zeros((8, 8, 3)); x.mean((1, 2, 3)); (4, 2, 256); (80, 60); '# 12'", []),
        ("pad, head, foot = 12, 44, 26\nfor batch in (1, 8, 32): pass", []),
    ],
)
def test_colour_literals_are_found(code, found):
    assert colour_literals(code) == found


def test_colours_have_one_owner():
    for path in (ROOT / "polypseg").rglob("*.py"):
        found = colour_literals(path.read_text())
        if path == ROOT / "polypseg" / "drawing" / "colours.py":
            assert "(60, 255, 110)" in found
        else:
            assert not found, f"{path}: name {found} in polypseg/drawing/colours.py"


FONT = Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")
LEAN = 2  # pixels by which a letter may start before its position


def drawn(text, size=17, width=math.inf):
    """A page of 600 x 60 pixels with a text by `draw_text`."""
    page = Image.new("RGB", (600, 60), (10, 20, 30))
    draw_text(page, text, (30, 20), (250, 240, 10), size, width)
    return np.asarray(page)


def by_pillow(text, size=17, left=30):
    page = Image.new("RGB", (600, 60), (10, 20, 30))
    font = ImageFont.truetype(FONT, size)
    ImageDraw.Draw(page).text((left, 20), text, (250, 240, 10), font)
    return np.asarray(page)


def ink(page):
    """First and last column that differ from the page, or None."""
    columns = np.flatnonzero((page != page[0, 0]).any((0, 2)))
    return (columns[0], columns[-1]) if len(columns) else None


@pytest.mark.parametrize(
    "text, shown",
    [
        ("polyp_07, ~50 %", "polyp_07, ~50 %"),
        (r"a\b", r"a\b"),
        ("Größe é Ж μ", "Größe é Ж μ"),
        ("日本_1", r"\u65e5\u672c_1"),
        ("\U0001f9e0", r"\U0001f9e0"),
        ("two\nlines\tand\x00", r"two\nlines\tand\x00"),
        ("not \udcff UTF-8", r"not \udcff UTF-8"),
        ("", ""),
    ],
)
def test_text_shows_what_the_font_lacks_as_escapes(text, shown):
    np.testing.assert_array_equal(drawn(text), by_pillow(shown))
    assert (ink(drawn(text)) is None) == (text == "")


def test_no_letter_is_an_empty_box():
    """Of random letters: those drawn as themselves are unlike what the font draws for U+10FFFF."""
    random = np.random.default_rng(0)
    box, plain = by_pillow("\U0010ffff", 40), 0
    for code in [*range(32, 127), *random.integers(160, 0x3000, 300)]:
        page = drawn(chr(code), size=40)
        assert (page != box).any()
        plain += (page == by_pillow(chr(code), 40)).all()
    assert 95 < plain < 395


@pytest.mark.parametrize("stem", ["polyp_of_patient_" * 9 + "_0071", "日本é" * 40])
@pytest.mark.parametrize("width", [200, 347, 499])
def test_a_wide_text_keeps_both_ends(stem, width):
    page = drawn(f"{stem}  Dice 0.812", width=width)
    assert ink(page)[0] >= 30 - LEAN and 30 + width - 60 < ink(page)[1] < 30 + width
    start = by_pillow(ascii(stem)[1:7])
    last = ink(start)[1] - 6  # without the edge of the last letter, which may touch the next
    np.testing.assert_array_equal(page[:, :last], start[:, :last])
    units = [
        letter if letter in "é" or letter.isascii() else ascii(letter)[1:-1] for letter in stem
    ]
    units += list("  Dice 0.812")
    font, candidates = ImageFont.truetype(FONT, 17), set()
    for head in range(1, len(units)):
        start = "".join(units[:head])
        for tail in range(12, len(units) - head):
            end = "".join(units[-tail:])
            if abs(len(start) - len(end)) <= 8:
                candidates.add(f"{start.rstrip()}…{end.lstrip()}")
    candidates = [text for text in candidates if width - 60 < font.getlength(text) <= width]
    assert candidates and any((page == by_pillow(text)).all() for text in candidates)


def test_text_is_never_wider_than_its_place():
    random = np.random.default_rng(1)
    letters = list("abcXYZ_ .·é日\n")
    for _ in range(200):
        text = "".join(random.choice(letters, random.integers(0, 60)))
        width = int(random.integers(20, 400))
        size = int(random.integers(10, 25))
        columns = ink(drawn(text, size=size, width=width))
        assert columns is None or columns[1] <= 30 + width
        if ImageFont.truetype(FONT, size).getlength(ascii(text)) < width:
            np.testing.assert_array_equal(
                drawn(text, size=size, width=width), drawn(text, size=size)
            )


SIZES = [(64, 1000), (1000, 64), (33, 47), (301, 299), (540, 720)]


def test_captions_of_a_sheet_stay_below_their_images():
    """A caption changes no pixels outside its place."""
    rows = []
    for index, size in enumerate(SIZES):
        image, mask = draw_scene(index, size)
        rows.append((image, mask, np.roll(mask, 9, 1), ""))
    plain = sheet(rows, columns=3)
    assert plain.shape == (44 + 2 * 260, 12 + 3 * 236, 3)
    captions = ["日本" * 90, "bad \udcff", "a_long_stem" * 20, "é\n" * 9, "Wj|"]
    for index, caption in enumerate(captions):
        named = list(rows)
        named[index] = (*rows[index][:3], caption)
        changed = (sheet(named, columns=3) != plain).any(2)
        top, left = 44 + index // 3 * 260, 12 + index % 3 * 236
        place = np.zeros_like(changed)
        place[top + 224 : top + 260, left - LEAN : left + 224] = True
        assert changed.any() and not (changed & ~place).any()


def test_a_sheet_is_as_wide_as_its_images():
    image, mask = draw_scene(1, (64, 96))
    widths = [sheet([(image, mask, mask, "a")] * count).shape[1] for count in (1, 2, 4, 9)]
    assert widths == [12 + 236 * columns for columns in (1, 2, 4, 4)]


@pytest.mark.parametrize("size", SIZES)
def test_names_of_a_panel_stay_in_their_cells(size):
    image, mask = draw_scene(3, size)
    maps = np.repeat(mask[..., None].astype(np.float32), 4, 2)

    def page(name, threshold=0.5, title="t", facts="f"):
        return panel(image, maps, ["a", name, "c", "d"], threshold, title, facts)

    plain = page("b")
    height, width = plain.shape[:2]
    cell = (width - 20) // 4
    for other, columns, rows in (
        (page("日本 " * 99), (20 + cell, 2 * cell), (height // 2, height)),
        (page("b", threshold=0.123456), (20 + 2 * cell, 3 * cell), (96, height)),
        (page("b", title="t\n" + "é" * 300), (20, width - 220), (0, 50)),
        (page("b", facts="f" * 300), (20, width - 20), (50, 90)),
    ):
        where = np.nonzero((other != plain).any(2))
        assert where[0].min() >= rows[0] and where[0].max() < rows[1]
        assert where[1].min() >= columns[0] - LEAN and where[1].max() < columns[1]


@pytest.mark.parametrize("size", [(30, 40), (240, 320), (1200, 1600)])
def test_the_outline_of_a_panel_is_thin_at_every_size(size):
    image = np.full((*size, 3), 90, np.uint8)
    maps = np.zeros((*size, 1), np.float32)
    maps[size[0] // 4 : size[0] // 2, size[1] // 4 : size[1] // 2] = 1
    page = panel(image, maps, ["a"], 0.5, "", "").astype(int)
    row = page[96 + 300 * 3 // 8, 20 + 420 : 20 + 420 + 400]  # through the mask, in the second cell
    green = row[:, 1] - row[:, 0] > 120  # the tint inside is paler
    assert 4 <= green.sum() <= 8
    assert abs(np.flatnonzero(green).mean() - 150) < 2


def test_slices_of_a_volume():
    """Outlines of ground truth and prediction at their places, in squares of millimetres."""
    truth, found = np.zeros((2, 30, 80), bool)
    truth[10:20, 2:22], found[10:20, 32:42] = True, True
    image = np.full((30, 80, 3), 90, np.uint8)
    # A row is 4 mm: the foreground is 40 mm high, and 40 mm wide from 2 to 42. A square of 1.5
    # times as much is shown, from -8 to 52 mm.
    slices = [(image, truth, found, "a"), (image, truth, truth, "b")]
    strip = slice_strip(slices, (4.0, 1.0), 3, ("R", "L"))
    assert strip.shape == (246, 3 * 226 - 6, 3)
    tile = strip[26:, :220].astype(int)
    assert (tile[:90, : round(8 / 60 * 220) - 4] == 0).all()  # left of the slice
    assert (tile[30:90, -20:] == 90).all()

    def columns(colour):
        near = np.abs(tile - colour).sum(axis=2) < 40
        return np.flatnonzero(near.any(axis=0))[[0, -1]] / 220 * 60 - 8

    assert columns(TRUTH) == pytest.approx([2, 22], abs=1)
    assert columns(PREDICTION) == pytest.approx([32, 42], abs=1)
    assert (strip[:, 460:] == PAGE).all()  # room for a third
    # 20 mm of 60 mm in 220 pixels, with an upright at each end.
    upright = np.flatnonzero((np.abs(tile[220 - 8 - 2] - INK) < 40).all(axis=1))
    assert np.ptp(upright[upright > 130]) == pytest.approx(20 / 60 * 220, abs=2)
    plain = slice_strip(slices, (4.0, 1.0), 3)
    letters = np.flatnonzero((plain != strip).any(axis=2).any(axis=0))
    assert [side for side in (10, 210) if np.abs(letters - side).min() < 6] == [10, 210]
    assert not ((letters > 20) & (letters < 200)).any()

"""The page with slices of a volume."""

import numpy as np
import pytest
from scipy import ndimage

from polypseg.drawing.colours import INK, MARK
from polypseg.drawing.montage import Tile, montage


def page_of(pixel=1.0, sides=("R", "L"), border=0, count=3, mask=None):
    """Slices of 100 x 80 pixels within a black border."""
    random = np.random.default_rng(0)
    tiles = []
    for number in range(count):
        image = np.dstack([random.integers(40, 120, (80, 100), np.uint8)] * 3)
        foreground = np.zeros((80, 100), np.uint8) if mask is None else mask
        image, foreground = (
            np.pad(array, [(border, border)] * 2 + [(0, 0)] * (array.ndim - 2))
            for array in (image, foreground)
        )
        tiles.append(Tile(image, foreground, f"slice {number}"))
    return montage(tiles, pixel, sides, "case", "facts")


def longest_run(page, colour):
    """Length of the longest horizontal run of a colour."""
    longest = 0
    for row in (page == colour).all(axis=-1):
        edges = np.flatnonzero(np.diff(np.concatenate([[0], row.view(np.int8), [0]])))
        longest = max(longest, *np.diff(edges)[::2], 0) if len(edges) else longest
    return longest


@pytest.mark.parametrize(("pixel", "mm"), [(0.5, 20), (1.0, 20), (2.0, 50), (0.08, 2)])
def test_the_bar_has_the_length_that_it_says(pixel, mm):
    """A slice of 100 pixels (5 mm of margin more) is 360 wide; the bar takes at most 40 %."""
    page = page_of(pixel)
    scale = 360 / 100 / pixel  # pixels of the page a mm
    lengths = [n for n in (100, 50, 20, 10, 5, 2, 1) if n * scale <= 0.4 * (360 + 44)]
    assert lengths[0] == mm
    assert abs(longest_run(page, INK) - mm * scale) <= 2


def test_the_outline_lies_around_the_mask():
    mask = np.zeros((80, 100), np.uint8)
    mask[20:40, 30:60] = 1
    page = page_of(count=1, mask=mask)
    rows, columns = np.nonzero(np.abs(page.astype(int) - MARK).max(axis=-1) < 30)
    scale = 360 / 100
    height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
    assert abs(height - 20 * scale) <= 4 and abs(width - 30 * scale) <= 4
    assert len(rows) < 0.2 * height * width  # an outline, no area
    assert not (np.abs(page_of(count=1).astype(int) - MARK).max(axis=-1) < 30).any()


def test_the_outline_hides_nothing_of_the_mask():
    """Even a single pixel is outlined."""
    mask = np.zeros((80, 100), np.uint8)
    mask[30, 50] = 1
    changed = (page_of(count=1, mask=mask) != page_of(count=1)).any(axis=-1)
    rows, columns = np.nonzero(changed)
    middle = slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1)
    inside = ndimage.binary_fill_holes(changed)[middle] & ~changed[middle]
    scale = 360 / 100
    assert (scale - 1) ** 2 <= inside.sum() <= (scale + 1) ** 2


def test_air_around_the_body_is_cut_off():
    """But for a margin of a fortieth."""
    assert longest_run(page_of(2.0, border=300), INK) > 0.8 * longest_run(page_of(2.0), INK)


def test_the_letters_say_the_sides():
    axial, sagittal = page_of(), page_of(sides=("A", "P"))
    _, columns = np.nonzero((axial != sagittal).any(axis=-1))
    cell = 360 + 2 * 22 + 8
    places = np.unique((columns - 8) // (cell / 2)).tolist()
    assert places == list(range(6))  # left and right of each of the three
    assert (np.minimum((columns - 8) % cell, cell - 8 - (columns - 8) % cell) < 22).all()


def test_a_black_slice_is_shown_too():
    tiles = [Tile(np.zeros((5, 7, 3), np.uint8), np.zeros((5, 7), bool), "slice 0")]
    assert montage(tiles, 0.7, ("R", "L"), "case" * 100, "facts").shape[2] == 3

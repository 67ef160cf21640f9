"""The S-measure, from the mean and the variance of a map in eight cells.

The cells are the four quadrants of the image (`GroundTruth.quadrants`), each divided into
background and foreground. Object and region terms are made of them by merging. `docs/metrics.md`
has the formula.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .ground_truth import GroundTruth

EPS = np.finfo(np.float64).eps  # MATLAB's eps


class Cell(NamedTuple):
    """Some pixels of a map.

    Attributes:
        pixels: their number.
        mean: mean of the map; 0 if there are no pixels.
        squares: sum (map - mean)^2. It is exactly 0 if the map is constant, because the S-measure
            treats a constant part differently.
    """

    pixels: int
    mean: float
    squares: float


def cell_of(values: NDArray[np.floating]) -> Cell:
    """The cell with these values, `(pixels,)`; at least one."""
    values = values.astype(np.float64)
    # Because the mean is rounded, constant values would seem to vary a little.
    if values.min() == values.max():
        return Cell(values.size, float(values[0]), 0.0)
    mean = float(values.mean())
    return Cell(values.size, mean, float(np.square(values - mean).sum()))


def cells_of_counts(
    counts: NDArray[np.intp], values: NDArray[np.float64]
) -> list[tuple[Cell, Cell]]:
    """The cells of a map of 256 levels, from its histogram.

    Args:
        counts: `(4, 2, 256)`, number of pixels by quadrant, background or foreground, and level.
        values: `(256,)`, the probability of each level.

    Returns:
        (background, foreground) of each quadrant.
    """
    pixels = counts.sum(axis=2)
    mean = counts @ values / np.maximum(pixels, 1)
    constant = np.count_nonzero(counts, axis=2) == 1
    mean = np.where(constant, values[counts.argmax(axis=2)], mean)  # not rounded
    squares = (counts * np.square(values - mean[..., None])).sum(axis=2)
    quadrants = zip(pixels.tolist(), mean.tolist(), squares.tolist())
    return [
        (Cell(*background), Cell(*foreground))
        for background, foreground in (zip(*q) for q in quadrants)
    ]


def merged(cells: Iterable[Cell]) -> Cell:
    """All pixels of several cells."""
    pixels, mean, squares = 0, 0.0, 0.0
    for cell in cells:
        if cell.pixels:
            before, step = pixels, cell.mean - mean
            pixels += cell.pixels
            mean += step * (cell.pixels / pixels)
            squares += cell.squares + step * step * (before * cell.pixels / pixels)
    return Cell(pixels, mean, squares)


def s_measure_of_cells(truth: GroundTruth, cells: Sequence[tuple[Cell, Cell]]) -> float:
    """Compute `s_measure` from the cells of a map.

    Args:
        truth: a `GroundTruth` that is neither empty nor full.
        cells: (background, foreground) of each quadrant.
    """
    background, foreground = (merged(of_class) for of_class in zip(*cells))
    score = 0.0
    for part, mean in ((foreground, foreground.mean), (background, 1 - background.mean)):
        deviation = np.sqrt(part.squares / max(part.pixels - 1, 1))
        weight = part.pixels / truth.pixels
        score += float(0.5 * weight * 2 * mean / (mean * mean + 1 + deviation + EPS))
    for background, foreground in cells:
        part = merged((background, foreground))
        if not part.pixels:
            continue
        mask_mean = foreground.pixels / part.pixels
        mask_squares = foreground.pixels * (1 - mask_mean)  # sum (mask - its mean)^2
        # sum (map - its mean) (mask - its mean)
        products = mask_squares * (foreground.mean - background.mean)
        n = max(part.pixels - 1, 1)
        alpha = 4 * part.mean * mask_mean * products / n
        beta = (part.mean**2 + mask_mean**2) * (part.squares + mask_squares) / n
        similarity = alpha / (beta + EPS) if alpha else float(beta == 0)
        score += float(0.5 * part.pixels / truth.pixels * similarity)
    return max(score, 0.0)

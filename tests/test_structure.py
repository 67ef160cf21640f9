"""The cells of the S-measure, against sums in exact fractions."""

from fractions import Fraction

import numpy as np
import pytest

from polypseg.metrics import GroundTruth
from polypseg.metrics.saliency import FloatMap
from polypseg.metrics.structure import Cell, cells_of_counts, merged
from polypseg.metrics.sweep import LEVELS, count_levels


def exact(values):
    """The cell of some values, from sums without rounding."""
    values = [Fraction(float(value)) for value in values]
    if not values:
        return Cell(0, 0.0, 0.0)
    mean = sum(values) / len(values)
    return Cell(len(values), float(mean), float(sum((value - mean) ** 2 for value in values)))


def expected_cells(mask, ignored, probability):
    """(background, foreground) of the four parts that meet after centroid row and column."""
    rows, columns = np.nonzero(mask & ~ignored)
    y, x = (int(np.floor(line.mean() + 1.5)) for line in (rows, columns))
    parts = [np.s_[:y, :x], np.s_[:y, x:], np.s_[y:, :x], np.s_[y:, x:]]
    return [
        tuple(
            exact(probability[part][(mask[part] == label) & ~ignored[part]])
            for label in (False, True)
        )
        for part in parts
    ]


def assert_alike(got, expected):
    for pairs in zip(got, expected):
        for cell, right in zip(*pairs):
            assert cell.pixels == right.pixels
            assert cell.mean == pytest.approx(right.mean, rel=1e-14, abs=1e-15)
            # An error of 1e-12 of the squares is one of less than 1e-12 of the deviation.
            assert cell.squares == pytest.approx(right.squares, rel=1e-12, abs=1e-30)
            assert (cell.squares == 0) == (right.squares == 0)


def drawn(seed):
    rng = np.random.default_rng(seed)
    mask = np.zeros((21, 34), bool)
    mask[5:14, 9:23] = rng.random((9, 14)) < 0.8
    return rng, mask, rng.random(mask.shape) < rng.choice([0, 0.2])


@pytest.mark.parametrize("dtype", (np.float32, np.float64))
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "inside, outside, noise",
    (
        (0.5, 0.5, 0.5),
        (0.999, 0.001, 1e-3),
        (0.7, 0.2, 1e-5),  # deviations far smaller than the errors
        (0.3, 1 / 3, 0.0),  # constant in each class
        (1.0, 0.0, 0.0),
    ),
)
def test_cells_of_floats_are_exact(dtype, seed, inside, outside, noise):
    rng, mask, ignored = drawn(seed)
    probability = np.where(mask, inside, outside) + rng.uniform(-noise, noise, mask.shape)
    probability = np.clip(probability, 0, 1).astype(dtype)
    got = FloatMap(GroundTruth(mask, ignored), probability)._cells
    assert_alike(got, expected_cells(mask, ignored, probability))


@pytest.mark.parametrize("seed", range(8))
def test_cells_of_levels_are_exact(seed):
    rng, mask, ignored = drawn(seed)
    levels = rng.integers(0, 256, mask.shape).astype(np.uint8)
    levels[:12] = rng.integers(1, 256)  # so that some cells are constant
    truth = GroundTruth(mask, ignored)
    got = cells_of_counts(count_levels(truth, levels), LEVELS)
    assert_alike(got, expected_cells(mask, ignored, LEVELS[levels]))


@pytest.mark.parametrize("seed", range(3))
def test_merged_cells_are_the_cell_of_all_their_pixels(seed):
    rng = np.random.default_rng(seed)
    parts = [rng.random(size) * rng.choice([1, 1e-4]) for size in (7, 0, 1, 30)]
    got, right = merged(map(exact, parts)), exact(np.concatenate(parts))
    assert got == pytest.approx(right, rel=1e-13)
    assert merged([Cell(3, 1 / 3, 0.0), Cell(0, 0.0, 0.0), Cell(5, 1 / 3, 0.0)]) == (8, 1 / 3, 0.0)

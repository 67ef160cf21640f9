"""The expected calibration error: known maps, and a formula over single pixels."""

import numpy as np
import pytest
from sklearn.calibration import calibration_curve

from polypseg.metrics.calibration import BINS, calibration_counts, calibration_error


def count(levels, foreground):
    """`(2, 256)` pixels of the background and of the foreground at each level."""
    return np.stack([np.bincount(levels[foreground == c], minlength=256) for c in (0, 1)])


def pixels(seed, size):
    """Random levels, and foreground that is more frequent at high ones."""
    rng = np.random.default_rng(seed)
    levels = np.clip(rng.normal(rng.uniform(50, 200), 80, size), 0, 255).astype(int)
    foreground = rng.random(size) < (levels / 255) ** rng.uniform(0.3, 3)
    return levels, foreground.astype(int)


@pytest.mark.parametrize("size", [1, 7, 4001])
@pytest.mark.parametrize("seed", range(4))
def test_equals_the_formula_over_pixels(seed, size):
    levels, foreground = pixels(seed, size)
    probability = levels / 255.0
    bin_of = np.digitize(probability, np.arange(1, 15) / 15.0)
    sums, error = np.zeros((3, 15)), 0.0
    for k in range(15):
        inside = bin_of == k
        if inside.any():
            sums[:, k] = inside.sum(), probability[inside].sum(), foreground[inside].sum()
            gap = abs(probability[inside].mean() - foreground[inside].mean())
            error += inside.sum() / size * gap
    got = calibration_counts(count(levels, foreground))
    np.testing.assert_allclose(got, sums, atol=1e-9)
    assert calibration_error(got) == pytest.approx(error, abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_equals_the_curve_of_scikit_learn(seed):
    """Without the levels at the edges of bins, which scikit-learn puts into the lower bin."""
    levels, foreground = pixels(seed, 3001)
    inside = (levels % 17 > 0) | (levels == 0) | (levels == 255)
    levels, foreground = levels[inside], foreground[inside]
    frequency, mean = calibration_curve(foreground, levels / 255.0, n_bins=15)
    weights = np.histogram(levels / 255.0, 15, (0, 1))[0]
    weights = weights[weights > 0] / levels.size
    expected = (weights * abs(frequency - mean)).sum()
    got = calibration_error(calibration_counts(count(levels, foreground)))
    assert got == pytest.approx(expected, abs=1e-12)


def test_each_level_is_in_the_bin_of_its_fraction():
    """i / 255 >= k / 15 in whole numbers: 15 i >= 255 k."""
    for level in range(256):
        levels = np.zeros((2, 256), int)
        levels[0, level] = 1
        bin_of = min(sum(15 * level >= 255 * k for k in range(1, 16)), 14)
        assert calibration_counts(levels)[0].tolist() == [k == bin_of for k in range(15)]


def test_known_error():
    levels = np.zeros((2, 256), int)
    levels[:, 51] = 70, 30  # probability 0.2, frequency 0.3
    levels[:, 204] = 50, 250  # probability 0.8, frequency 5/6
    levels[:, 255] = 5, 95  # probability 1, frequency 0.95
    expected = (100 * 0.1 + 300 * (5 / 6 - 0.8) + 100 * 0.05) / 500
    assert calibration_error(calibration_counts(levels)) == pytest.approx(expected, abs=1e-14)


def test_errors_within_a_bin_cancel_and_between_bins_do_not():
    levels = np.zeros((2, 256), int)
    levels[:, 102] = 255 - 112, 112  # 10 foreground pixels more than 255 * 0.4
    levels[:, 110] = 255 - 100, 100  # 10 fewer, in the same bin
    assert calibration_error(calibration_counts(levels)) == pytest.approx(0, abs=1e-14)
    levels[:, 110], levels[:, 119] = 0, (255 - 109, 109)  # 10 fewer, in the next bin
    assert calibration_error(calibration_counts(levels)) == pytest.approx(20 / 510, abs=1e-14)


def test_probability_of_foreground_not_of_the_chosen_class():
    """Too high at 0.2 and at 0.8: of the chosen class, 0.8 is too low once and too high once."""
    levels = np.zeros((2, 256), int)
    levels[:, 51], levels[:, 204] = (90, 10), (30, 70)
    assert calibration_error(calibration_counts(levels)) == pytest.approx(0.1, abs=1e-14)


def test_a_calibrated_map_has_no_error():
    exact = np.stack([255 - np.arange(256), np.arange(256)])  # i of 255 pixels at level i
    assert calibration_error(calibration_counts(exact)) == pytest.approx(0, abs=1e-14)
    rng = np.random.default_rng(3)
    for size in (1_000, 100_000, 1_000_000):
        levels = rng.integers(0, 256, size)
        foreground = (rng.random(size) < levels / 255).astype(int)
        error = calibration_error(calibration_counts(count(levels, foreground)))
        # In a bin of n pixels, the sum of n draws is off by at most sqrt(n) / 2 on average.
        assert 0 < error < np.sqrt(BINS / size) / 2


def test_the_worst_map():
    levels = np.zeros((2, 256), int)
    levels[0, 255], levels[1, 0] = 31, 12
    assert calibration_error(calibration_counts(levels)) == 1


def test_images_are_added_up():
    parts = [pixels(seed, 501) for seed in range(5)]
    sums = np.stack([calibration_counts(count(*part)) for part in parts])
    together = count(*(np.concatenate(arrays) for arrays in zip(*parts)))
    got = calibration_error(sums.sum(axis=0))
    assert got == pytest.approx(calibration_error(calibration_counts(together)), abs=1e-14)
    assert calibration_error(sums).tolist() == [calibration_error(one) for one in sums]
    assert got < calibration_error(sums).mean()


def test_undefined_without_pixels():
    nothing = np.zeros((2, 3, BINS))
    nothing[1, :, 4] = 10, 3, 4
    assert np.isnan(calibration_error(nothing[0]))
    np.testing.assert_allclose(calibration_error(nothing), [np.nan, 0.1])


def test_rejects():
    with pytest.raises(ValueError, match=r"levels \(2, 256\), got shape \(256,\)"):
        calibration_counts(np.zeros(256, int))
    with pytest.raises(ValueError, match=r"sums \(..., 3, 15\), got shape \(3, 10\)"):
        calibration_error(np.zeros((3, 10)))

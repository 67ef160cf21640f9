"""Special cases of the scores, each against a value derived by hand, and properties that hold for
every pair.
"""

import math

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt

from polypseg.metrics import (
    DataSetScores,
    GroundTruth,
    e_measure,
    mae,
    overlap,
    s_measure,
    score,
    weighted_f,
)
from polypseg.metrics.sweep import to_levels
from polypseg.metrics.table import PRANET, THRESHOLD

OVERLAP = ("dice", "iou", "precision", "recall", "wfb")


def drawn(seed, shape=(31, 47)):
    rng = np.random.default_rng(seed)
    mask = rng.random(shape) < 0.3
    return mask, np.clip(mask * rng.uniform(0.2, 0.8) + rng.normal(0.2, 0.2, shape), 0, 1)


def finite(scores):
    return all(
        math.isfinite(value)
        for part in (scores.threshold, scores.pranet)
        for value in part.values()
    )


@pytest.mark.parametrize(
    "empty, on_nothing, on_something", [("skip", math.nan, math.nan), ("one", 1, 0), ("zero", 0, 0)]
)
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_empty_mask(empty, on_nothing, on_something, dtype):
    mask = np.zeros((9, 11), bool)
    nothing = np.zeros((9, 11), dtype)
    something = nothing.copy()
    something[2:4, 3:7] = 255 if dtype == np.uint8 else 1.0
    n, found = 99, 8
    for map_, expected, count in ((nothing, on_nothing, 0), (something, on_something, found)):
        got = score(mask, map_, empty=empty)
        for name in OVERLAP:
            np.testing.assert_equal(got.threshold[name], float(expected))
        np.testing.assert_equal(got.pranet["wfb"], float(expected))
        # The papers' definitions for an empty mask: the mean of 1 - map, and the number of pixels
        # that agree divided by N - 1.
        for scores in (got.threshold, got.pranet):
            assert scores["mae"] == pytest.approx(count / n)
            assert scores["s_measure"] == pytest.approx(1 - count / n)
        assert got.threshold["e_measure"] == pytest.approx((n - count) / (n - 1))
    # Of the 256 thresholds only 0 makes all pixels of an empty map foreground. "one" gives 0 where
    # anything is found.
    assert score(mask, nothing, empty="one").pranet["mean_dice"] == pytest.approx(255 / 256)
    assert score(mask, something, empty="one").pranet["mean_dice"] == 0
    np.testing.assert_equal(score(mask, something, empty="skip").pranet["max_iou"], math.nan)


def test_full_mask():
    mask = np.ones((6, 7), bool)
    probability = np.linspace(0, 1, 42).reshape(6, 7)
    got = score(mask, probability)
    cut = np.count_nonzero(probability >= 0.5)
    assert got.threshold["dice"] == pytest.approx(2 * cut / (42 + cut))
    assert got.threshold["precision"] == 1 and got.threshold["recall"] == pytest.approx(cut / 42)
    assert got.threshold["s_measure"] == pytest.approx(probability.mean())
    assert got.threshold["mae"] == pytest.approx(1 - probability.mean())
    assert got.threshold["e_measure"] == pytest.approx(cut / 41)
    assert math.isnan(got.pranet["mean_specificity"])  # there is no background
    assert math.isfinite(got.threshold["wfb"])


@pytest.mark.parametrize("dtype", [np.uint8, np.float64])
def test_empty_prediction(dtype):
    mask = np.zeros((31, 47), bool)
    mask[5:20, 8:30] = True
    got = score(mask, np.zeros(mask.shape, dtype))
    assert [got.threshold[name] for name in ("dice", "iou", "precision", "recall")] == [0, 0, 0, 0]
    assert got.threshold["wfb"] == pytest.approx(0, abs=1e-12)
    assert got.threshold["mae"] == pytest.approx(mask.mean())
    # A constant map is not stretched, so it is foreground at the threshold 0 only.
    assert got.pranet["mean_dice"] == pytest.approx(2 * mask.mean() / (1 + mask.mean()) / 256)
    assert finite(got)


@pytest.mark.parametrize("level", [1, 77, 128, 255])
def test_constant_prediction(level):
    mask, _ = drawn(2)
    got = score(mask, np.full(mask.shape, level, np.uint8))
    share, value = mask.mean(), level / 255
    full = 2 * share / (1 + share)
    assert got.threshold["dice"] == pytest.approx(full if level > 127 else 0)
    assert got.threshold["mae"] == pytest.approx(share * (1 - value) + (1 - share) * value)
    assert got.pranet["mae"] == got.threshold["mae"]  # not stretched
    thresholds = np.count_nonzero(1 - np.arange(256) * (1 / 255) <= value)
    assert got.pranet["mean_dice"] == pytest.approx(full * thresholds / 256)
    as_floats = score(mask, np.full(mask.shape, value))
    assert as_floats.threshold == pytest.approx(got.threshold, abs=1e-12)
    assert as_floats.pranet == got.pranet


@pytest.mark.parametrize("position", [(0, 0), (0, 9), (7, 0), (7, 9), (3, 4)])
def test_one_pixel_object(position):
    mask = np.zeros((8, 10), bool)
    mask[position] = True
    best = score(mask, mask)
    for name in ("dice", "iou", "precision", "recall", "wfb", "s_measure"):
        assert best.threshold[name] == pytest.approx(1, abs=1e-9), name
    assert best.threshold["mae"] == 0
    missed = score(mask, np.roll(mask, 1, axis=0))
    assert missed.threshold["dice"] == 0
    # The error, 1 everywhere, is smoothed with zeros outside the image, so a missed object at the
    # border counts less.
    sides = [np.exp(-(np.arange(-3, 4) ** 2) / 50) for _ in range(2)]
    inside = [
        side[(at + np.arange(-3, 4) >= 0) & (at + np.arange(-3, 4) < end)].sum() / side.sum()
        for side, at, end in zip(sides, position, mask.shape)
    ]
    hit = 1 - np.prod(inside)
    distance = 1 if position[0] < 7 else 7  # rolled over the lower border, it is at the top
    precision = hit / (hit + 2 - 0.5 ** (distance / 5))
    assert missed.threshold["wfb"] == pytest.approx(
        2 * hit * precision / (hit + precision + 1e-15), abs=1e-9
    )
    assert finite(missed)


@pytest.mark.parametrize(
    "rows, columns",
    [(slice(0, 3), slice(0, 4)), (slice(9, 13), slice(5, 17)), (slice(0, 13), slice(14, 17))],
)
def test_object_on_the_border(rows, columns):
    """Weighted F from its formula, on the complete image and with the kernel summed by pixel."""
    mask = np.zeros((13, 17), bool)
    mask[rows, columns] = True
    probability = np.random.default_rng(3).random(mask.shape)
    distance, nearest = distance_transform_edt(~mask, return_indices=True)
    error = np.abs(mask - probability)
    own = error[tuple(nearest)]
    kernel = {(y, x): math.exp(-(y * y + x * x) / 50) for y in range(-3, 4) for x in range(-3, 4)}
    total = sum(kernel.values())
    missed = 0.0
    for y, x in np.argwhere(mask):
        smooth = sum(
            weight / total * own[y + dy, x + dx]
            for (dy, dx), weight in kernel.items()
            if 0 <= y + dy < 13 and 0 <= x + dx < 17
        )
        missed += min(smooth, error[y, x])
    false = ((2 - np.exp(math.log(0.5) / 5 * distance)) * error)[~mask].sum()
    area = mask.sum()
    recall, precision = 1 - missed / area, (area - missed) / (area - missed + false)
    assert weighted_f(mask, probability) == pytest.approx(
        2 * recall * precision / (recall + precision), abs=1e-12
    )


@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (1, 40), (40, 1), (2, 2)])
def test_images_one_pixel_wide(shape):
    rng = np.random.default_rng(4)
    for area in range(0, np.prod(shape) + 1, 5):
        mask = np.zeros(shape, bool)
        mask.flat[rng.permutation(mask.size)[:area]] = True
        for map_ in (rng.random(shape), rng.integers(0, 256, shape).astype(np.uint8), mask, ~mask):
            got = score(mask, map_, empty="one")
            values = got.threshold | {
                name: value for name, value in got.pranet.items() if name != "mean_specificity"
            }
            assert all(0 <= value <= 2 for value in values.values()), values


@pytest.mark.parametrize("seed", range(4))
def test_a_part_of_the_s_measure_that_is_constant_counts_as_alike(seed):
    """In a background part with a constant map the similarity is 1, also if the mean is rounded."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((20, 20), bool)
    mask[10, 10] = mask[11, 11] = True
    probability = np.full(mask.shape, rng.uniform(0.01, 0.5))
    for map_ in (probability, to_levels(probability)):
        similar = (
            400 - 12 * 12
        ) / 400  # the centroid, counted from 1, is 11.5, so 12: three parts have no foreground
        value = map_.flat[0] / (255 if map_.dtype == np.uint8 else 1)
        share = 2 / 400
        objects = share * 2 * value / (value**2 + 1) + (1 - share) * 2 * (1 - value) / (
            (1 - value) ** 2 + 1
        )
        assert score(mask, map_).threshold["s_measure"] == pytest.approx(
            0.5 * objects + 0.5 * similar, abs=1e-9
        )


@pytest.mark.parametrize("seed", range(5))
def test_float_and_grey_maps_of_the_same_values_score_the_same(seed):
    mask, probability = drawn(seed)
    levels = to_levels(probability)
    grey, exact = score(mask, levels, threshold=0.37), score(mask, levels / 255, threshold=0.37)
    assert exact.pranet == grey.pranet
    assert exact.threshold == pytest.approx(grey.threshold, abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_saving_a_map_in_8_bits_keeps_the_cut_at_one_half_and_the_pranet_protocol(seed):
    mask, probability = drawn(seed)
    probability = probability.astype(np.float32)
    probability.flat[:4] = np.nextafter(np.float32(0.5), [0, 1, 0, 1], dtype=np.float32)
    probability.flat[4] = 0.5
    exact, saved = score(mask, probability), score(mask, to_levels(probability))
    for name in ("dice", "iou", "precision", "recall", "e_measure"):
        assert saved.threshold[name] == exact.threshold[name]
    assert saved.threshold["mae"] == pytest.approx(exact.threshold["mae"], abs=0.5 / 255)
    assert saved.threshold["mae"] != exact.threshold["mae"]
    assert saved.pranet == exact.pranet


def test_threshold_protocol_is_its_parts():
    mask, probability = drawn(7)
    got = score(mask, probability, threshold=0.4).threshold
    cut = probability >= 0.4
    assert {name: got[name] for name in ("dice", "iou", "precision", "recall")} == overlap(
        mask, cut
    )
    assert got["e_measure"] == e_measure(mask, cut)
    assert (got["wfb"], got["s_measure"], got["mae"]) == pytest.approx(
        (weighted_f(mask, probability), s_measure(mask, probability), mae(mask, probability)),
        abs=1e-15,
    )
    assert got["mae"] == pytest.approx(np.abs(mask - probability).mean(), abs=1e-15)
    at = to_levels(0.4)
    assert (
        score(mask, to_levels(probability)).threshold_curves["dice"][at]
        == overlap(mask, to_levels(probability) >= at)["dice"]
    )


def test_one_ground_truth_serves_many_maps_and_any_layout():
    mask, probability = drawn(8)
    truth = GroundTruth(mask)
    for map_ in (probability, 1 - probability, to_levels(probability)):
        assert vars(score(truth, map_))["threshold"] == score(mask, map_).threshold
        turned = np.asfortranarray(map_)
        assert score(np.asfortranarray(mask), turned).threshold == pytest.approx(
            score(mask, map_).threshold, abs=1e-12
        )


def test_data_set_means_leave_undefined_numbers_out():
    mask, probability = drawn(9)
    images = [
        score(mask, probability, empty="skip"),
        score(np.zeros_like(mask), probability, empty="skip"),
    ]
    scores = DataSetScores()
    for image in images:
        scores.add(image)  # as the documentation had it
    got = scores.result()
    assert (
        got["n"] == 2
        and list(got["threshold"]) == [metric.key for metric in THRESHOLD if not metric.needs]
        and list(got["pranet"]) == [metric.key for metric in PRANET]
    )
    assert got["threshold"]["dice"] == images[0].threshold["dice"]
    assert got["threshold"]["mae"] == pytest.approx(
        np.mean([image.threshold["mae"] for image in images])
    )
    assert got["pranet"]["max_iou"] == images[0].pranet["max_iou"]


def test_data_set_scores_are_the_means_of_the_images_and_start_over():
    """Dice and MAE at the threshold, and the largest point of the mean Dice curve, from their
    formulas.
    """
    scores = DataSetScores()
    for seeds in (range(6), range(20, 23)):
        dice, errors, curves = [], [], []
        for seed in seeds:
            mask, probability = drawn(seed, shape=(17 + 2 * seed, 41 - seed))
            levels = np.rint(probability * 255)
            scores.update_state(score(mask, levels.astype(np.uint8), threshold=0.45))
            found = levels / 255 >= 0.45
            dice.append(2 * (mask & found).sum() / (mask.sum() + found.sum()))
            errors.append(np.abs(levels / 255 - mask).mean())
            found = [levels >= level for level in range(256)]
            curves.append([2 * (mask & f).sum() / (mask.sum() + f.sum()) for f in found])
        assert scores.n == len(seeds)
        got = scores.result()
        assert got["n"] == len(seeds)
        assert got["threshold"]["dice"] == pytest.approx(np.mean(dice), abs=1e-12)
        assert got["threshold"]["mae"] == pytest.approx(np.mean(errors), abs=1e-12)
        np.testing.assert_allclose(
            scores.curves("threshold")["dice"], np.mean(curves, axis=0), atol=1e-12
        )
        np.testing.assert_equal(scores.result(), got)  # `result` changes nothing
        scores.reset_state()
        assert scores.n == 0
        with pytest.raises(ValueError, match="at least one image"):
            scores.result()


@pytest.mark.parametrize(
    "arguments, words",
    [
        ((np.eye(3), np.full((3, 3), np.nan)), r"in \[0, 1\], got values from nan"),
        ((np.eye(3), np.full((3, 3), 1.5)), r"in \[0, 1\], got values from 1.5 to 1.5"),
        ((np.eye(3), np.eye(3) * -0.1), r"from -0.1 to"),
        ((np.eye(3), np.eye(4)), r"mask's size \(3, 3\), got \(4, 4\)"),
        ((np.eye(3), np.eye(3, dtype=np.int64)), "dtype int64"),
        ((np.eye(3) * 2, np.eye(3)), r"mask in \{0, 1\}, got values"),
        ((np.zeros((0, 4)), np.zeros((0, 4))), r"mask \(H, W\)"),
        ((np.eye(3), np.eye(3), 1.2), "threshold=1.2"),
        ((np.eye(3), np.eye(3), 0.5, "none"), "skip, one, zero.*'none'"),
    ],
)
def test_rejects(arguments, words):
    with pytest.raises(ValueError, match=words):
        score(*arguments)


def test_no_images_have_no_mean():
    with pytest.raises(ValueError, match="at least one image"):
        DataSetScores().result()

"""Counts of lesions: drawn images, and an implementation with SciPy and exact fractions."""

from fractions import Fraction

import numpy as np
import pytest
from scipy import ndimage

from polypseg.metrics import DataSetScores, GroundTruth, score
from polypseg.metrics.lesions import count_lesions

ALARMS = "false_alarm_rate", "false_alarm_rate_1_percent", "false_alarm_area"


def counts_of(truth, prediction, iou=0.1):
    """Without `specks`, of lesions that have any size."""
    counts = count_lesions(truth, prediction, iou, pixels=1)
    assert counts.specks == 0
    return tuple(counts[:4])


def drawn(*boxes, shape=(41, 53)):
    """Rectangles, each (top, left, height, width)."""
    image = np.zeros(shape, bool)
    for top, left, height, width in boxes:
        image[top : top + height, left : left + width] = True
    return image


def expected_counts(mask, prediction, iou):
    """Each pair of components, one after the other; `iou` as text, so that it is exact."""
    eight = np.ones((3, 3))
    lesion_of, lesions = ndimage.label(mask, eight)
    component_of, predicted = ndimage.label(prediction, eight)
    lesions_found, useful = set(), set()
    for lesion in range(1, lesions + 1):
        for component in range(1, predicted + 1):
            one, other = lesion_of == lesion, component_of == component
            ratio = Fraction(int((one & other).sum()), int((one | other).sum()))
            if ratio > Fraction(iou):
                lesions_found.add(lesion)
                useful.add(component)
    return lesions, len(lesions_found), predicted, predicted - len(useful)


def blobs(rng, shape, width, share):
    smooth = ndimage.gaussian_filter(rng.random(shape), width)
    return smooth > np.quantile(smooth, 1 - share)


@pytest.mark.parametrize("iou", ["0", "0.1", "0.25", "0.5", "0.9"])
@pytest.mark.parametrize("seed", range(6))
def test_equals_pairs_of_scipys_components(seed, iou):
    rng = np.random.default_rng(seed)
    shape = (61, 83) if seed % 2 else (84, 47)
    mask = blobs(rng, shape, 2.0, 0.1)
    prediction = np.roll(mask, rng.integers(-2, 3, 2), (0, 1)) ^ blobs(rng, shape, 1.0, 0.03)
    expected = expected_counts(mask, prediction, iou)
    assert expected[0] > 3 and expected[2] > 3
    assert counts_of(GroundTruth(mask), prediction, float(iou)) == expected


@pytest.mark.parametrize("seed", range(3))
def test_noise_equals_pairs_of_scipys_components(seed):
    """Many components in a small image: a table of all pairs would be larger than the image."""
    rng = np.random.default_rng(seed)
    mask, prediction = rng.random((2, 33, 27)) < 0.12
    expected = expected_counts(mask, prediction, "0.1")
    assert expected[0] * expected[2] > mask.size
    assert 0 < expected[1] < expected[0]
    assert counts_of(GroundTruth(mask), prediction) == expected


def test_one_blob_over_two_lesions_finds_both():
    mask = drawn((5, 5, 10, 10), (5, 17, 10, 10))
    blob = drawn((5, 5, 10, 22))  # IoU with each lesion 100 / 220
    assert counts_of(GroundTruth(mask), blob) == (2, 2, 1, 0)
    assert counts_of(GroundTruth(mask), blob, 0.46) == (2, 0, 1, 1)


def test_a_lesion_split_in_two_is_found_once_without_false_positives():
    mask = drawn((5, 5, 10, 21))
    halves = drawn((5, 5, 10, 10), (5, 16, 10, 10))  # IoU of each half 100 / 210
    assert counts_of(GroundTruth(mask), halves) == (1, 1, 2, 0)
    # Together they cover 200 of 210 pixels, but it is single components that count.
    assert counts_of(GroundTruth(mask), halves, 0.5) == (1, 0, 2, 2)


def test_a_small_part_of_a_lesion_does_not_find_it():
    mask = drawn((5, 5, 20, 20))
    part = drawn((5, 5, 6, 6))  # 36 / 400
    assert counts_of(GroundTruth(mask), part) == (1, 0, 1, 1)
    assert counts_of(GroundTruth(mask), part, 0.0) == (1, 1, 1, 0)


def test_pixels_that_touch_at_a_corner_are_connected():
    mask = drawn((2, 2, 3, 3), (5, 5, 3, 3), (20, 30, 4, 4))
    prediction = drawn((2, 2, 3, 3), (20, 34, 4, 4), (24, 30, 2, 4))
    # One lesion of 18 pixels, with 9 in common, and one that the prediction only touches. That
    # prediction is two boxes that meet at a corner: one component.
    assert counts_of(GroundTruth(mask), prediction) == (2, 1, 2, 1)


@pytest.mark.parametrize(
    "iou, area, shared",
    [(0.1, 100, 10), (0.1, 70, 7), (0.3, 100, 30), (0.5, 64, 32), (0.7, 90, 63)],
)
def test_an_iou_exactly_at_the_limit_does_not_count(iou, area, shared):
    mask = np.arange(121) < area
    at, above = (np.arange(121) < pixels for pixels in (shared, shared + 1))
    assert counts_of(GroundTruth([mask]), at[None], iou) == (1, 0, 1, 1)
    assert counts_of(GroundTruth([mask]), above[None], iou) == (1, 1, 1, 0)


def test_empty_images():
    nothing, boxes = np.zeros((41, 53), bool), drawn((3, 4, 5, 6), (20, 20, 7, 7), (40, 52, 1, 1))
    assert counts_of(GroundTruth(nothing), nothing) == (0, 0, 0, 0)
    assert counts_of(GroundTruth(nothing), boxes) == (0, 0, 3, 3)
    assert counts_of(GroundTruth(boxes), nothing) == (3, 0, 0, 0)
    assert counts_of(GroundTruth(boxes), boxes) == (3, 3, 3, 0)
    full = np.ones((41, 53), bool)
    assert counts_of(GroundTruth(full), full) == (1, 1, 1, 0)


def test_ignored_pixels_are_removed_before_components_are_counted():
    mask = drawn((5, 5, 10, 10))
    ignored = drawn((5, 20, 10, 20), (0, 8, 41, 2))  # the second cuts the lesion in two
    prediction = drawn((5, 5, 10, 10), (5, 22, 5, 5), (30, 30, 4, 20))
    prediction[32:, 8:10] = True
    # The lesion is 10 x 3 and 10 x 5, and so is what is predicted there.
    assert counts_of(GroundTruth(mask, ignored), prediction) == (2, 2, 3, 1)


def test_ignored_pixels_are_not_part_of_the_union():
    mask, ignored = drawn((5, 5, 10, 10)), drawn((5, 15, 10, 30))
    prediction = drawn((5, 10, 10, 35))  # counted: 50 pixels, all in the lesion
    assert counts_of(GroundTruth(mask, ignored), prediction, 0.49) == (1, 1, 1, 0)
    assert counts_of(GroundTruth(mask), prediction, 0.49) == (1, 0, 1, 1)


def test_thousands_of_specks():
    """More pairs than a table or 32 bits can hold."""
    mask = np.zeros((720, 812), bool)
    mask[::3, ::3] = True
    prediction = np.zeros_like(mask)
    prediction[::3, ::3] = True
    prediction[::6] = False
    prediction[1::6, ::3] = True  # every other row is one pixel lower, and so touches no lesion
    assert counts_of(GroundTruth(mask), prediction) == (65_040, 32_520, 65_040, 32_520)


@pytest.mark.parametrize(
    "prediction, iou, words",
    [
        (np.zeros((3, 5), bool), 1.0, "iou from 0 to below 1, got iou=1.0"),
        (np.zeros((3, 5), bool), -0.1, "got iou=-0.1"),
        (np.zeros((3, 5), bool), np.nan, "got iou=nan"),
        (np.zeros((5, 3), bool), 0.1, r"mask's size \(3, 5\), got \(5, 3\)"),
        (np.full((3, 5), 0.5), 0.1, "prediction in {0, 1}"),
    ],
)
def test_rejects(prediction, iou, words):
    with pytest.raises(ValueError, match=words):
        count_lesions(GroundTruth(np.eye(3, 5)), prediction, iou)


def test_small_components_of_the_mask_are_no_lesions():
    """Areas 9 and 12: with the default of 10 pixels only the second one is a lesion."""
    mask, prediction = np.zeros((2, 20, 30), bool)
    mask[2:5, 3:6] = True  # 9 pixels, found
    mask[10:13, 5:9] = True  # 12 pixels, missed
    prediction[2:5, 3:6] = prediction[17, 20] = True
    truth = GroundTruth(mask)
    assert count_lesions(truth, prediction) == (1, 0, 1, 1, 1)  # what finds a speck is left out
    assert count_lesions(truth, prediction, pixels=9) == (2, 1, 2, 1, 0)
    assert count_lesions(truth, mask, pixels=13) == (0, 0, 0, 0, 2)
    with pytest.raises(ValueError, match="pixels=0"):
        count_lesions(truth, prediction, pixels=0)


@pytest.mark.parametrize("share", [0.0, 0.005, 0.02, 0.2])
def test_false_alarms_of_images_without_foreground(share):
    """The share of the images with an alarm, with a large one, and the area, by SciPy's labels."""
    rng, all_scores, expected = np.random.default_rng(int(1000 * share)), DataSetScores(), []
    for width in (1, 2, 3, 3, 4):
        prediction = blobs(rng, (41, 53), width, share)
        labels, count = ndimage.label(prediction, np.ones((3, 3)))
        sizes = [np.sum(labels == number) for number in range(1, count + 1)]
        large = max(sizes, default=0) / prediction.size >= 0.01
        expected.append([prediction.any(), large, prediction.mean()])
        all_scores.update_state(score(np.zeros((41, 53)), prediction.astype(float)))
    everywhere = np.ones((41, 53))
    all_scores.update_state(score(everywhere, everywhere))  # has foreground, so it does not count
    found = all_scores.result()["lesions"]
    for key, value in zip(ALARMS, np.mean(expected, axis=0)):
        assert found[key] == pytest.approx(value, abs=1e-12)


@pytest.mark.parametrize("pixels, expected", [(20, 1.0), (19, 0.0)])
def test_an_alarm_of_exactly_one_percent_counts(pixels, expected):
    """Of the pixels that count: 40 x 60, of which a sixth is ignored, are 2,000."""
    prediction = np.zeros((40, 60))
    prediction[7, 3 : 3 + pixels] = 1
    prediction[12:17, 40] = 1  # another region
    prediction[:, 50:] = 1  # ignored
    ignored = np.zeros((40, 60), bool)
    ignored[:, 50:] = True
    lesions = score(GroundTruth(np.zeros((40, 60)), ignored), prediction).lesions
    values = [lesions[key] for key in ALARMS]
    assert values == [1.0, expected, pytest.approx((pixels + 5) / 2000)]
    with_lesion = score(prediction, prediction).lesions
    assert all(np.isnan(with_lesion[key]) for key in ALARMS)

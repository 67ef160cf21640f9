"""Bootstrap intervals: against SciPy, against the definition, and by simulation."""

import numpy as np
import pytest
from scipy import stats

from polypseg.metrics import DataSetScores, GroundTruth, ImageScores, score
from polypseg.metrics.bootstrap import bootstrap, interval, resample_weights


def images_of(values, name="dice"):
    """Images of which only one score is known."""
    return [
        ImageScores({name: float(value)}, {}, {}, {}, {}, {}, None, 0.0, (1, 1)) for value in values
    ]


def drawn(seed, share=0.3, **options):
    rng = np.random.default_rng(seed)
    shape = rng.integers(9, 30, 2)
    mask = np.zeros(shape, bool)
    if share:
        mask[2 : 2 + shape[0] // 2, 3 : 3 + shape[1] // 3] = True
    levels = np.clip(rng.normal(90 + 110 * mask, 50), 0, 255).astype(np.uint8)
    return score(mask, levels, **options)


def test_weights_are_counts_of_draws_with_replacement():
    first, second = (np.concatenate(list(resample_weights(7, 2500, seed=3))) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert first.shape == (2500, 7) and (first.sum(axis=1) == 7).all()
    # Each weight is binomial (7, 1/7): mean 1, variance 6/7. 2,500 x 7 draws.
    assert first.mean() == 1 and first.var() == pytest.approx(6 / 7, abs=0.05)
    assert not np.array_equal(first, np.concatenate(list(resample_weights(7, 2500, seed=4))))


@pytest.mark.parametrize("grouped", [False, True])
def test_each_resample_is_scored_as_if_its_images_were_the_data_set(grouped):
    """All scores, also maxima of mean curves, shares of lesions, the calibration error and scores
    that are undefined for some images: `DataSetScores` of the drawn images, one by one.
    """
    images = [drawn(seed, share=seed % 4, empty="skip") for seed in range(9)]
    units = np.array([0, 1, 1, 2, 0, 3, 3, 3, 4]) if grouped else np.arange(9)
    got = bootstrap(images, units if grouped else None, resamples=40, seed=5)
    (weights,) = resample_weights(units.max() + 1, 40, seed=5)
    for index, counts in enumerate(weights.astype(int)):
        expected = DataSetScores()
        for image, unit in zip(images, units):
            for _ in range(counts[unit]):
                expected.update_state(image)
        expected = expected.result()
        for part, values in got.items():
            for key, value in values.items():
                np.testing.assert_allclose(
                    value[index], expected[part][key], atol=1e-12, err_msg=f"{part}.{key}"
                )
    assert {"max_dice", "max_e_measure"} <= set(got["pranet"]) and "precision" in got["lesions"]


def test_the_interval_is_scipys():
    """The mean of 100 values, and the difference of two means of the same images, within the
    noise of 10,000 resamples.
    """
    rng = np.random.default_rng(0)
    first = rng.beta(8, 1.2, 100)
    second = np.clip(first + rng.normal(0.02, 0.1, 100), 0, 1)
    ours = [bootstrap(images_of(values))["threshold"]["dice"] for values in (first, second)]
    for values, statistic, data in (
        (ours[0], np.mean, (first,)),
        (ours[1] - ours[0], lambda a, b, axis: (b - a).mean(axis=axis), (first, second)),
    ):
        reference = stats.bootstrap(
            data, statistic, paired=True, n_resamples=10_000, method="percentile", rng=1
        )
        width = np.ptp(reference.confidence_interval)
        np.testing.assert_allclose(
            interval(values), reference.confidence_interval, atol=0.03 * width
        )
        assert values.std(ddof=1) == pytest.approx(reference.standard_error, rel=0.03)


def test_95_of_100_intervals_contain_the_true_mean():
    """200 sets of 60 images whose Dice has the mean 8 / 9.2."""
    hits = 0
    for seed in range(200):
        values = np.random.default_rng(seed).beta(8, 1.2, 60)
        low, high = interval(
            bootstrap(images_of(values), resamples=2000, seed=seed)["threshold"]["dice"]
        )
        hits += low <= 8 / 9.2 <= high
    assert 0.91 <= hits / 200 <= 0.98


def test_images_of_a_patient_are_drawn_together():
    """200 sets of 60 patients with 5 images each, two thirds of whose variance is the patient's:
    intervals by patient contain the true mean 0.7 as often as they should; by image they do not.
    """
    hits = {"patient": 0, "image": 0}
    for seed in range(200):
        rng = np.random.default_rng(seed)
        patient = np.repeat(np.arange(60), 5)
        values = 0.7 + rng.normal(0, 0.1, 60)[patient] + rng.normal(0, 0.07, 300)
        images = images_of(values)
        for name, units in (("patient", patient), ("image", None)):
            resampled = bootstrap(images, units, resamples=1000, seed=seed)
            low, high = interval(resampled["threshold"]["dice"])
            hits[name] += low <= 0.7 <= high
    assert 0.91 <= hits["patient"] / 200 <= 0.98
    assert hits["image"] / 200 < 0.85


def test_a_score_of_one_unit_has_no_interval():
    """One image of three has no lesion, and only it defines the false alarms."""
    images = [drawn(seed, share) for seed, share in ((0, 1), (1, 1), (2, 0))]
    resampled = bootstrap(images, resamples=100)
    assert np.isnan(resampled["lesions"]["false_alarm_rate"]).all()
    assert np.isnan(interval(resampled["lesions"]["false_alarm_rate"])).all()
    assert not np.isnan(resampled["threshold"]["dice"]).any()
    alone = bootstrap(images, ["one patient"] * 3, resamples=100)
    assert np.isnan(alone["threshold"]["dice"]).all()


def test_the_width_falls_with_the_root_of_the_number_of_images():
    values = np.random.default_rng(2).beta(8, 1.2, 1600)
    widths = [
        np.ptp(interval(bootstrap(images_of(v))["threshold"]["dice"]))
        for v in (values[:100], values)
    ]
    assert widths[0] / widths[1] == pytest.approx(4 * values[:100].std() / values.std(), rel=0.05)


def test_ignored_pixels_change_no_interval():
    rng = np.random.default_rng(4)
    plain, with_margin = [], []
    for _ in range(5):
        mask, map_ = rng.random((12, 15)) < 0.4, rng.integers(0, 256, (12, 15)).astype(np.uint8)
        plain.append(score(mask, map_))
        wide = np.pad(mask, ((0, 0), (0, 6)))
        ignored = np.zeros_like(wide)
        ignored[:, 15:] = True
        noise = rng.integers(map_.min(), map_.max(), (12, 6)).astype(np.uint8)
        with_margin.append(score(GroundTruth(wide, ignored), np.hstack([map_, noise])))
    first, second = (bootstrap(images, resamples=200) for images in (plain, with_margin))
    for key in ("dice", "iou", "mae", "calibration_error"):
        np.testing.assert_allclose(first["threshold"][key], second["threshold"][key], atol=1e-12)

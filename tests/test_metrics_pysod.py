"""The scores against PySODMetrics on drawn pairs; where the two differ, `docs/metrics.md` says
why.
"""

import warnings

import numpy as np
import py_sod_metrics as pysod
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polypseg.metrics import e_measure, mae, s_measure, score, weighted_f

# By rounding, some thresholds 1 - k/255 are slightly above their level, and some levels that
# PySODMetrics computes are one too low. These levels have neither error.
SAFE = np.array(
    [
        level
        for level in range(256)
        if level / 255 >= 1.0 - (255 - level) * (1.0 / 255.0) and int(level / 255 * 255) == level
    ]
)


def masks(rng, shape):
    """Blobs, noise or a few single pixels; neither empty nor full."""
    kind = rng.integers(3)
    if kind == 0:
        y, x = np.mgrid[: shape[0], : shape[1]]
        centre, radius = rng.uniform(0, 1, 2) * shape, rng.uniform(0.1, 0.6, 2) * shape
        mask = ((y - centre[0]) / radius[0]) ** 2 + ((x - centre[1]) / radius[1]) ** 2 < 1
    else:
        mask = rng.random(shape) < (rng.uniform(0.1, 0.9) if kind == 1 else 0.01)
    mask.flat[rng.integers(mask.size)] = True
    mask.flat[np.flatnonzero(mask)[0] - 1] = False  # the pixel before it, or the last
    return mask


def centroid_is_halfway(mask):
    return any(
        2 * line.sum() % len(line) == 0 and line.sum() % len(line) for line in np.nonzero(mask)
    )


@st.composite
def pairs(draw, levels=np.arange(256)):
    """A mask, and a uint8 map from 0 to 255 that is more or less similar to it."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = draw(st.integers(6, 60)), draw(st.integers(6, 60))
    mask = masks(rng, shape)
    strength = rng.uniform(-0.3, 1)
    chosen = np.clip((mask * strength + rng.random(shape) * rng.uniform(0, 1)), 0, 1)
    chosen = levels[np.rint(chosen * (len(levels) - 1)).astype(int)]
    first, last = rng.choice(mask.size, 2, replace=False)
    chosen.flat[first], chosen.flat[last] = 0, 255
    return mask, chosen.astype(np.uint8)


def theirs(measure, mask, levels):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        measure.step(levels, mask.astype(np.uint8) * 255)
        return measure.get_results()


def test_enough_levels_are_safe():
    assert len(SAFE) > 150 and {0, 255} <= set(SAFE)


@settings(max_examples=150, deadline=None)
@given(pairs())
def test_weighted_f_and_mae(pair):
    mask, levels = pair
    expected = (
        theirs(pysod.WeightedFmeasure(), mask, levels)["wfm"],
        theirs(pysod.MAE(), mask, levels)["mae"],
    )
    got = score(mask, levels)
    for scores in (
        got.pranet,
        got.threshold,
    ):  # the map spans 0 to 255: stretching it changes nothing
        assert (scores["wfb"], scores["mae"]) == pytest.approx(expected, abs=1e-9)
    probability = levels / 255
    assert (weighted_f(mask, probability), mae(mask, probability)) == pytest.approx(
        expected, abs=1e-9
    )


@settings(max_examples=150, deadline=None)
@given(pairs())
def test_s_measure(pair):
    mask, levels = pair
    if centroid_is_halfway(mask):  # rounded up here as in MATLAB, to the even number there
        mask = mask.copy()
        mask[0, 0] ^= True
    if centroid_is_halfway(mask) or not 0 < mask.mean() < 1:
        return
    expected = theirs(pysod.Smeasure(), mask, levels)["sm"]
    if np.isnan(
        expected
    ):  # the centroid is in the last row or column: nan there, a part without weight here
        assert 0 < score(mask, levels).pranet["s_measure"] <= 1
        return
    got = score(mask, levels)
    assert got.pranet["s_measure"] == pytest.approx(expected, abs=1e-9)
    assert got.threshold["s_measure"] == pytest.approx(expected, abs=1e-9)
    assert s_measure(mask, levels / 255) == pytest.approx(expected, abs=1e-9)


@settings(max_examples=150, deadline=None)
@given(pairs(levels=SAFE))
def test_all_that_is_swept_over_thresholds(pair):
    mask, levels = pair
    handlers = {
        "dice": pysod.DICEHandler,
        "iou": pysod.IOUHandler,
        "sensitivity": pysod.SensitivityHandler,
    }
    measure = pysod.FmeasureV2(
        {
            name: handler(with_dynamic=True, with_adaptive=False)
            for name, handler in handlers.items()
        }
    )
    curves = {name: result["dynamic"] for name, result in theirs(measure, mask, levels).items()}
    curves["e_measure"] = theirs(pysod.Emeasure(), mask, levels)["em"]["curve"]
    got = score(mask, levels)
    for name, expected in curves.items():  # theirs run from the highest threshold down
        np.testing.assert_allclose(got.pranet_curves[name], expected[::-1], atol=1e-9, err_msg=name)
        assert got.pranet[f"mean_{name}"] == pytest.approx(expected.mean(), abs=1e-9)
        if name != "sensitivity":
            assert got.pranet[f"max_{name}"] == pytest.approx(expected.max(), abs=1e-9)


@settings(max_examples=100, deadline=None)
@given(pairs(), st.integers(1, 254))
def test_one_threshold(pair, level):
    """Dice, IoU, precision, recall and E-measure of a map that is binary already."""
    mask, levels = pair
    cut = levels >= level
    handlers = {
        "dice": pysod.DICEHandler,
        "iou": pysod.IOUHandler,
        "precision": pysod.PrecisionHandler,
        "recall": pysod.RecallHandler,
    }
    measure = pysod.FmeasureV2(
        {
            name: handler(with_dynamic=False, with_adaptive=False, with_binary=True)
            for name, handler in handlers.items()
        }
    )
    binary = cut.astype(np.uint8) * 255
    got = score(mask, levels, threshold=level / 255).threshold
    for name, result in theirs(measure, mask, binary).items():
        assert got[name] == pytest.approx(result["binary"], abs=1e-9), name
    enhanced = theirs(pysod.Emeasure(), mask, binary)["em"]["curve"][0]  # the threshold 1
    assert got["e_measure"] == pytest.approx(enhanced, abs=1e-9)
    assert e_measure(mask, cut) == pytest.approx(enhanced, abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(pairs())
def test_other_levels_move_a_mean_by_less_than_two_steps_of_the_sweep(pair):
    """The explained difference: a level may miss its threshold by rounding, in either program."""
    mask, levels = pair
    measure = pysod.FmeasureV2({"dice": pysod.DICEHandler(with_dynamic=True, with_adaptive=False)})
    expected = theirs(measure, mask, levels)["dice"]["dynamic"].mean()
    assert score(mask, levels).pranet["mean_dice"] == pytest.approx(expected, abs=2 / 255)

"""The Keras metrics against `overlap`, image by image."""

import math

import keras
import numpy as np
import pytest

from polypseg.metrics import FalseAlarms, MeanDice, MeanIoU, overlap

METRICS = [(MeanDice, "dice"), (MeanIoU, "iou")]


BATCHES = [slice(0, 7), slice(7, 8), slice(8, 11)]


def images(seed):
    """Eleven masks and logits, among them an empty mask, an empty prediction and both."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=3, size=(11, 21, 34, 3)).astype("float32")
    masks = rng.random((11, 21, 34, 1)) < rng.uniform(0.1, 0.9, (11, 1, 1, 1))
    masks[[1, 4]] = False
    logits[[4, 7], ..., -1] = -9.0
    return masks, logits


def expected_mean(masks, logits, threshold, key):
    """From float64 logits; sigmoid(x) > t is x > log(t / (1 - t))."""
    cut = math.log(threshold / (1 - threshold))
    scores = [
        overlap(m[..., 0], x[..., -1] > cut)[key] for m, x in zip(masks, logits.astype("float64"))
    ]
    return np.mean(scores)


@pytest.mark.parametrize("metric, key", METRICS)
@pytest.mark.parametrize("threshold", [0.5, 0.2, 0.85])
@pytest.mark.parametrize("dtype", ["bool", "uint8", "float32"])
def test_mean_over_images_of_uneven_batches(metric, key, threshold, dtype):
    masks, logits = images(seed=int(100 * threshold))
    streaming = metric(threshold=threshold)
    for rows in BATCHES:
        streaming.update_state(masks[rows].astype(dtype), logits[rows])
    expected = expected_mean(masks, logits, threshold, key)
    assert float(streaming.result()) == pytest.approx(expected, abs=2e-6)
    # Another map, or the mean of the batches' means, would give another value.
    assert abs(expected - expected_mean(masks, logits[..., :1], threshold, key)) > 1e-3
    means = [expected_mean(masks[rows], logits[rows], threshold, key) for rows in BATCHES]
    assert abs(expected - np.mean(means)) > 1e-3


@pytest.mark.parametrize("metric, key", METRICS)
def test_reset_forgets_everything(metric, key):
    masks, logits = images(seed=1)
    streaming = metric()
    streaming.update_state(masks, logits)
    streaming.reset_state()
    assert float(streaming.result()) == 0.0
    streaming.update_state(masks[:3], logits[:3])
    assert float(streaming.result()) == pytest.approx(
        expected_mean(masks[:3], logits[:3], 0.5, key), abs=2e-6
    )
    assert [tuple(v.shape) for v in streaming.variables] == [(), ()]


@pytest.mark.parametrize("metric, key", METRICS)
def test_a_probability_at_the_threshold_is_foreground(metric, key):
    masks, logits = images(seed=2)
    streaming = metric()
    streaming.update_state(masks[:5], np.zeros_like(logits[:5]))
    share = masks[:5].mean(
        axis=(1, 2, 3), dtype="float64"
    )  # of the foreground; every pixel is predicted
    expected = 2 * share / (1 + share) if key == "dice" else share
    assert float(streaming.result()) == pytest.approx(expected.mean(), abs=1e-6)


@pytest.mark.parametrize("metric, key", METRICS)
def test_half_precision_logits_are_counted_in_float32(metric, key):
    rng = np.random.default_rng(3)
    logits = rng.normal(size=(1, 300, 301, 1)).astype("float16")
    masks = rng.random((1, 300, 301, 1)) < 0.5
    keras.config.set_floatx("float16")
    try:
        streaming = metric()
        streaming.update_state(masks, logits)
    finally:
        keras.config.set_floatx("float32")
    # About 90000 pixels: float16 ends at 65504 and has every integer only up to 2048.
    assert float(streaming.result()) == pytest.approx(
        expected_mean(masks, logits, 0.5, key), abs=1e-6
    )


@pytest.mark.parametrize("metric, key", METRICS)
def test_sample_weight_leaves_images_out(metric, key):
    masks, logits = images(seed=5)
    keep = np.array([1, 0, 1, 1, 0, 0, 1, 1, 1, 0, 1], "float32")
    streaming = metric()
    streaming.update_state(masks, logits, sample_weight=keep)
    kept = keep.astype(bool)
    assert float(streaming.result()) == pytest.approx(
        expected_mean(masks[kept], logits[kept], 0.5, key), abs=2e-6
    )


@pytest.mark.parametrize("metric, key", METRICS)
def test_config_round_trip(metric, key):
    assert metric().name == key
    streaming = metric(threshold=0.3, name="val")
    copy = keras.metrics.deserialize(keras.metrics.serialize(streaming))
    assert type(copy) is metric
    assert (copy.threshold, copy.name, copy.dtype) == (0.3, "val", "float32")


def test_evaluate_gives_the_same_numbers_with_a_short_last_batch():
    masks, logits = images(seed=6)
    model = keras.Sequential([keras.layers.Input((None, None, 3)), keras.layers.Identity()])
    model.compile(loss="mse", metrics=[MeanDice(), MeanIoU(threshold=0.7)])
    logs = model.evaluate(logits, masks.astype("uint8"), batch_size=4, verbose=0, return_dict=True)
    assert logs["dice"] == pytest.approx(expected_mean(masks, logits, 0.5, "dice"), abs=2e-6)
    assert logs["iou"] == pytest.approx(expected_mean(masks, logits, 0.7, "iou"), abs=2e-6)


@pytest.mark.parametrize("threshold", [0, 1, -0.2, 127, math.nan])
def test_rejects_thresholds(threshold):
    with pytest.raises(ValueError, match=f"threshold={threshold}"):
        MeanDice(threshold=threshold)


@pytest.mark.parametrize(
    "mask_shape, logits_shape",
    [((2, 5, 6), (2, 5, 6, 1)), ((2, 5, 6, 4), (2, 5, 6, 4)), ((2, 5, 6, 1), (2, 5, 6))],
)
def test_rejects_shapes(mask_shape, logits_shape):
    with pytest.raises(ValueError, match="expected mask"):
        MeanIoU().update_state(np.zeros(mask_shape, "float32"), np.zeros(logits_shape, "float32"))


@pytest.mark.parametrize("metric, key", METRICS)
@pytest.mark.parametrize("weighted", [False, True])
def test_images_without_foreground_are_left_out(metric, key, weighted):
    masks, logits = images(seed=4)
    weights = np.random.default_rng(4).integers(0, 3, 11) if weighted else np.ones(11)
    streaming, alarms = metric(empty="skip"), FalseAlarms()
    for rows in BATCHES:
        for one in (streaming, alarms):
            one.update_state(masks[rows], logits[rows], weights[rows] if weighted else None)
    found = logits[..., -1] > 0
    scores = [overlap(m[..., 0], f)[key] for m, f in zip(masks, found)]
    positive = masks.any(axis=(1, 2, 3))
    assert (~positive).sum() == 2
    expected = np.average(np.array(scores)[positive], weights=weights[positive])
    assert float(streaming.result()) == pytest.approx(expected, abs=2e-6)
    raised = found.any(axis=(1, 2))[~positive]
    assert float(alarms.result()) == pytest.approx(np.average(raised, weights=weights[~positive]))
    assert 0 < float(alarms.result()) < 1
    again = metric.from_config(streaming.get_config())
    assert again.empty == "skip" and metric.from_config({"threshold": 0.5}).empty == "one"


def test_an_unknown_rule_for_empty_masks_is_refused():
    with pytest.raises(ValueError, match="empty='zero'"):
        MeanDice(empty="zero")

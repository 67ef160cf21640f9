"""The losses against float64 NumPy, on each backend, and inside `fit`."""

import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from polypseg.losses import LOSSES, SegmentationLoss, border_weights
from polypseg.metrics import MeanDice, MeanIoU

ROOT = Path(__file__).resolve().parent.parent


def numpy_weights(mask):
    """1 + 5 |mean of the 31 x 31 window, zeros outside - m|, window by window."""
    mask = np.asarray(mask, "float64")
    average = np.empty_like(mask)
    for row in range(mask.shape[1]):
        for column in range(mask.shape[2]):
            window = mask[:, max(row - 15, 0) : row + 16, max(column - 15, 0) : column + 16]
            average[:, row, column] = window.sum(axis=(1, 2)) / (31 * 31)
    return 1 + 5 * np.abs(average - mask)


def numpy_loss(name, mask, logits, weights):
    """The formulas in float64; `weights` are `numpy_weights(mask)`. Returns (B, S)."""
    m, x = np.asarray(mask, "float64"), np.asarray(logits, "float64")
    w = weights if name.startswith("weighted") else np.ones_like(m)
    p = 1 / (1 + np.exp(-x))
    inter, both = (w * p * m).sum((1, 2)), (w * (p + m)).sum((1, 2))
    if name.endswith("bce"):
        cross_entropy = np.logaddexp(0, np.where(m == 1, -x, x))  # -log p or -log(1 - p)
        return (w * cross_entropy).sum((1, 2)) / w.sum((1, 2))
    if name.endswith("dice"):
        return 1 - (2 * inter + 1) / (both + 1)
    return 1 - (inter + 1) / (both - inter + 1)


SUMS = {
    "structure": ("weighted_bce", "weighted_iou"),
    "structure_official": ("bce", "weighted_iou"),
    "wbce_dice": ("weighted_bce", "weighted_dice"),
}


def expected_loss(name, mask, logits, weights=None):
    weights = numpy_weights(mask) if weights is None else weights
    return sum(numpy_loss(term, mask, logits, weights) for term in SUMS.get(name, (name,)))


def batch(size, maps, seed=0):
    """Four masks, a random one, a disc that touches the border, none and all; logits."""
    rng = np.random.default_rng(seed)
    rows, columns = np.ogrid[: size[0], : size[1]]
    disc = rows**2 + (columns - size[1] // 2) ** 2 < (0.6 * min(size)) ** 2
    mask = np.stack([rng.random(size) < 0.3, disc, np.zeros(size), np.ones(size)])[..., None]
    return mask.astype("uint8"), rng.normal(scale=3, size=(4, *size, maps)).astype("float32")


def gradient(function, x):
    """d sum(function(x)) / dx as NumPy, on the backend that is running."""
    backend = keras.backend.backend()
    x = keras.ops.convert_to_tensor(x, "float32")
    if backend == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            tape.watch(x)
            y = keras.ops.sum(function(x))
        return np.array(tape.gradient(y, x))
    if backend == "jax":
        import jax

        return np.array(jax.jit(jax.grad(lambda x: keras.ops.sum(function(x))))(x))
    x.requires_grad_()
    keras.ops.sum(function(x)).backward()
    return x.grad.cpu().numpy()


def array(x):
    return keras.ops.convert_to_numpy(x)


@pytest.mark.parametrize("maps", [1, 4])
@pytest.mark.parametrize("size", [(37, 53), (64, 33), (12, 19), (1, 40)])
def test_every_loss_equals_numpy(size, maps):
    mask, logits = batch(size, maps)
    weights = numpy_weights(mask)
    assert set(LOSSES) == {
        *SUMS,
        *(f"{w}{n}" for w in ("", "weighted_") for n in ("bce", "dice", "iou")),
    }
    for name, function in LOSSES.items():
        got = array(function(mask, logits))
        assert got.dtype == "float32"
        np.testing.assert_allclose(
            got, expected_loss(name, mask, logits, weights), rtol=2e-6, atol=2e-6, err_msg=name
        )


@pytest.mark.parametrize("size", [(37, 53), (12, 19), (90, 31)])
def test_border_weights_equal_numpy(size):
    mask, _ = batch(size, 1)
    got = array(border_weights(mask))
    assert got.dtype == "float32"
    np.testing.assert_allclose(got, numpy_weights(mask), rtol=0, atol=2e-6)


@pytest.mark.parametrize("size", [(37, 53), (12, 19)])
def test_border_weights_count_the_padding_as_pytorch_does(size):
    torch = pytest.importorskip("torch")
    mask, _ = batch(size, 1)
    m = torch.from_numpy(mask.astype("float64")).permute(0, 3, 1, 2)
    average = torch.nn.functional.avg_pool2d(m, 31, stride=1, padding=15)
    expected = (1 + 5 * (average - m).abs()).permute(0, 2, 3, 1).numpy()
    got = array(border_weights(mask))
    np.testing.assert_allclose(got, expected, rtol=0, atol=2e-6)
    # The last mask is full: if the average did not include the padding, its weights would be 1.
    assert got[3].max() > 4.6


def test_structure_official_equals_the_authors_code():
    torch = pytest.importorskip("torch")
    F = torch.nn.functional
    mask, logits = batch((37, 53), 1)
    m, x = (torch.from_numpy(a.astype("float64")).permute(0, 3, 1, 2) for a in (mask, logits))
    weit = 1 + 5 * torch.abs(F.avg_pool2d(m, kernel_size=31, stride=1, padding=15) - m)
    with pytest.warns(UserWarning, match="reduction='mean'"):
        wbce = F.binary_cross_entropy_with_logits(x, m, reduce="none")
    wbce = (weit * wbce).sum(dim=(2, 3)) / weit.sum(dim=(2, 3))
    p = torch.sigmoid(x)
    inter, union = ((p * m) * weit).sum(dim=(2, 3)), ((p + m) * weit).sum(dim=(2, 3))
    expected = (wbce + 1 - (inter + 1) / (union - inter + 1)).mean().item()
    got = SegmentationLoss("structure_official")(mask, logits)
    assert float(got) == pytest.approx(expected, rel=2e-6)
    assert abs(expected - expected_loss("structure", mask, logits).mean()) > 1e-3


@pytest.mark.parametrize("name", LOSSES)
def test_gradient_equals_finite_differences(name):
    mask, logits = batch((5, 7), 2, seed=3)
    logits[:, 2] = 0.0  # where max(x, 0) and |x| have a kink, but the loss has none
    logits[:, 3] *= 4
    got = gradient(lambda x: LOSSES[name](mask, x), logits)
    weights, step = numpy_weights(mask), 1e-5
    expected = np.empty(logits.shape)
    # An image's map depends on its own logits only: all 4 x 2 move at once.
    for row, column in np.ndindex(5, 7):
        ahead, behind = logits.astype("float64"), logits.astype("float64")
        ahead[:, row, column] += step
        behind[:, row, column] -= step
        rise = expected_loss(name, mask, ahead, weights) - expected_loss(
            name, mask, behind, weights
        )
        expected[:, row, column] = rise / (2 * step)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("name", LOSSES)
def test_extreme_logits_stay_finite_and_right(name):
    mask, logits = batch((9, 11), 2, seed=4)
    logits = 80 * np.sign(logits)
    got = array(LOSSES[name](mask, logits))
    np.testing.assert_allclose(got, expected_loss(name, mask, logits), rtol=2e-6, atol=2e-6)
    slope = gradient(lambda x: LOSSES[name](mask, x), logits)
    assert np.isfinite(slope).all()
    if "bce" in name:  # a completely wrong pixel still has a gradient
        wrong = np.sign(slope) == np.sign(logits)
        np.testing.assert_array_equal(wrong, (logits > 0) != (mask == 1))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", LOSSES)
def test_half_precision_logits_are_computed_in_float32(name, dtype):
    mask, logits = batch((300, 301), 1)
    half = keras.ops.cast(logits, dtype)
    got = LOSSES[name](keras.ops.cast(mask, dtype), half)
    assert keras.backend.standardize_dtype(got.dtype) == "float32"
    same = LOSSES[name](mask, array(keras.ops.cast(half, "float32")))
    np.testing.assert_allclose(array(got), array(same), rtol=1e-6)
    # Rounded logits, but no overflow: the areas here exceed float16's 65504.
    np.testing.assert_allclose(array(got), array(LOSSES[name](mask, logits)), rtol=1e-2)


@pytest.mark.parametrize("dtype", ["bool", "int32", "float16"])
def test_masks_of_any_dtype(dtype):
    mask, logits = batch((12, 19), 2)
    got = array(LOSSES["structure"](mask.astype(dtype), logits))
    np.testing.assert_allclose(got, expected_loss("structure", mask, logits), rtol=2e-6)


@pytest.mark.parametrize("name", ["structure", "wbce_dice"])
def test_compiled_with_unknown_shapes(name):
    tf = pytest.importorskip("tensorflow")
    if keras.backend.backend() != "tensorflow":
        pytest.skip("tf.function runs TensorFlow's kernels only")
    shapes = [
        tf.TensorSpec((None, None, None, 1), tf.uint8),
        tf.TensorSpec((None,) * 3 + (2,), tf.float32),
    ]
    compiled = tf.function(LOSSES[name], input_signature=shapes)
    for size in ((12, 19), (37, 20)):
        mask, logits = batch(size, 2)
        np.testing.assert_allclose(
            compiled(mask, logits), expected_loss(name, mask, logits), rtol=2e-6
        )


def test_class_stays_float32_where_floatx_is_not():
    mask, logits = batch((300, 301), 1)
    keras.config.set_floatx("float16")
    try:
        got = float(SegmentationLoss("dice", reduction="sum")(mask, logits))
    finally:
        keras.config.set_floatx("float32")
    assert got == pytest.approx(expected_loss("dice", mask, logits).sum(), rel=1e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_class_adds_weighted_maps_and_averages_images(name):
    mask, logits = batch((12, 19), 4)
    per_image = expected_loss(name, mask, logits) @ [0.5, 0.0, 2.0, 1.25]
    weighted = SegmentationLoss(name, map_weights=[0.5, 0, 2, 1.25])
    np.testing.assert_allclose(array(weighted.call(mask, logits)), per_image, rtol=3e-6)
    assert float(weighted(mask, logits)) == pytest.approx(per_image.mean(), rel=3e-6)
    plain = SegmentationLoss(name, reduction="sum")
    assert float(plain(mask, logits)) == pytest.approx(
        expected_loss(name, mask, logits).sum(), rel=3e-6
    )


@pytest.mark.parametrize("name", ["structure", "dice"])
def test_sums_of_logit_maps_are_further_maps_of_weight_1(name):
    mask, logits = batch((12, 19), 3)
    x, y, z = np.moveaxis(logits.astype("float64"), -1, 0)
    maps = expected_loss(name, mask, logits) @ [0.5, 0.0, 2.0]
    total = expected_loss(name, mask, (x + y + z)[..., None])[:, 0]
    pairs = expected_loss(name, mask, np.stack([x + y, x + z, y + z], axis=-1)).sum(axis=-1)
    for sums, expected in (("none", maps), ("all", maps + total), ("pairs", maps + total + pairs)):
        loss = SegmentationLoss(name, map_weights=[0.5, 0, 2], map_sums=sums)
        np.testing.assert_allclose(array(loss.call(mask, logits)), expected, rtol=3e-6)
        copy = keras.losses.deserialize(keras.losses.serialize(loss))
        assert float(copy(mask, logits)) == float(loss(mask, logits))
        # One map is its own sum: it is not counted twice.
        one = SegmentationLoss(name, map_sums=sums)(mask, logits[..., :1])
        assert float(one) == float(SegmentationLoss(name)(mask, logits[..., :1]))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_maps_are_added_up_in_float32(dtype):
    mask, logits = batch((12, 19), 4)
    half = keras.ops.cast(logits * 1000, dtype)
    loss = SegmentationLoss("bce", map_sums="all")
    same = loss.call(mask, array(keras.ops.cast(half, "float32")))
    np.testing.assert_allclose(array(loss.call(mask, half)), array(same), rtol=1e-6)


def test_a_loss_that_was_saved_without_sums_has_none():
    saved = keras.losses.serialize(SegmentationLoss("dice", map_weights=[1, 2]))
    del saved["config"]["map_sums"]
    assert keras.losses.deserialize(saved).map_sums == "none"


def test_class_defaults_to_structure():
    mask, logits = batch((12, 19), 1)
    expected = expected_loss("structure", mask, logits).mean()
    assert float(SegmentationLoss()(mask, logits)) == pytest.approx(expected, rel=3e-6)


def test_config_round_trip():
    mask, logits = batch((12, 19), 3)
    loss = SegmentationLoss(
        "wbce_dice", map_weights=np.array([0.25, 0.5, 1]), reduction="sum", name="deep"
    )
    copy = keras.losses.deserialize(keras.losses.serialize(loss))
    assert type(copy) is SegmentationLoss
    assert copy.get_config() == {
        "loss": "wbce_dice",
        "map_weights": [0.25, 0.5, 1.0],
        "map_sums": "none",
        "reduction": "sum",
        "name": "deep",
    }
    assert float(copy(mask, logits)) == float(loss(mask, logits))
    assert keras.losses.serialize(loss)["registered_name"] == "polypseg>SegmentationLoss"


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"loss": "focal"}, "structure, structure_official, wbce_dice, dice.*loss='focal'"),
        ({"map_sums": "some"}, "none, all, pairs, got map_sums='some'"),
        ({"map_weights": [1, -0.5]}, r"map_weights=\[1, -0.5\]"),
        ({"map_weights": [0.0, 0]}, r"not all 0, got map_weights=\[0.0, 0\]"),
        ({"map_weights": []}, r"map_weights=\[\]"),
        ({"map_weights": [1, float("nan")]}, "finite.*nan"),
        ({"map_weights": [1, float("inf")]}, "finite.*inf"),
    ],
)
def test_class_rejects(arguments, words):
    with pytest.raises(ValueError, match=words):
        SegmentationLoss(**arguments)


def test_class_rejects_another_number_of_maps():
    mask, logits = batch((12, 19), 4)
    with pytest.raises(ValueError, match=r"4 maps.*map_weights=\[1.0, 2.0, 3.0\] \(3\)"):
        SegmentationLoss(map_weights=[1, 2, 3])(mask, logits)


@pytest.mark.parametrize(
    "mask_shape, logits_shape",
    [
        ((2, 5, 6), (2, 5, 6, 4)),
        ((2, 5, 6, 4), (2, 5, 6, 4)),
        ((2, 5, 6, 1), (2, 5, 6)),
        ((2, 1, 6, 1), (2, 5, 6, 4)),
        ((1, 5, 6, 1), (2, 5, 6, 4)),
    ],
)
@pytest.mark.parametrize("name", LOSSES)
def test_functions_reject_shapes_that_would_broadcast(name, mask_shape, logits_shape):
    with pytest.raises(ValueError, match="expected mask.*got mask"):
        LOSSES[name](np.zeros(mask_shape), np.zeros(logits_shape))


def fit_logs(epochs):
    """Logs of a 1 x 1 convolution to four maps trained on one mask an image, and the loss at
    first.
    """
    mask, image = batch((12, 19), 3, seed=7)
    model = keras.Sequential(
        [keras.layers.Input((None, None, 3)), keras.layers.Conv2D(4, 1, name="head")]
    )
    kernel = np.random.default_rng(8).normal(size=(1, 1, 3, 4))
    model.layers[0].set_weights([kernel, np.zeros(4)])
    loss = SegmentationLoss("structure", map_weights=[0.5, 1, 1, 2])
    model.compile(
        keras.optimizers.SGD(0.5), loss=loss, metrics=[MeanDice(), MeanIoU(threshold=0.4)]
    )
    history = model.fit(image, mask, batch_size=4, epochs=epochs, verbose=0).history
    before = expected_loss("structure", mask, image.astype("float64") @ kernel[0, 0])
    return history, (before @ [0.5, 1, 1, 2]).mean()


@pytest.mark.parametrize("policy, rel", [("float32", 1e-5), ("mixed_bfloat16", 1e-2)])
def test_fit_with_one_mask_and_four_maps(policy, rel):
    keras.config.set_dtype_policy(policy)
    try:
        history, before = fit_logs(epochs=4)
    finally:
        keras.config.set_dtype_policy("float32")
    assert history["loss"][0] == pytest.approx(before, rel=rel)
    assert history["loss"] == sorted(history["loss"], reverse=True)
    assert all(0 < value < 1 for key in ("dice", "iou") for value in history[key])


def backend_outputs():
    """What every backend must agree on: losses, a gradient, metrics, `fit`."""
    mask, logits = batch((37, 20), 4, seed=5)
    logits[0, :5] = 0.0
    outputs = {name: array(function(mask, logits)) for name, function in LOSSES.items()}
    both = LOSSES["structure_official"], LOSSES["wbce_dice"]  # all four kinds of terms
    outputs["gradient"] = gradient(lambda x: both[0](mask, x) + both[1](mask, x), logits)
    for metric in (MeanDice(threshold=0.6), MeanIoU()):
        for rows in (slice(0, 3), slice(3, 4)):
            metric.update_state(mask[rows], logits[rows])
        outputs[metric.name] = array(metric.result())
    return outputs | {f"fit {key}": np.array(value) for key, value in fit_logs(epochs=2)[0].items()}


@pytest.fixture(scope="module")
def here():
    return backend_outputs()


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_other_backends_agree(backend, here, tmp_path):
    pytest.importorskip(backend)
    code = (
        "import runpy, sys, numpy, keras\n"
        f"assert keras.backend.backend() == {backend!r}\n"
        "numpy.savez(sys.argv[2], **runpy.run_path(sys.argv[1])['backend_outputs']())"
    )
    environment = os.environ | {"KERAS_BACKEND": backend, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code, __file__, str(tmp_path / "outputs.npz")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    there = np.load(tmp_path / "outputs.npz")
    assert set(there) == set(here)
    for key, value in here.items():
        np.testing.assert_allclose(there[key], value, rtol=2e-5, atol=1e-6, err_msg=key)

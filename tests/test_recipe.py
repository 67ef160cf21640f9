"""What the options do to the steps: sizes, rate, averages, accumulated gradients, loss scaling."""

import csv

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny

from polypseg.commands.train import parse as parse_train
from polypseg.data.images import read_image, resize_image, resize_mask
from polypseg.data.loading import Arrays
from polypseg.data.masks import read_mask
from polypseg.data.pairs import find_pairs
from polypseg.data.pipeline import scaled_sizes, training_batches
from polypseg.data.synthetic import write_dataset
from polypseg.errors import InputError
from polypseg.experiment.config import TrainConfig
from polypseg.inference.formats.keras import load_model
from polypseg.training import build
from polypseg.training import train as training
from polypseg.training.datasets import load_data
from polypseg.training.optimizer import Adam
from polypseg.training.schedule import WarmupSchedule, learning_rate

SMALL = (
    "--model",
    "attention_unet",
    "--input-size",
    "32",
    "--batch-size",
    "4",
    "--lr",
    "0.02",
    "--schedule",
    "constant",
    "--epochs",
    "2",
)


@pytest.fixture(autouse=True)
def tiny_network(monkeypatch):
    tiny.install(monkeypatch.setitem)
    yield
    keras.config.set_dtype_policy("float32")


def train(data, *arguments):
    config = parse_train(["--data-path", str(data), *(str(argument) for argument in arguments)])
    return training.train(config, load_data(config))[0]


def test_sizes_are_the_authors():
    """`int(round(352 * rate / 32) * 32)` of their MyTrain.py."""
    assert scaled_sizes(352, [0.75, 1, 1.25], 32) == [256, 352, 448]
    assert scaled_sizes(96, [0.75, 1, 1.25], 16) == [
        64 if round(4.5) == 4 else 80,
        96,
        128 if round(7.5) == 8 else 112,
    ]
    config = parse_train(["--data-path", "d", "--multi-scale", "0.75", "1", "1.25"])
    assert config.multi_scale == [0.75, 1, 1.25]
    for bad in (("0",), ("-1", "1"), ("0.01",), ("nan",), ("5",)):
        with pytest.raises(InputError, match="multi_scale: expected factors"):
            parse_train(["--data-path", "d", "--multi-scale", *bad])


def test_each_batch_comes_once_at_each_size_aligned_by_its_corners():
    rng = np.random.default_rng(0)
    arrays = Arrays(
        rng.integers(0, 256, (6, 40, 40, 3)).astype(np.uint8),
        (rng.random((6, 40, 40, 1)) < 0.5).astype(np.uint8),
    )
    plain = [(x.numpy(), y.numpy()) for x, y in training_batches(arrays, 32, 3, seed=1, epochs=2)]
    scaled = [
        (x.numpy(), y.numpy())
        for x, y in training_batches(arrays, 32, 3, seed=1, epochs=2, sizes=[16, 32, 64])
    ]
    assert [x.shape[1:3] for x, _ in scaled] == [(16, 16), (32, 32), (64, 64)] * 4
    later = [
        x.numpy()
        for x, _ in training_batches(
            arrays, 32, 3, seed=1, epochs=2, first_epoch=1, sizes=[16, 32, 64]
        )
    ]
    np.testing.assert_array_equal(later[0], scaled[6][0])
    for index, (x, y) in enumerate(plain):
        np.testing.assert_array_equal(scaled[3 * index + 1][0], x)
        for place, size in ((0, 16), (2, 64)):
            at = np.arange(size) * 31 / (size - 1)  # PyTorch's align_corners=True
            low = np.minimum(np.floor(at).astype(int), 30)
            part = at - low
            rows = np.eye(32)[low] * (1 - part)[:, None] + np.eye(32)[low + 1] * part[:, None]
            ours, masks = scaled[3 * index + place]
            np.testing.assert_allclose(
                ours, np.einsum("ih,bhwc,jw->bijc", rows, x, rows), atol=2e-2
            )
            soft = np.einsum("ih,bhwc,jw->bijc", rows, y, rows)
            clear = np.abs(soft - 0.5) > 1e-4
            np.testing.assert_array_equal(masks[clear], (soft > 0.5)[clear])
            assert set(np.unique(masks)) <= {0.0, 1.0}


def test_each_batch_comes_at_one_size_that_is_drawn_for_it(data):
    levels = np.arange(12, dtype=np.uint8)[:, None, None, None]
    arrays = Arrays(np.full((12, 32, 32, 3), levels), np.zeros((12, 32, 32, 1), np.uint8))

    def batches(epochs=30, **options):
        settings = {"seed": 4, "epochs": epochs, "augmentation": "none", "sizes": [16, 32, 48]}
        found = training_batches(arrays, 32, 3, **(settings | options))
        return [(x.shape[1], sorted(x.numpy()[:, 0, 0, 0])) for x, _ in found]

    one, plain = batches(one_size=True), batches(sizes=None)
    assert [x for _, x in one] == [x for _, x in plain], "the same images in the same order"
    sizes = [size for size, _ in one]
    # 120 draws: 40 of each size are expected, with a standard deviation of 5.
    assert all(22 <= sizes.count(size) <= 58 for size in (16, 32, 48)) and len(sizes) == 120
    assert len({tuple(sizes[epoch : epoch + 4]) for epoch in range(0, 120, 4)}) > 10
    assert batches(one_size=True, first_epoch=29) == one[-4:]
    assert batches(one_size=True, part=(1, 3))[5][0] == one[5][0], "processes agree"
    config = parse_train(
        ["--data-path", str(data), *SMALL, "--multi-scale", "0.5", "1", "--scales-per-batch", "one"]
    )
    assert training._steps(config, load_data(config), devices=1) == (4, 16 // 4)


def test_step_decay_is_a_tenth_every_fifty_epochs_and_counts_the_scales(data, tmp_path):
    config = parse_train(
        [
            "--data-path",
            str(data),
            *SMALL,
            "--schedule",
            "step",
            "--epochs",
            "120",
            "--lr",
            "1e-4",
            "--multi-scale",
            "0.5",
            "1",
            "1.5",
        ]
    )
    batch_size, steps = training._steps(config, load_data(config), devices=1)
    assert (batch_size, steps) == (4, 16 // 4 * 3)
    rate = build._optimizer(config, steps)._learning_rate
    for epoch in (0, 1, 49, 50, 99, 100, 119):
        for step in (epoch * steps, epoch * steps + steps - 1):
            assert float(rate(step)) == pytest.approx(1e-4 * 0.1 ** (epoch // 50), rel=1e-5)


@pytest.mark.parametrize("epochs, steps, warmup", [(40, 5, 10), (11, 10, 11), (1, 9, 0)])
@pytest.mark.parametrize("kind", ["cosine", "constant", "poly"])
def test_the_rate_rises_and_then_falls_or_stays(epochs, steps, warmup, kind):
    """Two epochs up, or a tenth of the run, and half a cosine down to a hundredth, or (1 - t)^0.9
    to 0.
    """
    config = TrainConfig(data_path="d", lr=0.01, schedule=kind, epochs=epochs)
    rate, total = learning_rate(config, steps), epochs * steps
    schedules = keras.optimizers.schedules
    rate = schedules.deserialize(schedules.serialize(rate))
    # Each step around the top of the rise, and some of the others.
    for step in {*range(min(warmup + 3, total)), *range(warmup, total, 9), total - 1, total}:
        done = (step - warmup) / (total - warmup)
        falling = {
            "cosine": 0.01 + 0.99 * (1 + np.cos(np.pi * done)) / 2,
            "constant": 1,
            "poly": (1 - done) ** 0.9,
        }[kind]
        expected = (step + 1) / (warmup + 1) if step < warmup else falling
        assert float(rate(step)) == pytest.approx(0.01 * expected, rel=1e-4)


@pytest.mark.parametrize("kind", ["cosine", "constant", "step"])
def test_the_rate_of_an_earlier_run_is_that_of_a_new_one(kind):
    config = TrainConfig(data_path="d", schedule=kind, epochs=120)
    now, warmup = learning_rate(config, 3), 0 if kind == "step" else 6
    before = WarmupSchedule(config.lr, 360, warmup, kind, decay=150)
    before = keras.optimizers.schedules.deserialize(keras.optimizers.schedules.serialize(before))
    for step in (*range(9), *range(9, 360, 13), 149, 150, 299, 300, 359):
        assert float(now(step)) == pytest.approx(float(before(step)), rel=1e-6)


def gradients_of(rng, count):
    return [rng.standard_normal((3, 4)).astype("float32") for _ in range(count)]


def test_accumulated_steps_equal_one_of_the_larger_batch():
    """A convolution without batch norm, a loss that is a mean over pictures: 3 steps of 2 are one
    of 6.
    """
    rng = np.random.default_rng(2)
    x, y = (
        rng.standard_normal((12, 8, 8, 3)).astype("float32"),
        rng.random((12, 8, 8, 1)).astype("float32"),
    )
    results = []
    for batch, every in ((6, None), (2, 3)):
        keras.utils.set_random_seed(0)
        model = keras.Sequential(
            [
                keras.Input((8, 8, 3)),
                keras.layers.Conv2D(2, 3, padding="same", activation="relu"),
                keras.layers.Conv2D(1, 1),
                keras.layers.ZeroPadding2D(1),
            ]
        )
        model.compile(
            Adam(0.05, clipvalue=0.02, gradient_accumulation_steps=every), "mse", jit_compile=False
        )
        model.fit(
            x,
            np.pad(y, ((0, 0), (1, 1), (1, 1), (0, 0))),
            batch_size=batch,
            shuffle=False,
            verbose=0,
        )
        results.append([np.array(weight) for weight in model.get_weights()])
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=2e-6)


def test_more_accumulated_steps_than_the_run_has_are_refused(data, tmp_path):
    with pytest.raises(
        InputError, match="accumulate: expected at most the 8 steps of the run, got 9"
    ):
        train(data, *SMALL, "--accumulate", 9, "--trained-model-path", tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("every", [1, 2])
def test_the_best_model_holds_the_averages_and_the_last_one_both(
    data, tmp_path, monkeypatch, every
):
    """a = m a + (1 - m) w after each update, beginning with w, whatever number of steps makes an
    update.
    """
    seen = []

    def watch(self, batch, logs=None):
        seen.append([np.array(weight) for weight in self.model.trainable_variables])

    monkeypatch.setattr(training.StopOnNonFinite, "on_train_batch_end", watch)
    folder = train(
        data,
        *SMALL,
        "--epochs",
        1,
        "--ema",
        0.7,
        "--accumulate",
        every,
        "--trained-model-path",
        tmp_path,
    )
    assert len(seen) == 4
    average, momentum = None, 0.7 ** (1 / every)
    for step, weights in enumerate(seen):
        average = (
            weights
            if step < every
            else [momentum * a + (1 - momentum) * w for a, w in zip(average, weights)]
        )
    best = keras.saving.load_model(folder / "best.keras", compile=False)
    last = keras.saving.load_model(folder / "last.keras")
    for a, w, kept, own in zip(
        average, seen[-1], best.trainable_variables, last.trainable_variables, strict=True
    ):
        np.testing.assert_allclose(np.array(kept), a, rtol=0, atol=1e-6)
        np.testing.assert_array_equal(np.array(own), w)
    assert any(
        np.abs(np.array(a) - np.array(b)).max() > 1e-4
        for a, b in zip(best.trainable_variables, last.trainable_variables)
    )

    stems, scores = (folder / "split" / "val.txt").read_text().split(), []
    for pair in find_pairs(data)[0]:
        if pair.stem in stems:
            truth = resize_mask(read_mask(pair.mask), (32, 32)) > 0
            answer = (
                np.asarray(
                    best(resize_image(read_image(pair.image), (32, 32))[None].astype("float32"))
                )[0, ..., 0]
                >= 0
            )
            scores.append(2 * (truth & answer).sum() / (truth.sum() + answer.sum()))
    with open(folder / "history.csv") as file:
        assert float(next(csv.DictReader(file))["val_dice"]) == pytest.approx(
            np.mean(scores), abs=1e-5
        )


def test_float16_scales_the_loss_and_skips_the_steps_that_overflow(data, tmp_path):
    folder = train(
        data, *SMALL, "--precision", "float16", "--ema", "0.5", "--trained-model-path", tmp_path
    )
    keras.config.set_dtype_policy("mixed_float16")
    last = keras.saving.load_model(folder / "last.keras")
    assert isinstance(last.optimizer, keras.optimizers.LossScaleOptimizer)
    assert isinstance(last.optimizer.inner_optimizer, Adam)
    keras.config.set_dtype_policy("float32")
    best = keras.saving.load_model(folder / "best.keras", compile=False)
    assert all(
        weight.dtype == "float32" and np.isfinite(np.array(weight)).all() for weight in best.weights
    )
    image = np.random.default_rng(0).uniform(0, 255, (1, 32, 32, 3)).astype("float32")
    assert np.isfinite(np.array(best(image))).all()

    scale, steps = float(last.optimizer.dynamic_scale), int(last.optimizer.iterations)
    before = [np.array(variable) for variable in last.trainable_variables]
    last.optimizer.apply(
        [tf.fill(variable.shape, np.inf) for variable in last.trainable_variables],
        last.trainable_variables,
    )
    assert (
        float(last.optimizer.dynamic_scale) == scale / 2 and int(last.optimizer.iterations) == steps
    )
    for old, variable in zip(before, last.trainable_variables, strict=True):
        np.testing.assert_array_equal(old, np.array(variable))


def test_the_precision_of_a_run_ends_with_it(data, tmp_path):
    folder = train(
        data, *SMALL, "--precision", "bfloat16", "--epochs", 1, "--trained-model-path", tmp_path
    )
    assert keras.config.dtype_policy().name == "float32"
    assert load_model(folder / "best.keras").compute_dtype == "float32"


def test_folds_are_not_trained_as_one_run(data, tmp_path):
    config = TrainConfig(data_path=str(data), model="attention_unet", folds=3)
    with pytest.raises(
        InputError, match="folds: expected none, since cross_validate trains folds, got 3"
    ):
        training.train(config)
    with pytest.raises(InputError, match="data_path: expected a folder"):
        training.train(TrainConfig(data_path=str(tmp_path / "absent"), model="attention_unet"))


def test_bad_files_are_counted_before_a_run_begins(tmp_path):
    write_dataset(tmp_path / "data", 20, size=(40, 44), seed=3)
    for index in (1, 2):
        (tmp_path / "data" / "images" / f"synthetic_000{index}.png").write_bytes(b"no image")
    config = TrainConfig(
        data_path=str(tmp_path / "data"),
        model="attention_unet",
        trained_model_path=str(tmp_path / "runs"),
    )
    with pytest.raises(InputError, match=r"got 2 bad files; the first: .*synthetic_0001\.png"):
        training.train(config)
    assert not (tmp_path / "runs").exists()

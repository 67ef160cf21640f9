"""Training on two devices and in two processes gives what one of them gives."""

import csv
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest
import tiny

from polypseg.commands.train import parse as parse_train
from polypseg.data.images import read_image, resize_image, resize_mask
from polypseg.data.loading import Arrays
from polypseg.data.masks import read_mask
from polypseg.data.pairs import find_pairs
from polypseg.data.pipeline import evaluation_batches, training_batches
from polypseg.data.synthetic import write_dataset
from polypseg.errors import InputError
from polypseg.training.datasets import load_data
from polypseg.training.devices import PeerLost, Share, connect_processes, distribute, expect_peers
from polypseg.training.train import train

ROOT = Path(__file__).resolve().parent.parent
SMALL = (
    "--model",
    "attention_unet",
    "--input-size",
    32,
    "--batch-size",
    4,
    "--epochs",
    2,
    "--lr",
    0.02,
    "--schedule",
    "constant",
)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """17 pictures to train with, 2 to validate: neither a multiple of the batch."""
    folder = tmp_path_factory.mktemp("data")
    write_dataset(folder, 21, size=(40, 44), seed=1)
    return folder


def start(data, runs, *arguments, program="tiny.py", backend="jax", **environment):
    command = [
        sys.executable,
        ROOT / "tests" / program,
        "--data-path",
        data,
        "--trained-model-path",
        runs,
        *SMALL,
        *arguments,
    ]
    return subprocess.Popen(
        [*map(str, command)],
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ
        | {"KERAS_BACKEND": backend, "CUDA_VISIBLE_DEVICES": "", "JAX_PLATFORMS": "cpu"}
        | environment,
    )


def start_two(data, folder, *arguments):
    """Two processes that train a network together."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    connection = ("--devices", "all", "--coordinator", f"127.0.0.1:{port}", "--num-processes", 2)
    return [
        start(data, folder / f"process-{index}", *arguments, *connection, "--process-id", index)
        for index in range(2)
    ]


def finish(*processes):
    """What the processes printed."""
    printed = [process.communicate(timeout=300) for process in processes]
    for process, (_, errors) in zip(processes, printed):
        assert process.returncode == 0, errors[-3000:]
    return [output for output, _ in printed]


def history(runs):
    (path,) = Path(runs).glob("*/history.csv")
    with open(path, newline="") as file:
        return [
            {key: float(value) for key, value in row.items() if key != "seconds"}
            for row in csv.DictReader(file)
        ]


def assert_same(one, other):
    assert len(one) == len(other) == 2
    for a, b in zip(one, other):
        assert a == pytest.approx(b, rel=1e-4, abs=1e-6)
    assert one[0]["loss"] != pytest.approx(one[1]["loss"], rel=1e-2), "something was learned"


def weights(runs):
    (path,) = Path(runs).glob("*/best.keras")
    return keras.saving.load_model(path, compile=False).get_weights()


@pytest.mark.slow
def test_two_processes_under_jax_train_as_one_does(data, tmp_path):
    pytest.importorskip("jax")
    alone = start(data, tmp_path / "alone")
    both = start_two(data, tmp_path)
    first, second = finish(*both)
    finish(alone)
    assert_same(history(tmp_path / "alone"), history(tmp_path / "process-0"))
    for a, b in zip(weights(tmp_path / "alone"), weights(tmp_path / "process-0"), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)
    assert "best model" in first and "epoch" not in second
    assert not list(tmp_path.glob("process-1/*")), "the first process alone writes"


# Clipped gradients are so small that SGD needs a high rate.
@pytest.mark.parametrize("optimizer, decay, lr", [("adamw", 0.5, 0.02), ("sgd", 0.01, 0.5)])
def test_two_devices_under_a_mirrored_strategy_train_as_one_does(
    data, tmp_path, monkeypatch, optimizer, decay, lr
):
    """Gradients beyond the clip value, in part: it holds for their sum over the devices."""
    recipe = ("--optimizer", optimizer, "--weight-decay", decay, "--lr", lr)
    options = ("--clip-value", 0.003, *recipe)
    several = {"program": "two_devices.py", "backend": "tensorflow", "STATELESS": "1"}
    both = start(data, tmp_path / "all", "--devices", "all", *options, **several)
    tiny.install(monkeypatch.setitem, stateless=True)
    paths = ("--data-path", data, "--trained-model-path", tmp_path / "one")
    config = parse_train([str(argument) for argument in (*paths, *SMALL, *options)])
    train(config, load_data(config))  # in this process, on its one device
    finish(both)
    assert_same(history(tmp_path / "one"), history(tmp_path / "all"))
    for a, b in zip(weights(tmp_path / "one"), weights(tmp_path / "all"), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


def test_what_a_mirrored_strategy_saves_is_what_it_validated(data, tmp_path):
    """Each device has seen other pictures; their moving statistics have to be made one."""
    finish(
        start(data, tmp_path, "--devices", "all", program="two_devices.py", backend="tensorflow")
    )
    best = max(row["val_dice"] for row in history(tmp_path))
    run = tmp_path / "attention_unet"
    stems = (run / "split" / "val.txt").read_text().split()
    pairs = [pair for pair in find_pairs(data)[0] if pair.stem in stems]
    model = keras.saving.load_model(run / "best.keras", compile=False)
    scores = []
    for pair in pairs:
        image = resize_image(read_image(pair.image), (32, 32))[None].astype("float32")
        truth = resize_mask(read_mask(pair.mask), (32, 32)) > 0
        found = np.asarray(model(image, training=False))[0, :, :, 0] >= 0
        scores.append(2 * (truth & found).sum() / (truth.sum() + found.sum()))
    assert best == pytest.approx(np.mean(scores), abs=1e-4)


def test_parts_make_up_the_batches_and_the_weights_the_mean():
    random = np.random.default_rng(0)
    arrays = Arrays(
        random.integers(0, 256, (7, 6, 6, 3), np.uint8),
        random.integers(0, 2, (7, 6, 6, 1), np.uint8),
    )

    def batches(**part):
        return [
            [array.numpy() for array in batch]
            for batch in training_batches(arrays, 6, 4, 5, 2, augmentation="flips", **part)
        ]

    whole, parts = batches(), [batches(part=(index, 2)) for index in range(2)]
    assert len(whole) == 2
    for one, *two in zip(whole, *parts, strict=True):
        for array, halves in zip(one, zip(*two)):
            np.testing.assert_array_equal(array, np.concatenate(halves))

    means = arrays.images.reshape(7, -1).mean(axis=1, dtype=np.float64)
    sums, total = 0.0, 0.0
    for index in range(2):
        for images, masks, weights in evaluation_batches(arrays, 4, (index, 2)):
            assert images.shape == (2, 6, 6, 3) and masks.shape == (2, 6, 6, 1)
            sums += float((weights.numpy() * images.numpy().reshape(2, -1).mean(axis=1)).sum())
            total += 2
    assert sums / total == pytest.approx(means.mean(), rel=1e-6)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("--devices", "two"), "devices: expected one or all, got two"),
        (("--coordinator", "10.0.0.1"), "coordinator: expected HOST:PORT, got 10.0.0.1"),
        (("--num-processes", "0"), "num_processes: expected 1 or more, got 0"),
    ],
)
def test_options_out_of_range(arguments, message):
    with pytest.raises(InputError, match=message):
        parse_train(["--data-path", ".", *arguments])


def test_what_cannot_be_distributed_is_refused(monkeypatch):
    config = parse_train(["--data-path", ".", "--devices", "all", "--coordinator", "localhost:1"])
    with pytest.raises(
        InputError, match="coordinator: expected KERAS_BACKEND=jax, since tensorflow"
    ):
        connect_processes(config)
    with pytest.raises(InputError, match="process_id: expected `devices` all beside it, got 1"):
        connect_processes(parse_train(["--data-path", ".", "--process-id", "1"]))
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    with (
        pytest.raises(InputError, match="devices: expected KERAS_BACKEND=tensorflow or jax"),
        distribute(config),
    ):
        pass
    monkeypatch.undo()
    import tensorflow as tf

    three = [tf.config.list_logical_devices("CPU")[0]] * 3
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: three)
    with (
        pytest.raises(InputError, match="batch_size: expected a multiple of the 3 devices, got 16"),
        distribute(config),
    ):
        pass


@pytest.mark.parametrize(
    "text",
    [
        "UNKNOWN: Gloo AllGather failed: [pair.cc:547] Connection closed by peer [127.0.0.1]:5904",
        "INTERNAL: NCCL operation ncclAllReduce failed: remote process exited",
        "UNAVAILABLE: The following tasks are unhealthy (stopped sending heartbeats)",
    ],
)
def test_the_error_about_a_lost_process_says_how_to_resume(text, monkeypatch):
    def fails():
        with expect_peers(lambda: "resume with: train.py --resume runs/net"):
            raise ValueError(text)

    with pytest.raises(ValueError, match="UN|INT"):
        fails()
    monkeypatch.setattr("polypseg.training.devices.process_share", lambda: Share(0, 2))
    with pytest.raises(PeerLost, match=r"one that has ended; .* resume with: train.py --resume"):
        fails()
    with pytest.raises(ValueError, match="^shapes$"), expect_peers(str):
        raise ValueError("shapes")


@pytest.mark.slow
@pytest.mark.parametrize("lost", [0, 1])
def test_a_process_whose_peer_was_killed_says_so_and_ends(lost, data, tmp_path):
    pytest.importorskip("jax")
    both = start_two(data, tmp_path, "--epochs", 9999, "--patience", 9999)
    for line in both[0].stdout:
        if line.startswith("epoch"):
            break
    both[lost].kill()
    killed = time.monotonic()
    errors = both[1 - lost].communicate(timeout=200)[1]
    both[lost].communicate()
    assert time.monotonic() - killed < 60 and "--resume" in errors and "Traceback" not in errors
    assert both[1 - lost].returncode == 2 or lost == 0  # without the first one, JAX aborts

"""SIGKILL at random moments: nothing incomplete has a final name, and the next call completes."""

import csv
import json
import os
import random
import re
import subprocess
import sys
import time
from pathlib import Path

import av
import cv2
import keras
import numpy as np
import pytest

from polypseg.data.images import read_image
from polypseg.data.synthetic import write_dataset
from polypseg.experiment.checkpoint import saved_epoch
from polypseg.experiment.registry import load_networks
from polypseg.training import build  # noqa: F401  registers optimizer and schedule with Keras

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parent.parent
STUB = [sys.executable, ROOT / "tests" / "stub_predictor.py"]
KILLS = 10


def start(command):
    environment = os.environ | {"STUB_SECONDS": "0.1"}
    return subprocess.Popen(
        [str(part) for part in command],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(command):
    process = start(command)
    told, said = process.communicate()
    assert process.returncode == 0, said
    return told


def test_infer_image(tmp_path):
    for index in range(40):
        small = np.random.default_rng(index).integers(0, 256, (6, 6, 3), np.uint8)
        image = cv2.resize(small, (71, 53), interpolation=cv2.INTER_CUBIC)
        (tmp_path / "in").mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / "in" / f"{index:02}.png"), image)
    command = [*STUB, ROOT / "infer_image.py", "--model", "stub", "--image", tmp_path / "in"]
    command += ["--batch-size", 1, "--panel", "--probability", "--out"]
    began = time.monotonic()
    run([*command, tmp_path / "once"])
    seconds, rng, done = time.monotonic() - began, random.Random(1), []
    out = tmp_path / "o"
    for _ in range(KILLS):
        process = start([*command, out])
        time.sleep(rng.uniform(0, seconds / 3))
        process.kill()
        process.wait()
        for path in out.rglob("*.png"):
            if not path.name.startswith("."):
                assert read_image(path).size
        assert not (out / "regions.csv").exists() or (len(done) and done[-1] == 40)
        done.append(len(list(out.glob("masks/[!.]*.png"))))
    assert done == sorted(done) and 0 < done[-1]
    before = int(re.search(r"; (\d+) done before", run([*command, out]))[1])
    assert done[-1] - 2 <= before <= done[-1], "what was written without a row is done again"
    rows = [
        list(csv.DictReader(open(folder / "regions.csv", newline="")))
        for folder in (tmp_path / "once", out)
    ]
    assert rows[0] == rows[1]
    files = sorted(path.relative_to(out) for path in out.rglob("*"))
    assert files == sorted(
        path.relative_to(tmp_path / "once") for path in (tmp_path / "once").rglob("*")
    )
    for name in files:
        if name.suffix == ".png":
            assert (out / name).read_bytes() == (tmp_path / "once" / name).read_bytes()


@pytest.mark.parametrize("masks", ["masks", "masks.mkv"])
def test_infer_video(masks, tmp_path):
    with av.open(str(tmp_path / "film.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25, width=64, height=48, pix_fmt="yuv420p")
        for index in range(60):
            image = np.full((48, 64, 3), (index * 4, 40, 40), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
        container.mux(stream.encode(None))
    command = [*STUB, ROOT / "infer_video.py", "--model", "stub", "--batch-size", 4]
    command += ["--video", tmp_path / "film.mp4"]
    began = time.monotonic()
    run([*command, "--out", tmp_path / "once" / "a.mp4"])
    seconds, rng, out = time.monotonic() - began, random.Random(2), tmp_path / "o"
    command += ["--out", out / "a.mp4", "--masks-out", out / masks]
    for _ in range(KILLS):
        process = start(command)
        time.sleep(rng.uniform(0, seconds))
        process.kill()
        process.wait()
        if (out / "a.mp4").exists():  # it had finished
            break
        assert [path.name for path in out.glob("[!.]*")] == []
    if not (out / "a.mp4").exists():
        run(command)
    assert sorted(path.name for path in out.iterdir()) == ["a.json", "a.mp4", masks]
    with av.open(str(out / "a.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == 60
    assert json.loads((out / "a.json").read_text())["frames"] == 60


def test_training_while_it_saves(tmp_path):
    """The real PraNet: what is resumed is, to the bit, what was never disturbed."""
    write_dataset(tmp_path / "data", 12, size=(40, 44), seed=1)
    arguments = ["--backbone", "mobilenetv2", "--backbone-weights", "none", "--input-size", 32]
    arguments += ["--batch-size", 4, "--epochs", KILLS + 2, "--patience", 99, "--deterministic"]
    arguments += ["--no-export"]
    new = [sys.executable, ROOT / "train.py", "--data-path", tmp_path / "data", *arguments]
    run([*new, "--trained-model-path", tmp_path / "undisturbed"])
    folder, rng = tmp_path / "runs" / "pranet_mobilenetv2", random.Random(3)
    command = [*new, "--trained-model-path", tmp_path / "runs"]
    kills = 0
    while kills < KILLS:
        process = start(command)
        # While a network is written: at its beginning, in it, or just behind it.
        stale = set(folder.glob(".part-*"))
        while process.poll() is None and set(folder.glob(".part-*.keras")) <= stale:
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.4))
        if process.poll() is not None:
            assert process.returncode == 0, process.stderr.read()
            break
        process.kill()
        process.wait()
        kills += 1
        if (folder / "config.json").exists():
            command = [sys.executable, ROOT / "train.py", "--resume", folder, "--no-export"]
    assert kills == KILLS, "the run ended before it was killed"
    run(command)
    load_networks()
    other = tmp_path / "undisturbed" / folder.name
    for name in ("best.keras", "last.keras"):
        assert saved_epoch(folder / name) == saved_epoch(other / name)
        one, two = (keras.saving.load_model(path / name) for path in (folder, other))
        variables = [
            [*model.weights, *getattr(getattr(model, "optimizer", None), "variables", [])]
            for model in (one, two)
        ]
        for a, b in zip(*variables, strict=True):
            np.testing.assert_array_equal(np.array(a), np.array(b))
    rows = [
        list(csv.DictReader(open(path / "history.csv", newline=""))) for path in (folder, other)
    ]
    for one, two in zip(*rows, strict=True):
        del one["seconds"], two["seconds"]
        assert one == two

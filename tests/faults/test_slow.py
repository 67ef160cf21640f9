"""What shows only when Keras runs, or in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny

from .table import NOISE, check, fault, half, no_room, put, right
from .test_convert import safetensors

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
SIZES = ("--input-size 32", "--batch-size 4", "--epochs 2")
TRAIN = ["--data-path data", "--model attention_unet", *SIZES, "--trained-model-path runs"]
SAVE = "runs/attention_unet: expected to save the network and its history, got: No space left"
SAMPLES = "runs/attention_unet: the network is trained, but samples/validation.png could not be"
SIDECAR, GRAPH = "net_savedmodel/assets.extra/polypseg.json", "net_savedmodel/saved_model.pb"
VARIABLES = "net_savedmodel/variables/variables.data-00000-of-00001"
KERAS = "--model: expected a .keras file of this toolkit, got a.keras"
WRITABLE = "--out: expected a writable place with room on the disk, got o.onnx"


def trained(room):
    return (room / "runs" / "attention_unet" / "best.keras").stat().st_size > 0


TRAINING = [
    fault("--accumulate 2147483647", "--accumulate: expected at most the 6 steps of the run"),
    fault("--process-id -1", "--process-id: expected --devices all beside it, got -1"),
    fault("", "--trained-model-path: ", no_room(Path, "mkdir", "attention_unet"), new="runs"),
    fault("", SAVE, no_room(os, "replace", "config.json"), new="runs*"),
    fault("", SAVE, no_room(os, "replace", "history.csv"), new="runs*"),
    fault("", SAVE, no_room(os, "replace", "last.keras"), new="runs*"),
    fault("", SAVE, no_room(os, "replace", "best.keras"), new="runs*"),
    fault("", SAVE, no_room(os, "replace", "curves.png"), new="runs*"),
    fault("", SAMPLES, no_room(os, "replace", "validation.png"), new="runs*"),
    right("--batch-size 2147483647 --patience 2147483647 --cache-gb inf --clip-value inf", trained),
]
WEIGHTS = [
    fault(f"--backbone-weights {300 * 'x'}", "--backbone-weights: expected a file of weights"),
    fault("--backbone-weights notes.txt", "--backbone-weights: expected ... which does not fit"),
]
IMAGE = [
    fault("--model a.keras", KERAS, put("a.keras")),
    fault("--model a.keras", KERAS, half("net.keras", "a.keras")),
    fault("--model net.keras --input-size 33", "--input-size: expected a multiple of 16"),
    fault("--model net_savedmodel", "--model: expected a file written", put(SIDECAR, NOISE)),
    fault("--model net_savedmodel", "--model: expected a complete SavedModel", put(GRAPH, NOISE)),
    fault("--model net_savedmodel", "--model: expected a complete SavedModel", half(VARIABLES)),
]
EXPORT = [
    fault("--model a.keras", KERAS, put("a.keras", NOISE)),
    fault("", WRITABLE, no_room(os, "replace", "o.onnx")),
]
CONVERT = [
    fault("a.keras --to-pytorch --out o.pth", "FILE: expected a .keras file", put("a.keras")),
    fault("a.safetensors --out o.keras", "FILE: expected the 922 keys", safetensors(a=np.zeros(1))),
]


@pytest.mark.parametrize("row", TRAINING)
def test_training(row, room, capfd, caplog):
    tiny.install(room.patch.setitem)
    check("train", TRAIN, row, room, capfd, caplog)


@pytest.mark.parametrize("row", WEIGHTS)
def test_weights(row, room, capfd, caplog):
    base = ["--data-path data", "--model pranet", "--backbone mobilenetv2", *SIZES]
    check("train", base, row, room, capfd, caplog)


@pytest.mark.parametrize("row", IMAGE)
def test_image(row, room, capfd, caplog):
    check("image", ["--image in", "--out out"], row, room, capfd, caplog)


@pytest.mark.parametrize("row", EXPORT)
def test_export(row, room, capfd, caplog):
    base = ["--model net.keras", "--format onnx", "--out o.onnx"]
    check("export", base, row, room, capfd, caplog)


@pytest.mark.parametrize("row", CONVERT)
def test_convert(row, room, capfd, caplog):
    check("convert", [], row, room, capfd, caplog)


def test_without_stderr(room):
    command = f"'{sys.executable}' -m polypseg image --model net.onnx --image in 2>&-"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run(["bash", "-c", command], cwd=room.folder, env=environment, check=True)
    assert len([*(room / "predictions" / "masks").iterdir()]) == 3


@pytest.mark.parametrize(
    "variables", [{"PYTHONIOENCODING": "cp1252"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}]
)
def test_a_japanese_name_on_a_poor_terminal(variables, room):
    (room / "in" / "大腸\n.png").write_bytes(b"")
    result = subprocess.run(
        [sys.executable, "-m", "polypseg", "image", "--model", "net.onnx", "--image", "in"],
        cwd=room.folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | variables,
        capture_output=True,
    )
    assert result.returncode == 2 and result.stderr.count(b"\n") == 1
    assert result.stderr.startswith(b"polypseg image: error: --image: in/\\u")
    assert len([*(room / "predictions" / "masks").iterdir()]) == 3

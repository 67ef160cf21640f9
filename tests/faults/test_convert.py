"""`convert.py`, up to where Keras starts; `test_slow.py` has what happens after that."""

import numpy as np
import pytest

from .table import (
    NOISE,
    check,
    copy,
    environment,
    fault,
    folder,
    half,
    link,
    put,
    unreadable,
)

SPARED = ("data", "maps", "run")
BASE = ["--out o.keras"]
LONG = "x" * 300
NO_FILE = "FILE: expected a file, got "
STATE = "FILE: expected a state dict (names and tensors only), got a."
SUFFIX = "FILE: expected a name that ends in .pth or .pt or .safetensors unless"
KERAS = "--out: expected a name that ends in .keras or .weights.h5 unless --to-pytorch is given"
TORCH = "--out: expected a name that ends in .pth or .pt or .safetensors with --to-pytorch"
BACKBONE = "--out: expected a name that ends in .weights.h5 for a Res2Net50 backbone, got o.keras"


def torch_file(content):
    """`a.pth`; `content` makes it of the module torch."""

    def prepare(room):
        torch = pytest.importorskip("torch")
        torch.save(content(torch), room / "a.pth")

    return prepare


def safetensors(**arrays):
    def prepare(room):
        pytest.importorskip("safetensors.numpy").save_file(arrays, room / "a.safetensors")

    return prepare


bogus = environment(KERAS_BACKEND="bogus")
ROWS = [
    fault("", "the following arguments are required: FILE"),
    fault("a.pth", f"{NO_FILE}a.pth, which does not exist"),
    fault("''", "FILE: expected a value, got an empty one"),
    fault(f"{LONG}.pth", NO_FILE),
    fault("in", f"{NO_FILE}in, a folder"),
    fault("a.pth", f"{NO_FILE}a.pth, a folder", folder("a.pth")),
    fault("a.pth", NO_FILE, link("a.pth", "a.pth")),
    fault("a.pth", NO_FILE, link("a.pth", "nothing")),
    fault("a.pth b.pth", "unknown argument b.pth"),
    fault("-a.pth", "the following arguments are required: FILE"),
    fault("notes.txt", SUFFIX),
    fault("net.keras", SUFFIX),
    fault("net.onnx --to-pytorch", "FILE: expected a name that ends in .keras with --to-pytorch"),
    fault("net.keras --to-pytorc", "unknown argument --to-pytorc; did you mean '--to-pytorch'?"),
    fault("a.pth --out o.h5", KERAS, put("a.pth")),
    fault("a.pth --out a.pth", KERAS, put("a.pth")),
    fault("a.pth --out ''", "--out: expected a value, got an empty one", put("a.pth")),
    fault("net.keras --to-pytorch --out net.keras", TORCH),
    fault("net.keras --to-pytorch --out o.npz", TORCH),
    # What is in the file.
    fault("a.pth", STATE, put("a.pth")),
    fault("a.pth", STATE, put("a.pth", NOISE)),
    fault("a.pth", STATE, put("a.pth", b"PK\x03\x04" + NOISE)),
    fault("a.pth", STATE, copy("net.keras", "a.pth")),
    fault("a.pth", STATE, copy("net.keras", "a.pth"), unreadable("a.pth")),
    fault("a.pth", STATE, torch_file(lambda t: {"a": t.zeros(3000)}), half("a.pth")),
    fault("a.pth", STATE, torch_file(lambda t: [1, 2])),
    fault("a.pth", STATE, torch_file(lambda t: t.zeros(3))),
    fault("a.pth", STATE, torch_file(lambda t: {"a": 5})),
    fault("a.pth", STATE, torch_file(lambda t: {"state_dict": {"a": t.zeros(3)}})),
    fault("a.pth", STATE, torch_file(lambda t: {"a": t.zeros(3).to_sparse()})),
    fault("a.pth", BACKBONE, torch_file(lambda t: {"layer1.a": t.zeros(3), 1: t.zeros(3)})),
    fault("a.safetensors", STATE, put("a.safetensors")),
    fault("a.safetensors", STATE, put("a.safetensors", NOISE)),
    fault("a.safetensors", STATE, put("a.safetensors", 7 * b"\xff" + b"\x7f{}")),
    fault("a.safetensors", STATE, safetensors(a=np.zeros(999)), half("a.safetensors")),
    fault("a.safetensors", BACKBONE, safetensors(**{"layer1.a": np.zeros(1)})),
    fault("a.safetensors", "KERAS_BACKEND: expected", safetensors(a=np.zeros(1)), bogus),
]


@pytest.mark.parametrize("row", ROWS)
def test_convert(row, room, capfd, caplog):
    check("convert", BASE, row, room, capfd, caplog)

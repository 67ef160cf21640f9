"""`export.py`, up to where Keras starts; `test_slow.py` has what happens after that."""

import pytest

from .table import (
    check,
    copy,
    fault,
    folder,
    gone,
    link,
    put,
    unreadable,
)

SPARED = ("data", "maps")
BASE = ["--model net.keras", "--format onnx"]
LONG = "x" * 300
FILE = "--model: expected a run folder or a .keras file, got "
RUN = "--model: expected a run folder (one with config.json), got "
FORMAT = "--format: expected savedmodel | onnx | openvino | tflite, got "
PROBABILITY = "--threshold: expected a probability from 0 to 1, got "
NAME = "--out: expected a name that ends in .onnx, got "
PLACE = "--out: expected a writable place with room on the disk, got "
NEW = "--out: expected a new path (or --overwrite), got "
FOLDER = "--out: expected a new path or a SavedModel to replace, got the folder "

ROWS = [
    fault("--model absent", "--model: expected a run folder or a model file, got absent, which"),
    fault("--model absent.keras", f"{FILE}absent.keras, which does not exist"),
    fault("--model ''", "--model: expected a value, got an empty one"),
    fault(f"--model {LONG}.keras", FILE),
    fault(f"--model {LONG}", "--model: expected a run folder"),
    fault("--model notes.txt", f"{RUN}notes.txt with none inside"),
    fault("--model net.onnx", RUN),
    fault("--model data", RUN),
    fault("--model a.keras", FILE, folder("a.keras")),
    fault("--model a.keras", FILE, link("a.keras", "a.keras")),
    fault("--model a.keras", FILE, link("a.keras", "nothing")),
    fault("--model run", f"{FILE}run/best.keras", gone("run/best.keras")),
    fault("--model run", "--model: expected a complete file", folder("run/best.keras")),
    fault(
        "--model run",
        "--model: expected runs that are all trained, got run without",
        folder("run/fold-1"),
    ),
    fault("--ensemble net.keras", "give either --model or --ensemble"),
    fault("--format bogus", f"{FORMAT}bogus"),
    fault("--format ONNX", f"{FORMAT}ONNX"),
    fault("--format ''", "--format: expected a value, got an empty one"),
    fault("--format onnx tflite", "unknown argument tflite"),
    fault("--precision int8", "--precision: expected float32 or float16, got int8"),
    fault("--precision float16 --format savedmodel --out a", "--precision: expected float32"),
    fault("--threshold nan", f"{PROBABILITY}nan"),
    fault("--threshold 1.1", f"{PROBABILITY}1.1"),
    fault("--threshold -0.1", f"{PROBABILITY}-0.1"),
    fault("--threshold x", "--threshold: invalid float value: 'x'"),
    fault("--all-map", "unknown argument --all-map; did you mean '--all-maps'?"),
    fault("--batch-size 3", "unknown argument --batch-size 3"),
    # Where the file goes.
    fault("--out ''", "--out: expected a value, got an empty one"),
    fault("--out .", f"{NAME}."),
    fault("--out a.xml", f"{NAME}a.xml"),
    fault("--out .onnx", f"{NAME}.onnx"),
    fault("--out a.ONNX", f"{NAME}a.ONNX"),
    fault("--out /dev/null", f"{NAME}/dev/null"),
    fault("--out a.onnx --out b.xml", f"{NAME}b.xml"),
    fault("--out notes.txt/a.onnx", f"{PLACE}notes.txt"),
    fault(f"--out {LONG}/a.onnx", PLACE),
    fault("--out a/a.onnx", PLACE, folder("a"), unreadable("a")),
    fault("--out net.onnx", f"{NEW}net.onnx, which exists"),
    fault("", f"{NEW}net.onnx, which exists"),
    fault("--model run", f"{NEW}run/best.onnx", put("run/best.onnx")),
    fault("--out a.onnx", NEW, link("a.onnx", "nothing")),
    fault("--out a.onnx", NEW, link("a.onnx", "a.onnx")),
    fault("--out a.onnx", NEW, folder("a.onnx")),
    fault("--out a.onnx --overwrite", f"{FOLDER}a.onnx", folder("a.onnx")),
    fault("--format openvino --out a.xml", f"{NEW}a.bin", put("a.bin")),
    fault("--format openvino --out a.xml", f"{NEW}a.bin", link("a.bin", "nothing")),
    fault("--format openvino --out a.xml --overwrite", f"{FOLDER}a.bin", folder("a.bin/mine")),
    fault("--format savedmodel", f"{NEW}net_savedmodel"),
    *[
        fault(f"--format savedmodel --overwrite --out {name}", f"{FOLDER}{name}")
        for name in ("run", "data", ".", "..", "/")
    ],
    fault("--format savedmodel --overwrite --out a", f"{FOLDER}a", link("a", "run")),
    fault("--model a b --out c.onnx", "unknown argument b", copy("net.keras", "a")),
]


@pytest.mark.parametrize("row", ROWS)
def test_export(row, room, capfd, caplog):
    check("export", BASE, row, room, capfd, caplog)

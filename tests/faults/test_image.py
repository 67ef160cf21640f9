"""`infer_image.py`."""

import html
import json
import math
import os
import re
import struct
import warnings
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from polypseg.files import csv_rows

from .table import (
    NOISE,
    check,
    copy,
    edit,
    environment,
    fault,
    folder,
    frames,
    gone,
    half,
    hard_link,
    image,
    link,
    move,
    no_room,
    painted,
    put,
    right,
    unreadable,
)

SPARED = ("data", "maps", "run")
BASE = ["--model net.onnx", "--image in", "--out out"]
LONG = "x" * 300
WIDE = np.uint16
NAMES = (
    *("大腸.png", "a b.png", " a .png", "a\nb.png", "a\x1b[31m\x7f.png", "-a.png", "[1].png"),
    *("*?.png", "%s{}.png", 'a,"b".png', "=1+1.png", "a.b.PNG"),
    *("x" * 247 + ".jpeg", "大" * 83 + ".png"),
)
ALL = "out out/settings.json out/.regions.jsonl out/regions.csv out/masks* out/overlays*"
NO_FILE = "--image: expected a file, a folder or a pattern"
WRITABLE = "--out: expected a writable place with room on the disk, got "
NEW = "--out: expected new files (or --overwrite), got "
OTHER = "--out: expected a path that is not an input, got "
SET = "--out: expected a folder outside the data set, got "
FILE = "--model: expected a run folder or a model file, got "
RUN = "--model: expected a run folder (one with config.json), got "
FORMAT = "--model: expected a run folder, a SavedModel folder, .keras"
ONNX = "--model: expected a complete .onnx file of export.py, got a.onnx"
XML = "--model: expected a complete .xml file of export.py, got "
TFLITE = "--model: expected a complete .tflite file of export.py, got a.tflite"
EXPORTED = "--model: expected a file written by export.py, got net.xml"
WRITTEN = "--model: expected a file written by export.py, got "
PROBABILITY = "expected a probability from 0 to 1, got "
PIXELS = "input_size: expected a number of pixels, got "
LEVELS = "window: expected two levels from 0 to 65535, the lower first, got "
DEEP = json.loads(50 * "[" + 50 * "]")


def described(name, key, value):
    """Change a value of the description in an exported file; the complete one if `key` is None."""

    def change(text):
        return json.dumps(json.loads(text) | {key: value} if key else value)

    def prepare(room):
        path = room / name
        if path.suffix == ".xml":
            text = path.read_text()
            (old,) = re.findall(r'<polypseg value="([^"]*)"', text)
            path.write_text(text.replace(old, html.escape(change(html.unescape(old)))))
        elif path.suffix == ".tflite":
            with zipfile.ZipFile(path, "a") as attached, warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the name is there already; the last one counts
                attached.writestr("polypseg.json", change(attached.read("polypseg.json")))
        else:
            onnx = pytest.importorskip("onnx")
            model = onnx.load(path)
            (old,) = [entry for entry in model.metadata_props if entry.key == "polypseg"]
            old.value = change(old.value) if key else ""
            onnx.save(model, path)

    return prepare


def sizes(room):
    """(width, height) of the masks in out/, by their path."""
    root = room / "out" / "masks"
    return {str(p.relative_to(root)): Image.open(p).size for p in root.rglob("*.png")}


def three(room):
    return len(sizes(room)) == 3


def listed(room):
    return [row["file"] for row in csv_rows(room / "out" / "regions.csv")]


def lists(*names):
    return lambda room: listed(room) == [*names]


def named(name):
    """in/a.png under another name is segmented, and its mask has that name."""
    mask = name[: name.rindex(".")] + ".png"
    return lambda room: sizes(room)[mask] == (71, 53) and f"in/{name}" in listed(room)


def all_white(room):
    return Image.open(room / "out" / "masks" / "a.png").getextrema() == (255, 255)


def of_one_name(room):
    """Images that differ in their sizes, and whose masks might take each other's name."""
    for index, name in enumerate(("a.jpg", "a_jpg.png", "a_png.bmp", "A.tif", "a_png_2.png")):
        image(f"in/{name}", (10 + index, 5))(room)


def own_each(room):
    return {(10, 5), (11, 5), (12, 5), (13, 5), (14, 5), (71, 53)} <= {*sizes(room).values()}


def bomb(room):
    """A PNG of 60,000 x 60,000 pixels in a few bytes."""
    image("a.png")(room)
    data = (room / "a.png").read_bytes()
    head = b"IHDR" + struct.pack(">II", 60_000, 60_000) + data[24:29]
    changed = data[:12] + head + struct.pack(">I", zlib.crc32(head)) + data[33:]
    (room / "a.png").write_bytes(changed)


def damaged_text(room):
    """A PNG with a text whose checksum is wrong."""
    data = (room / "in" / "a.png").read_bytes()
    (room / "in" / "a.png").write_bytes(data[:33] + b"\0\0\0\1tEXta1234" + data[33:])


def without_size(text):
    return text.replace("input_size", "size")


def of_size_0(text):
    return text.replace("input_size&quot;: 32", "input_size&quot;: 0")


ROWS = [
    # The images' paths.
    fault("--image a.png", f"{NO_FILE} ... got a.png"),
    fault("--image in/a.png a.png", f"{NO_FILE} ... got a.png"),
    fault("--image in --image a.png", f"{NO_FILE} ... got a.png"),
    fault("--image ''", "--image: expected a value, got an empty one"),
    fault("--image ' '", NO_FILE),
    fault("--image", "--image: expected at least one argument"),
    fault("--image '*.gif'", f"{NO_FILE} ... got *.gif"),
    fault("--image '[1].png'", f"{NO_FILE} ... got [1].png"),
    fault("--image 'a[1'", f"{NO_FILE} ... got a[1"),
    fault("--image run", "--image: expected a folder with images ... got run"),
    fault(
        "--image .", "--image: expected a folder ... got . with folders in it; ...'./**/*' reads"
    ),
    fault("--image /dev/null", f"{NO_FILE} ... got /dev/null"),
    fault("--image /dev/zero", f"{NO_FILE} ... got /dev/zero"),
    fault("--image -a.png", "--image: expected at least one argument"),
    fault(f"--image {LONG}.png", NO_FILE),
    fault("--image 'a\nb\x1b[31m大.png'", rf"{NO_FILE} ... got a\nb\x1b[31m大.png"),
    fault("--image a.png", "--image: expected a folder with images", folder("a.png")),
    fault("--image a.png", NO_FILE, link("a.png", "nothing")),
    fault("--image a.png", NO_FILE, link("a.png", "a.png")),
    fault("--image a.png", NO_FILE, lambda room: os.mkfifo(room / "a.png")),
    fault("--image in/a.png", "--image: in/a.png: expected a readable", unreadable("in/a.png")),
    fault("--image in", "--image: expected a folder with", unreadable("in")),
    # What is in the images.
    fault("--image notes.txt", "--image: notes.txt: expected a JPEG, PNG, TIFF, BMP, WebP"),
    fault("--image net.onnx", "--image: net.onnx: expected a JPEG, PNG"),
    fault("--image a.png", "--image: a.png: expected an image, got an empty file", put("a.png")),
    fault("--image a.png", "--image: a.png: expected a JPEG", put("a.png", NOISE)),
    fault("--image a.png", "--image: a.png: expected", put("a.png", b"\x89PNG\r\n\x1a\n" + NOISE)),
    fault("--image a.jpg", "--image: a.jpg: expected", put("a.jpg", b"\xff\xd8\xff\xe0" + NOISE)),
    fault("--image a.bmp", "--image: a.bmp: expected a complete", put("a.bmp", b"BM" + NOISE)),
    fault("--image a.tif", "--image: a.tif: ", put("a.tif", b"II*\0" + NOISE)),
    fault("--image a.png", "--image: a.png: expected a complete", half("in/a.png", "a.png")),
    fault("--image a.png", "--image: a.png: expected a complete", half("in/a.png", "a.png", 0.97)),
    fault("--image a.jpg", "--image: a.jpg: expected a complete", half("in/b.jpg", "a.jpg")),
    fault("--image a.jpg", "--image: a.jpg: expected", half("in/b.jpg", "a.jpg", 0.02)),
    fault("--image a.webp", "--image: a.webp: expected a complete", half("in/c.webp", "a.webp")),
    fault("--image a.ico", "--image: a.ico: expected a JPEG", image("a.ico")),
    fault("--image a.png", "--image: a.png: expected a JPEG", image("a.png", format="ICO")),
    fault("--image a.png", "--image: a.png: expected a JPEG", image("a.png", format="PDF")),
    fault("--image a.png", "--image: a.png: expected one image, got 2", frames("a.png")),
    fault("--image a.gif", "--image: a.gif: expected one image, got 2", frames("a.gif")),
    fault("--image a.png", "--image: a.png: expected 16-bit", painted("a.png", 4095, kind=WIDE)),
    fault(
        "--image a.tif", "--image: a.tif: expected 16-bit", painted("a.tif", 9, 16000, kind=WIDE)
    ),
    fault("--window 9", "--window: expected LOW HIGH from 0 to 65535, the lower first, got 9"),
    fault("--window a b", "--window: invalid int value: 'a'"),
    fault("--image a.tif", "--image: a.tif: expected one image", frames("a.tif")),
    fault("--image a.tif", "--image: a.tif: expected a flat TIFF", image("a.tif", mode="F")),
    fault("--image a.png", "--image: a.png: expected at most 200 megapixels, got 60000 x", bomb),
    fault(
        "--image a.png --max-megapixels 1",
        "--image: a.png: expected at most 1 megapixels, got 1001 x 1000 pixels; --max-megapixels",
        image("a.png", (1001, 1000), "1"),
    ),
    *[
        fault(f"--max-megapixels {value}", "--max-megapixels: expected 1 to 700, got")
        for value in (0, -1, 701)
    ],
    fault("--max-megapixels nan", "--max-megapixels: invalid int value: 'nan'"),
    fault(f"--max-megapixels {10**30}", "--max-megapixels: expected a number below"),
    right("--image a.png --max-megapixels 1", lists("a.png"), image("a.png", (1000, 1000), "1")),
    right("--image in/a.png", lists("in/a.png"), damaged_text),
    right("--image in/b.jpg", lists("in/b.jpg"), image("in/b.jpg", exif=b"Exif\0\0II*\0\xff")),
    fault("", "--image: in/bad.png: expected an image", put("in/bad.png"), new=ALL),
    right("--image a.png", lists("a.png"), image("a.png", format="TIFF")),
    right("--image a.png --panel", lists("a.png"), image("a.png", (1, 1))),
    right("--image a.png --panel", lists("a.png"), image("a.png", (1, 2000))),
    # Numbers.
    fault("--batch-size x", "--batch-size: invalid int value: 'x'"),
    fault("--batch-size nan", "--batch-size: invalid int value"),
    fault("--batch-size 1.5", "--batch-size: invalid int value"),
    fault("--batch-size ''", "--batch-size: invalid int value"),
    fault("--batch-size 0", "--batch-size: expected 1 or more, got 0"),
    fault("--batch-size -1", "--batch-size: expected 1 or more, got -1"),
    fault(f"--batch-size {10**20}", "--batch-size: expected a number below 2147483648"),
    fault(f"--batch-size {10**4000}0000000", "--batch-size: "),
    fault("--threshold x", "--threshold: invalid float value: 'x'"),
    fault("--threshold nan", "--threshold: expected a probability from 0 to 1, got nan"),
    fault("--threshold inf", "--threshold: expected a probability from 0 to 1, got inf"),
    fault("--threshold -inf", "--threshold: expected"),
    fault("--threshold=-inf", "--threshold: expected a probability from 0 to 1, got -inf"),
    fault("--threshold -0.1", "--threshold: expected a probability from 0 to 1, got -0.1"),
    fault("--threshold 1.0000001", "--threshold: expected a probability from 0 to 1"),
    fault("--threshold 1e400", "--threshold: expected a probability from 0 to 1, got inf"),
    fault("--threshold ''", "--threshold: invalid float value: ''"),
    fault("--threshold 0,5", "--threshold: invalid float value"),
    fault("--threshold", "--threshold: expected one argument"),
    fault("--input-size 0", "--input-size: expected 32, the size that net.onnx was exported with"),
    fault("--input-size -32", "--input-size: expected 32"),
    fault("--input-size 64", "--input-size: expected 32"),
    fault("--input-size 1e3", "--input-size: invalid int value"),
    fault("--input-size 4294967296", "--input-size: expected a number below"),
    right("--threshold 1 --threshold 0", all_white),
    # The network.
    fault("--model absent", f"{FILE}absent, which does not exist"),
    fault("--model ''", "--model: expected a value, got an empty one"),
    fault(f"--model {LONG}", FILE),
    fault(f"--model {LONG}.onnx", FILE),
    fault("--model 'net.onn?'", FILE),
    fault("--model net.onnx/net", FILE),
    fault("--model notes.txt", FORMAT),
    fault("--model video.mp4", FORMAT),
    fault("--model /dev/null", FORMAT),
    fault("--model data", f"{RUN}data with none inside"),
    fault("--model two", f"{RUN}two with 2", put("two/a/config.json"), put("two/b/config.json")),
    fault("--model a", "--model: expected a JSON object", put("a/config.json")),
    fault(
        "--model run",
        "--model: expected runs that are all trained, got run without",
        folder("run/fold-1"),
    ),
    fault("--ensemble run run", "give either --model or --ensemble"),
    fault("--model a.onnx", f"{RUN}a.onnx with none", folder("a.onnx")),
    fault("--model a.onnx", FILE, link("a.onnx", "a.onnx")),
    fault("--model a.onnx", ONNX, put("a.onnx")),
    fault("--model a.onnx", ONNX, put("a.onnx", NOISE)),
    fault("--model a.onnx", ONNX, half("net.onnx", "a.onnx")),
    fault("--model a.onnx", ONNX, copy("net.tflite", "a.onnx")),
    fault("--model a.onnx", ONNX, copy("net.onnx", "a.onnx"), unreadable("a.onnx")),
    fault("--model net.xml", XML, gone("net.bin")),
    fault("--model net.xml", XML, put("net.bin")),
    fault("--model net.xml", XML, half("net.bin")),
    fault("--model net.xml", XML, folder("net.bin")),
    fault("--model net.xml", XML, half("net.xml")),
    fault("--model a.xml", XML, put("a.xml", "<net/>")),
    fault("--model a.xml", XML, put("a.xml", NOISE)),
    fault("--model net.xml", EXPORTED, edit("net.xml", without_size)),
    fault("--model net.xml", EXPORTED, edit("net.xml", of_size_0)),
    *[
        fault(f"--model {name}", f"{WRITTEN}{name} ({says}", described(name, key, value))
        for name, key, value, says in [
            ("net.onnx", "threshold", math.nan, f"threshold: {PROBABILITY}NaN"),
            ("net.onnx", "threshold", math.inf, f"threshold: {PROBABILITY}Infinity"),
            ("net.onnx", "threshold", 1.5, f"threshold: {PROBABILITY}1.5"),
            ("net.onnx", "threshold", -1, f"threshold: {PROBABILITY}-1"),
            ("net.onnx", "threshold", "0.5", f'threshold: {PROBABILITY}"0.5"'),
            ("net.onnx", "threshold", None, f"threshold: {PROBABILITY}null"),
            ("net.onnx", "threshold", True, f"threshold: {PROBABILITY}true"),
            ("net.onnx", "input_size", math.inf, f"{PIXELS}Infinity"),
            ("net.onnx", "input_size", "32", f'{PIXELS}"32"'),
            ("net.onnx", "input_size", 32.5, f"{PIXELS}32.5"),
            ("net.onnx", "input_size", 10**400, f"{PIXELS}1000"),
            ("net.onnx", "maps", "answer", 'maps: expected a list of names, got "answer"'),
            ("net.onnx", "maps", [1], "maps: expected a list of names, got [1]"),
            ("net.onnx", "window", [1], f"{LEVELS}[1]"),
            ("net.onnx", "window", [9, 3], f"{LEVELS}[9, 3]"),
            ("net.onnx", "window", {"a": 1}, f'{LEVELS}{{"a": 1}}'),
            ("net.onnx", "window", [0, math.nan], f"{LEVELS}[0, NaN]"),
            ("net.xml", "threshold", math.nan, f"threshold: {PROBABILITY}NaN"),
            ("net.xml", "input_size", math.inf, f"{PIXELS}Infinity"),
            ("net.tflite", "threshold", math.nan, f"threshold: {PROBABILITY}NaN"),
            ("net.tflite", "window", [1], f"{LEVELS}[1]"),
        ]
    ],
    *[
        fault(f"--model {name}", f"{WRITTEN}{name}, whose {says}", described(name, key, value))
        for name in ("net.onnx", "net.xml", "net.tflite")
        for key, value, says in [
            ("input_size", 64, "description says 64 x 64 x 3 where the network has 32 x 32 x"),
            ("maps", ["a", "b"], "description says 32 x 32 x 2 where the network has 32 x 32 x 1"),
        ]
    ],
    fault("--model net.onnx", f"{WRITTEN}net.onnx without", described("net.onnx", None, None)),
    fault("--model net.tflite", f"{WRITTEN}net.tflite (", described("net.tflite", None, 5)),
    fault("--model net.tflite", f"{WRITTEN}net.tflite (", described("net.tflite", None, DEEP)),
    fault("--model a.tflite", TFLITE, put("a.tflite")),
    fault("--model a.tflite", TFLITE, half("net.tflite", "a.tflite")),
    fault("--model a.tflite", TFLITE, copy("net.onnx", "a.tflite")),
    fault("--model net.tflite --image a.png", "--image: a.png: expected an image", put("a.png")),
    fault("--model net.keras", "KERAS_BACKEND: expected", environment(KERAS_BACKEND="bogus")),
    fault("--model net.keras", "KERAS_BACKEND: expected", environment(KERAS_BACKEND="")),
    fault("--model net_savedmodel", "KERAS_BACKEND: ", environment(KERAS_BACKEND="bogus")),
    fault("--model 'a\udcff.onnx'", "--model: expected", move("net.onnx", "a\udcff.onnx")),
    right("--model '大[1] %s.onnx'", three, move("net.onnx", "大[1] %s.onnx")),
    right("--model net.onnx/", three),
    right("", three, environment(KERAS_BACKEND="bogus")),
    right("--model net.tflite", three),
    # Where the results go.
    fault("--out ''", "--out: expected a value, got an empty one"),
    fault("--out notes.txt", "--out: expected a folder, got the file notes.txt"),
    fault("--out notes.txt/a", WRITABLE),
    fault("--out /dev/null", "--out: expected a folder, got the file /dev/null"),
    fault("--out /proc/a", WRITABLE),
    fault(f"--out {LONG}", "--out: expected"),
    fault("--out a", WRITABLE, link("a", "nothing")),
    fault("--out a", WRITABLE, link("a", "a")),
    fault("--out a", f"{WRITABLE}a/masks", put("a/masks")),
    fault("--out a", f"{WRITABLE}a/overlays", put("a/overlays"), new="a/masks*"),
    fault("--out a --overwrite", f"{WRITABLE}a (regions.csv is a folder)", folder("a/regions.csv")),
    fault("--out a", f"{NEW}a/masks/a.png", put("a/masks/a.png")),
    fault("--out a", f"{NEW}a/masks/a.png", folder("a/masks/a.png")),
    fault("--out a", f"{NEW}a/regions.csv", put("a/regions.csv")),
    fault("--out a", NEW, link("a/masks/a.png", "nothing")),
    fault("--out data", SET),
    fault("--out data --overwrite", SET),
    fault("--out a --overwrite", SET, link("a", "data")),
    fault("--out data/b/.. --overwrite", SET, folder("data/b")),
    fault("--image a/masks --out a --overwrite", OTHER, folder("a"), move("in", "a/masks")),
    fault("--out a --overwrite", OTHER, hard_link("a/masks/a.png", "in/a.png")),
    fault("--out HERE/a --overwrite", OTHER, link("a/masks/a.png", "../../in/a.png")),
    fault("--out a/b", "--out: expected", folder("a"), unreadable("a")),
    fault("", f"{WRITABLE}out (No sp", no_room(os, "replace", "*.csv"), new=ALL),
    fault("", f"{WRITABLE}out (No sp", no_room(Path, "write_text")),
    fault("", f"{WRITABLE}out/masks/b.png", no_room(os, "replace", "b.png"), new=ALL),
    fault("", f"{WRITABLE}out/", no_room(Path, "write_bytes"), new=ALL),
    fault("", f"{WRITABLE}out/masks", no_room(Path, "mkdir", "masks"), new="out out/settings.json"),
    fault("", f"{WRITABLE}out (No sp", no_room(Path, "mkdir", "out")),
    fault("--panel", f"{WRITABLE}out/panels", no_room(Path, "mkdir", "panels"), new=ALL),
    # Right answers where a name is unusual, or might be another's.
    *[right("", named(name), move("in/a.png", f"in/{name}")) for name in NAMES],
    right("", named("a\udcff.png"), move("in/a.png", "in/a\udcff.png")),
    right("", own_each, of_one_name),
    right("--image '[1].png'", lists("[1].png"), move("in/a.png", "[1].png")),
    right("--image=-a.png", lists("-a.png"), move("in/a.png", "-a.png")),
    right("--image in/a.png --image in/b.jpg", lists("in/a.png", "in/b.jpg")),
    right("--image in in/a.png HERE/in/a.png in/../in/b.jpg", three),
    right("--image 'a/**/*.png'", lists("a/1.png"), image("a/1.png"), link("a/b", ".")),
    # Words that are none.
    fault("--thresold 1", "unknown argument --thresold 1; did you mean '--threshold'?"),
    fault("--overwite", "unknown argument --overwite; did you mean '--overwrite'?"),
    fault("--panel=yes", "--panel: ignored explicit argument 'yes'"),
    fault("--panel no", "unknown argument no"),
    fault("a.png", "unknown argument a.png"),
    fault("--", "unknown argument --"),
]


@pytest.mark.parametrize("row", ROWS)
def test_image(row, room, capfd, caplog):
    check("image", BASE, row, room, capfd, caplog)

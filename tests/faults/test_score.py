"""`test.py`: saved maps, and networks."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from .table import (
    NOISE,
    array,
    check,
    coloured,
    copy,
    environment,
    fault,
    folder,
    frames,
    gone,
    half,
    image,
    link,
    no_room,
    painted,
    put,
    right,
    unreadable,
)

MAPS = ["--predictions maps", "--masks data/masks", "--out out"]
NETWORK = ["--model net.onnx", "--data-path data", "--subset all", "--out out"]
LONG = "x" * 300
MAP, NPY = "maps/synthetic_0003.png", "maps/synthetic_0003.npy"
TIF = "maps/synthetic_0003.tif"
MASK, IMAGE = "data/masks/synthetic_0003.png", "data/images/synthetic_0003.png"
TEST = "run/split/test.txt"
WRITABLE = "--out: expected a writable place with room on the disk, got "
WRITTEN = "--model: expected a file of the run as it was written, got run/split/test.txt"
OPTIONS = "--model: expected a JSON object with option names as keys, got run/config.json"
FILES = "out out/report.html out/metrics.json out/per_image.csv out/table.md"
MORE = f"{FILES} out/table.tex out/predictions"
EITHER = "give either --model, or --predictions with --masks"
PROBABILITY = "--threshold: expected a probability from 0 to 1, got "
NUMBERS = f"--predictions: {NPY}: expected a NumPy array of numbers"
RANGE = f"--predictions: {NPY}: expected numbers in [0, 1], got "
SHAPE = f"--predictions: {NPY}: expected a map (H, W) of floats, uint8 or bool, got "
STEMS = "--stems: expected a text file with one stem per line, got "
LIST_X = put("a", "images/x.png masks/x.png")
LIST_OTHER = put("a", "synthetic_0003.png synthetic_0004.png")
PAIRS = "--data-path: expected images and masks with equal stems"


def scored(count):
    """So many images are in the mean, as the files say."""

    def holds(room):
        rows = (room / "out" / "per_image.csv").read_text(encoding="utf-8").splitlines()
        return len(rows) == count + 1 and "NaN" not in (room / "out/metrics.json").read_text()

    return holds


def models(*names):
    def holds(room):
        results = json.loads((room / "out" / "metrics.json").read_text())["results"]
        return [result["model"] for result in results] == [*names]

    return holds


def zipped(room):
    """Several arrays, in a file that says it is one."""
    np.savez(room / "a.npz", a=np.zeros((32, 36)), b=1)
    os.replace(room / "a.npz", room / NPY)


def huge(room):
    """A `.npy` file that claims to hold exabytes."""
    head = b"{'descr': '<f8', 'fortran_order': False, 'shape': (999999999, 999999999)}"
    (room / NPY).write_bytes(b"\x93NUMPY\x01\0v\0" + head.ljust(117) + b"\n")


def masks_in_out(room):
    """The masks lie where the predictions are to be written, and the data set names them by a
    link."""
    os.renames(room / "data" / "masks", room / "out" / "predictions")
    (room / "data" / "masks").symlink_to("../out/predictions")


def renamed(change):
    """Every file of the data set and every map, with another stem."""

    def prepare(room):
        for path in [*(room / "data").rglob("*.png"), *(room / "maps").iterdir()]:
            path.rename(path.with_name(change(path.stem) + path.suffix))

    return prepare


def without_masks(room):
    shutil.rmtree(room / "data" / "masks")
    (room / "data" / "masks").mkdir()


OF_MAPS = [
    # Options that need or exclude each other.
    fault("--model net.onnx", EITHER),
    fault("--tta", "--tta: requires --model"),
    fault("--subset test", "--subset: requires --model"),
    fault("--input-size 32", "--input-size: requires --model"),
    fault("--data-path data", "--data-path: requires --model"),
    fault("--save-predictions", "--save-predictions: requires --model"),
    fault("--names a b", "--names: expected a name for each of 1 --predictions, got a b"),
    fault("--names", "--names: expected at least one argument"),
    fault("--names ''", "--names: expected a value, got an empty one"),
    fault("--predictions maps maps maps --masks a b", "--masks: expected one folder, or one for"),
    fault("--threshold nan", PROBABILITY),
    fault("--threshold -1", PROBABILITY),
    fault("--threshold 127", PROBABILITY),
    fault("--threshold ''", "--threshold: invalid float value"),
    fault("--empty none", "--empty: expected skip, one or zero, got none"),
    fault("--empty ''", "--empty: expected a value, got an empty one"),
    fault("--thresold 1", "unknown argument --thresold 1; did you mean '--threshold'?"),
    fault("maps", "unknown argument maps"),
    # Folders.
    fault("--predictions absent", "--predictions: expected a folder, got nothing at absent"),
    fault("--predictions ''", "--predictions: expected a value, got an empty one"),
    fault(f"--predictions {LONG}", "--predictions: expected a folder, got nothing at xxx"),
    fault("--predictions notes.txt", "--predictions: expected a folder, got a file at notes.txt"),
    fault("--predictions run", "--predictions: expected files ending in .jpg, ... none in run"),
    fault("--predictions in", "--predictions: expected a map for each of the 16 masks"),
    fault("--predictions a", "--predictions: expected a folder, got nothing at a", link("a", "a")),
    fault("--predictions maps", "--predictions: expected a readable folder", unreadable("maps")),
    fault("--masks absent", "--masks: expected a folder, got nothing at absent"),
    fault("--masks video.mp4", "--masks: expected a folder, got a file at video.mp4"),
    fault("--masks data", "--masks: expected files ending in .jpg, ... none in data"),
    fault("--masks data/images", "--masks: data/images/synthetic_0000...: expected grey levels"),
    *[
        fault("", f"--masks: {MASK}: expected a black and white", painted(MASK, *levels))
        for levels in ((1, 255), (1, 2), (128, 255), (33,))
    ],
    *[
        fault("", f"--masks: {MASK}: expected grey levels, got the colours ... --mask-color", mask)
        for mask in (painted(MASK, 3, 9, mode="P"), coloured(MASK, (0, 255, 0), (255, 0, 0)))
    ],
    fault("--label 150", f"--masks: {MASK}: expected grey levels", coloured(MASK, (0, 255, 0))),
    right("--mask-color 0 255 0", scored(16), coloured(MASK, (0, 255, 0), (255, 0, 0))),
    fault("", f"--predictions: {MAP}: expected grey levels", coloured(MAP, (0, 0, 255))),
    fault("", f"--masks: {MASK}: expected a black", painted(MASK, 4095, kind=np.uint16)),
    right("--label 255", scored(16), painted(MASK, 1, 255)),
    right("--label 255 --ignore 1", scored(16), painted(MASK, 1, 255)),
    right("--ignore 100 2", scored(16), painted(MASK, 2, 255, 100)),
    fault("--ignore 255", "--masks: ...: expected pixels that", image(MASK, (36, 32), "L", 255)),
    fault("--ignore -1", "--ignore: expected levels from 0 to 65535, got -1"),
    fault("--mask-color 1 2 3 4", "--mask-color: expected three numbers from 0 to 255"),
    fault("--mask-color 1 2 3 --ignore 4", "--ignore: expected either levels, or colours"),
    fault("--window 0 9", "--window: requires --model"),
    fault("--label 7 9", "--label: expected masks with 7 or 9, got 16 without"),
    fault("--mask-color 9 9 200", "--mask-color: expected masks with (9, 9, 200), got 16"),
    fault("--label 70000", "--label: expected levels from 0 to 65535, got 70000"),
    fault("--label 1 -1", "--label: expected levels from 0 to 65535, got 1 -1"),
    fault("--label a", "--label: invalid int value: 'a'"),
    # Maps.
    fault("", "--predictions: expected a map for each ... missing: synthetic_0003", gone(MAP)),
    fault("", "--predictions: expected one file per stem", copy(MAP, "maps/synthetic_0003.jpg")),
    fault("", f"--predictions: {MAP}: expected an image, got an empty file", put(MAP)),
    fault("", f"--predictions: {MAP}: expected a JPEG", put(MAP, NOISE)),
    fault("", f"--predictions: {MAP}: expected a complete image", half(MAP)),
    fault("", f"--predictions: {MAP}: expected one image, got 2", frames(MAP)),
    fault("", f"--predictions: {MAP}: expected a readable file", folder(MAP)),
    fault("", f"--predictions: {MAP}: expected a readable file", link(MAP, "nothing")),
    fault("", f"--predictions: {MAP}: expected a readable file", link(MAP, "synthetic_0003.png")),
    fault("", f"--predictions: {MAP}: expected a readable file", unreadable(MAP)),
    fault("", f"--predictions: {MAP}: expected the size of its mask", image(MAP, mode="L")),
    fault("", NUMBERS, gone(MAP), put(NPY)),
    fault("", NUMBERS, gone(MAP), put(NPY, NOISE)),
    fault("", NUMBERS, gone(MAP), zipped),
    fault("", NUMBERS, gone(MAP), huge),
    fault("", NUMBERS, gone(MAP), array(NPY, np.ones((32, 36))), half(NPY)),
    fault("", NUMBERS, gone(MAP), array(NPY, np.full((32, 36), None))),
    fault("", f"--predictions: {NPY}: expected a readable file", gone(MAP), folder(NPY)),
    fault("", f"{RANGE}nan in 1152 pixel(s)", gone(MAP), array(NPY, np.full((32, 36), np.nan))),
    fault("", f"{RANGE}inf to inf", gone(MAP), array(NPY, np.full((32, 36), np.inf))),
    fault("", f"{RANGE}3 to 3", gone(MAP), array(NPY, np.full((32, 36), 3.0))),
    fault("", f"{SHAPE}(0, 36)", gone(MAP), array(NPY, np.ones((0, 36)))),
    fault("", f"{SHAPE}(32, 36) int64", gone(MAP), array(NPY, np.ones((32, 36), "int64"))),
    fault("", f"{SHAPE}(32, 36) complex64", gone(MAP), array(NPY, np.ones((32, 36), "complex64"))),
    fault("", f"{SHAPE}(3, 32, 36)", gone(MAP), array(NPY, np.ones((3, 32, 36)))),
    fault("", f"--predictions: {TIF}: ", put(TIF, b"II*\0" + NOISE), gone(MAP)),
    # Masks.
    fault("", f"--masks: {MASK}: expected an image, got an empty file", put(MASK)),
    fault("", f"--masks: {MASK}: expected a JPEG", put(MASK, NOISE)),
    fault("", f"--masks: {MASK}: expected a complete image", half(MASK)),
    fault("", f"--masks: {MASK}: expected a readable file", folder(MASK)),
    fault("", "--masks: expected one file per stem", copy(MASK, "data/masks/synthetic_0003.bmp")),
    fault(
        "--max-megapixels 1", f"--predictions: {MAP}: ... at most", image(MAP, (1001, 1000), "1")
    ),
    fault("--max-megapixels 0", "--max-megapixels: expected 1 to 700, got 0"),
    # Lists of stems.
    fault("--stems absent", f"{STEMS}absent"),
    fault("--stems ''", "--stems: expected a value, got an empty one"),
    fault("--stems in", f"{STEMS}in"),
    fault("--stems video.mp4", f"{STEMS}video.mp4"),
    fault("--stems a", f"{STEMS}the empty file a", put("a")),
    fault("--stems a", f"{STEMS}the empty file a", put("a", "\n \n\t\n")),
    fault("--stems a", f"{STEMS}a", put("a", "synthetic_0003".encode("utf-16"))),
    fault(
        "--stems notes.txt", "--stems: notes.txt: expected stems of masks in data/masks, got notes"
    ),
    fault("--stems a", "--stems: a: expected stems of masks ... got images/x.png masks/x", LIST_X),
    fault("--stems a", "--stems: a: expected the mask of synthetic_0003 behind", LIST_OTHER),
    right("--stems a", scored(1), put("a", "images/synthetic_0003.png,masks/synthetic_0003.png")),
    fault("--stems a a", "--stems: expected one file, or one for each of 1"),
    right("--stems a", scored(2), put("a", "\ufeffsynthetic_0003\r\nsynthetic_0004\r\n")),
    # Where the tables go.
    fault("--out ''", "--out: expected a value, got an empty one"),
    fault("--out notes.txt", f"{WRITABLE}notes.txt"),
    fault("--out notes.txt/a", f"{WRITABLE}notes.txt/a"),
    fault("--out /dev/null", f"{WRITABLE}/dev/null"),
    fault("--out /proc/a", "--out: expected a writable"),
    fault(f"--out {LONG}", "--out: expected"),
    fault("--out a", f"{WRITABLE}a", link("a", "nothing")),
    fault("--out a", f"{WRITABLE}a", link("a", "a")),
    fault("--out a/b", "--out: expected", folder("a"), unreadable("a")),
    fault("", WRITABLE, folder("out/report.html")),
    fault("", WRITABLE, folder("out/table.tex"), new=FILES),
    fault("", WRITABLE, no_room(Path, "mkdir", "out")),
    fault("", WRITABLE, no_room(Path, "write_bytes"), new=FILES),
    fault("", WRITABLE, no_room(os, "replace", "metrics.json"), new=FILES),
    # Right answers.
    right("--predictions maps --predictions maps --names a b", models("a", "b")),
    right("--names '<script>&|$\n大'", scored(16)),
    right("--names '\udcff'", scored(16)),
    right("", scored(16), renamed(lambda stem: f" {stem} 大\t腸.x")),
    right("", scored(16), environment(KERAS_BACKEND="bogus")),
    right("", scored(16), image(MASK, (36, 32), "L"), image(MAP, (36, 32), "L")),
    right("", scored(16), image(MASK, (1, 1), "L", 255), image(MAP, (1, 1), "L", 9)),
    fault("", "--predictions: expected names in UTF-8", renamed(lambda stem: f"{stem}\udcff")),
    fault("", "--predictions: expected names in UTF-8", renamed(lambda stem: f"{stem}\n")),
]
OF_NETWORKS = [
    fault("--predictions maps", EITHER),
    fault("--masks data/masks", "--masks: requires --predictions"),
    fault("--subset bogus", "--subset: expected train, val, test, all, got bogus"),
    fault("--subset test", "--subset: expected all, since a model file has no split"),
    fault("--stems a", "--stems: expected either --stems or --subset, got both"),
    fault("--names a b", "--names: expected a name for each of 1 models, got a b"),
    fault("--input-size 64", "--input-size: expected 32, the size that net.onnx was exported with"),
    fault("--input-size 0", "--input-size: expected 32"),
    fault(f"--input-size {10**20}", "--input-size: expected a number below 2147483648"),
    fault("--tta=yes", "--tta: ignored explicit argument 'yes'"),
    # Networks.
    fault("--model absent", "--model: expected a run folder or a model file, got absent"),
    fault("--model net.onnx absent", "--model: expected a run folder or a model file, got absent"),
    fault("--model ''", "--model: expected a value, got an empty one"),
    fault(f"--model {LONG}", "--model: expected a run folder"),
    fault("--model notes.txt", "--model: expected a run folder, a SavedModel folder, .keras"),
    fault("--model data", "--model: expected a run folder (one with config.json), got data with"),
    fault("--model a.onnx", "--model: expected a complete .onnx file", half("net.onnx", "a.onnx")),
    fault("--model net.keras", "KERAS_BACKEND: expected", environment(KERAS_BACKEND="bogus")),
    fault("--model run", OPTIONS, put("run/config.json")),
    fault("--model run", OPTIONS, put("run/config.json", "[]")),
    fault("--model run", "--model: unknown key 'a' in run", put("run/config.json", '{"a": 1}')),
    fault("--model run", "--model: expected a run folder", folder("run/config.json")),
    fault("--model run --subset test", WRITTEN, gone(TEST)),
    fault("--model run --subset test", WRITTEN, put(TEST, NOISE)),
    fault("--model run --subset test", WRITTEN, folder(TEST)),
    fault("--model run --subset test", WRITTEN, put(TEST)),
    fault("--model run --subset test", WRITTEN, put(TEST, "a\n")),
    # Data.
    fault("--data-path absent", "--data-path: expected a folder, got nothing at absent"),
    fault("--data-path data absent", "--data-path: expected a folder, got nothing at absent"),
    fault("--data-path ''", "--data-path: expected a value, got an empty one"),
    fault(f"--data-path {LONG}", "--data-path: expected a folder, got nothing at xxx"),
    fault("--data-path notes.txt", "--data-path: expected a folder, got a file at notes.txt"),
    fault("--data-path in", "--data-path: expected the folders images and masks"),
    fault("", "--data-path: expected the folders images and masks", gone("data/masks")),
    fault("", PAIRS, without_masks),
    fault("", "--data-path: expected one mask per image", copy(MASK, MASK.replace(".", " (2)."))),
    fault("", "--data-path: expected one file per stem", copy(IMAGE, IMAGE.replace("png", "tif"))),
    fault("", f"--data-path: {IMAGE}: expected an image, got an empty file", put(IMAGE)),
    fault("", f"--data-path: {IMAGE}: expected a JPEG", put(IMAGE, NOISE)),
    fault("", f"--data-path: {IMAGE}: expected a complete image", half(IMAGE)),
    fault("", f"--data-path: {IMAGE}: expected a readable file", folder(IMAGE)),
    fault("", f"--data-path: {IMAGE}: expected a readable file", link(IMAGE, "nothing")),
    fault("", f"--data-path: {MASK}: expected a JPEG", put(MASK, NOISE)),
    fault("", "--data-path: expected a readable folder", unreadable("data/masks")),
    fault("--max-megapixels 1", "--data-path: ... at most 1 meg", image(IMAGE, (1001, 1000), "1")),
    fault("", f"--data-path: {IMAGE}: expected the size of its mask, 9 x 7", image(MASK)),
    # Where the predictions go.
    fault("--save-predictions", "--out: expected a path that is not an input", masks_in_out),
    fault("--save-predictions", WRITABLE, put("out/predictions"), new=MORE),
    fault("--save-predictions", WRITABLE, no_room(os, "replace", "*.png"), new=MORE),
    right("--model net.onnx --model net.tflite", models("net.onnx", "net.tflite")),
    right("--model net.onnx net.tflite --save-predictions", models("net.onnx", "net.tflite")),
]
NEITHER = [
    fault("", EITHER),
    fault("--out out", EITHER),
    fault("--masks data/masks", EITHER),
    fault("--predictions maps", "--masks: expected a folder of masks for --predictions"),
    fault("--model net.onnx", "--data-path: expected a folder with images/ and masks/, since"),
    fault("--model net.onnx --data-path data --save-predictions", "--save-predictions: expected a"),
]


@pytest.mark.parametrize("row", OF_MAPS)
def test_maps(row, room, capfd, caplog):
    check("test", MAPS, row, room, capfd, caplog)


@pytest.mark.parametrize("row", OF_NETWORKS)
def test_networks(row, room, capfd, caplog):
    check("test", NETWORK, row, room, capfd, caplog)


@pytest.mark.parametrize("row", NEITHER)
def test_neither(row, room, capfd, caplog):
    check("test", [], row, room, capfd, caplog)

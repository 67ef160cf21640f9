"""`train.py`, up to where the training begins; `test_slow.py` has what happens after that."""

import contextlib
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from polypseg import runtime
from polypseg.commands import train, training_run
from polypseg.data import groups

from .table import (
    NOISE,
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
    painted,
    put,
    right,
    unreadable,
)

SPARED = ("maps",)
WHOLE = ("epochs", "batch-size", "accumulate", "patience", "input-size", "folds", "seed", "seeds")
BASE = ["--data-path data", "--model attention_unet", "--input-size 32", "--epochs 2"]
LONG = "x" * 300
IMAGE, MASK = "data/images/synthetic_0003.png", "data/masks/synthetic_0003.png"
TRAIN, VAL, TEST = (f"run/split/{subset}.txt" for subset in ("train", "val", "test"))
FOLDERS = "--data-path: expected the folders images and masks"
PAIRS = "--data-path: expected images and masks with equal stems"
SEVERAL = "--data-path: expected one mask per image, got several for"
TWICE = "--data-path: expected one file per stem, got "
NAMES = "--data-path: expected names in UTF-8 without line breaks"
BAD = "--data-path: expected readable pairs, got 1 bad files"
SPLIT = "--split-dir: expected text in UTF-8, got "
LISTS = "--split-dir: split run/split: "
CSV = "--split-dir: split a.csv: expected "
HEADER = "stem,subset\nsynthetic_0000,train\n"
RUNS = "--trained-model-path: expected a writable folder, got "
CONFIG = "--config: expected a JSON object with option names as keys, got "
JSON = OBJECT = f"{CONFIG}c.json"
KEPT = "cannot be given with --resume, because the run keeps its options"


@pytest.fixture(autouse=True)
def no_training(monkeypatch):
    """In place of what trains there is what writes its options, and the number of images in each
    subset, to `began.json`.
    """

    def began(config, data, *rest, **options):
        subsets = (data[0] if config.folds or config.seeds else data).subsets
        counts = {name: len(pairs) for name, pairs in subsets.items()}
        Path("began.json").write_text(json.dumps(json.loads(config.to_json()) | counts))
        mean = {name: {"mean": 0, "std": 0} for name in ("dice", "iou")}
        best = {"val_dice": 0, "val_iou": 0, "epoch": 1}
        summary = {"folds": 1, "seeds": [1], "images": 1, "validation": mean, "test": mean}
        return "", summary if config.folds or config.seeds else best

    monkeypatch.setattr(training_run, "connect_processes", lambda config: None)
    monkeypatch.setattr(training_run, "one_run_folder", contextlib.nullcontext)
    monkeypatch.setattr(training_run, "cross_validate", began)
    monkeypatch.setattr(training_run, "train_seeds", began)
    monkeypatch.setattr(training_run, "train", began)
    monkeypatch.setattr(train, "load_tensorflow", runtime.check_backend)


def began(**options):
    """The training began with these options, and so many images in a subset."""

    def holds(room):
        found = json.loads((room / "began.json").read_text())
        return found | options == found

    return holds


def config(text):
    return put("c.json", text)


def renamed(change, where="data"):
    """Every file of the data set, with another stem."""

    def prepare(room):
        for path in [*(room / where).rglob("*.png")]:
            path.rename(path.with_name(change(path.stem) + path.suffix))

    return prepare


def emptied(*names):
    def prepare(room):
        for name in names:
            shutil.rmtree(room / "data" / name)
            (room / "data" / name).mkdir()

    return prepare


def only(count):
    """So many images have masks."""

    def prepare(room):
        for path in sorted((room / "data" / "masks").iterdir())[count:]:
            path.unlink()

    return prepare


def both(orientation):
    """An image and its mask, which say that they are to be turned alike."""

    def prepare(room):
        painted(IMAGE, 90, 200, orientation=orientation)(room)
        painted(MASK, 255, orientation=orientation)(room)

    return prepare


def filled(name, level):
    """All images, or all masks, of one level."""

    def prepare(room):
        for path in (room / "data" / name).iterdir():
            image(path.relative_to(room.folder), (36, 32), "L", level)(room)

    return prepare


def impatient(room):
    """Regular expressions are stopped early."""
    room.patch.setattr(groups._search, "__defaults__", (0.3,))


def no_foreground(subset):
    """The masks of a list are empty."""

    def prepare(room):
        for stem in (room / subset).read_text().split():
            image(f"data/masks/{stem}.png", (36, 32), "L")(room)

    return prepare


def pair(image, mask):
    """A list of one line, with the paths of an image and a mask."""
    return put(VAL, f"images/synthetic_{image:04}.png\tmasks/synthetic_{mask:04}.png\n")


def two_spaces(room):
    """Stems that begin and end with a space, and lists of them."""
    renamed(lambda stem: f" {stem} ")(room)
    for name in (TRAIN, VAL, TEST):
        lines = (room / name).read_text().splitlines()
        (room / name).write_text("".join(f" {line} \n" for line in lines))


OPTIONS = [
    *[
        fault(f"--{name} {value}", f"--{name}: {words}")
        for name in WHOLE
        for value, words in (
            ("x", "invalid int value: 'x'"),
            ("''", "invalid int value: ''"),
            ("nan", "invalid int value"),
            ("1.5", "invalid int value"),
            ("-1", "expected "),
            (10**20, "expected a number below "),
        )
    ],
    *[
        fault(f"--{name} {value}", f"--{name}: {words}")
        for name in ("lr", "data-split", "cache-gb", "clip-value", "ema", "multi-scale")
        for value, words in (
            ("x", "invalid float value: 'x'"),
            ("''", "invalid float value: ''"),
            ("nan", "expected "),
            ("-1", "expected "),
            ("-inf", "expected "),
        )
    ],
    *[
        fault(f"--{name} {value}", f"--{name}: expected ")
        for name in ("model", "backbone", "schedule", "augment", "loss", "precision", "devices")
        for value in ("bogus", "''", "PRANET")
    ],
    *[fault(f"--{name} 0", f"--{name}: expected ") for name in ("epochs", "lr", "input-size")],
    *[fault(f"--{name} inf", f"--{name}: expected ") for name in ("lr", "ema", "multi-scale")],
    fault("--lr 1e400", "--lr: expected a learning rate above 0 and below 1, got inf"),
    fault("--lr 1e-400", "--lr: expected a learning rate above 0 and below 1, got 0.0"),
    fault("--map-weights nan", "--map-weights: expected 1 numbers"),
    fault("--map-weights inf", "--map-weights: expected 1 numbers"),
    fault("--map-weights 1 1 1 1", "--map-weights: expected 1 numbers"),
    fault("--multi-scale 0.75 1 9", "--multi-scale: expected factors"),
    fault("--multi-scale 1 --multi-scale 9", "--multi-scale: expected factors"),
    fault("--multi-scale", "--multi-scale: expected at least one argument"),
    fault("--input-size 100", "--input-size: expected a multiple of 16 up to 8192 for atten"),
    fault("--input-size 2147483648", "--input-size: expected a number below 2147483648"),
    fault("--seed 4294967296", "--seed: expected a number below 4294967296"),
    fault("--data-split 0.5", "--data-split: expected a fraction above 0 and below 0.5"),
    fault("--data-split 0.01", "--data-split: expected stems for each of train, val and test"),
    fault(
        "--backbone res2net50 --model pranet", "--backbone-weights: expected none, or a file of res"
    ),
    fault("--coordinator x", "--coordinator: expected HOST:PORT, got x"),
    fault("--folds 3 --split-dir run/split", "--folds: expected no --split-dir, since"),
    fault("--label 70000", "--label: expected levels from 0 to 65535, got 70000"),
    fault("--label", "--label: expected at least one argument"),
    fault("--folds 17", "--folds: expected at least 2 folds and 17 images"),
    fault("--group-by '['", "--group-by: expected a regular expression"),
    fault("--group-by ''", "--group-by: expected a value, got an empty one"),
    fault("--group-by x", "--group-by: expected 'x' to match some text in every stem"),
    fault("--group-by '0*'", "--group-by: expected '0*' to match some text in every stem"),
    fault("--group-by '(.|.|.|.|.)*!'", "--group-by: expected a regular ... quick", impatient),
    fault("--group-by synthetic", "--group-by: expected at least 3 groups, got 1"),
    fault("--folds 3 --group-by '(?P<a'", "--group-by: expected a regular expression"),
    fault("--deterministic yes", "unknown argument yes"),
    fault("--determinstic", "unknown argument --determinstic; did you mean '--deterministic'?"),
    fault("-epochs 1", "unknown argument -epochs 1; did you mean '--epochs'?"),
    fault("--logdir ''", "--logdir: expected a value, got an empty one"),
    fault("", "KERAS_BACKEND: expected tensorflow, jax", environment(KERAS_BACKEND="bogus")),
    right("--epochs 1 --epochs 3 --seed 4294967295", began(epochs=3, seed=4294967295)),
    right("--folds 3 --data_split=0.2", began(folds=3, data_split=0.2)),
    fault("--seeds 1", "--seeds: expected 2 or more, got 1"),
    fault("--seeds 3 --folds 3", "--seeds: expected either --folds or --seeds, got both"),
    fault("--seeds 3 --seed 4294967294", "--seeds: expected seeds up to 2^32 - 1, got 4294967296"),
    right("--seeds 3 --split-dir run/split", began(seeds=3, test=1)),
    # Where the run folder is made.
    fault("--trained-model-path ''", "--trained-model-path: expected a value, got an empty one"),
    fault("--trained-model-path notes.txt", f"{RUNS}notes.txt"),
    fault("--trained-model-path notes.txt/a", f"{RUNS}notes.txt/a"),
    fault("--trained-model-path /dev/null", f"{RUNS}/dev/null"),
    fault(f"--trained-model-path {LONG}", "--trained-model-path: expected"),
    fault("--trained-model-path a", RUNS, link("a", "nothing")),
    fault("--trained-model-path a", RUNS, link("a", "a")),
    fault("--trained-model-path a", RUNS, folder("a"), unreadable("a")),
]
DATA = [
    fault("--data-path ''", "--data-path: expected a value, got an empty one"),
    fault("--data-path absent", "--data-path: expected a folder, got nothing at absent"),
    fault("--data-path notes.txt", "--data-path: expected a folder, got a file at notes.txt"),
    fault("--data-path in", f"{FOLDERS} ... got no folders in in"),
    fault("--data-path data/images", FOLDERS),
    fault("--data-path data data", "unknown argument data"),
    fault(f"--data-path {LONG}", "--data-path: expected a folder, got nothing at xxx"),
    fault("--data-path a", "--data-path: expected a folder, got nothing at a", link("a", "a")),
    fault("", "--data-path: expected a readable folder, got data", unreadable("data")),
    fault("", "--data-path: expected a readable folder", unreadable("data/masks")),
    fault("", FOLDERS, gone("data/masks")),
    fault("", FOLDERS, gone("data/masks"), put("data/masks")),
    fault("", PAIRS, emptied("masks")),
    fault("", PAIRS, emptied("images", "masks")),
    fault("", PAIRS, renamed(lambda stem: f"{stem}_mask", "data/masks")),
    fault("", TWICE, copy(IMAGE, "data/images/synthetic_0003.tif")),
    fault("", TWICE, copy(MASK, "data/masks/synthetic_0003.jpg")),
    fault("", "--data-split: expected stems for each of train, val and test", only(2)),
    fault("--folds 3", "--folds: expected at least 2 folds and 3 images", only(2)),
    fault("", SEVERAL, copy(MASK, "data/masks/synthetic_0003_1.png")),
    fault(
        "--mask-suffix _m",
        f"{SEVERAL} 1 of 16 images, such as synthetic_0003_m.png and synthetic_0003_m_1.png",
        renamed(lambda stem: f"{stem}_m", "data/masks"),
        copy("data/masks/synthetic_0003_m.png", "data/masks/synthetic_0003_m_1.png"),
    ),
    fault("", BAD, put(IMAGE)),
    fault("", BAD, put(IMAGE, NOISE)),
    fault("", BAD, half(IMAGE)),
    fault("", BAD, folder(IMAGE)),
    fault("", BAD, link(IMAGE, "nothing")),
    fault("", BAD, link(IMAGE, "synthetic_0003.png")),
    fault("", BAD, unreadable(IMAGE)),
    fault("", BAD, gone(IMAGE), lambda room: os.mkfifo(room / IMAGE)),
    fault("", BAD, gone(MASK), lambda room: os.mkfifo(room / MASK)),
    fault("", BAD, frames(IMAGE)),
    fault("", BAD, gone(IMAGE), put(IMAGE.replace("png", "tif"), b"II*\0" + NOISE)),
    fault("", BAD, put(MASK, NOISE)),
    fault("", BAD, half(MASK)),
    fault("", BAD, image(MASK, (36, 33), "L")),
    fault("", BAD, image(MASK, (36, 32), "L", 77)),
    fault("", BAD, copy(IMAGE, MASK)),
    fault("--folds 3", BAD, copy(IMAGE, MASK)),
    fault("", NAMES, renamed(lambda stem: f"{stem}\udcff")),
    fault("", NAMES, renamed(lambda stem: f"{stem}\n")),
    fault("", NAMES, renamed(lambda stem: f"{stem}\r1")),
    fault("", NAMES, renamed(lambda stem: f"{stem}\u2028大")),
    right("", began(train=14), renamed(lambda stem: f" {stem}大腸,\"'\x1b.x")),
    right("", began(train=14), image(MASK, (36, 32), "L")),
    # Large images.
    fault("--max-megapixels 1", BAD, image(IMAGE, (1001, 1000), "1")),
    fault("--max-megapixels 701", "--max-megapixels: expected 1 to 700, got 701"),
    right("--max-megapixels 1", began(train=14)),
    # Masks that are label maps.
    *[
        fault("", BAD, painted(MASK, *levels))
        for levels in ((1, 255), (255, 1), (1, 2), (7,), (85, 170, 255), (254, 255), range(1, 9))
    ],
    fault("", BAD, painted(MASK, 1, 2, 3, mode="P")),
    fault("", BAD, painted(MASK, 4095, kind=np.uint16)),
    fault("--folds 3", BAD, painted(MASK, 1, 255)),
    right("--label 255", began(train=14, label=[255]), painted(MASK, 1, 255)),
    right("--label 1 255", began(train=14), painted(MASK, 1, 255, 2, mode="P")),
    right("--ignore 1", began(train=14, ignore=[1]), painted(MASK, 1, 255)),
    right("--label 2 3 255 --ignore 1", began(train=14), painted(MASK, 1, 2, 3, 255)),
    fault("--ignore 2", BAD, painted(MASK, 1, 255)),
    fault("--ignore 255", BAD.replace("1", "16"), filled("masks", 255)),
    fault("--ignore x", "--ignore: invalid int value: 'x'"),
    fault("--ignore 1 --label 1", "--ignore: expected other levels than --label, got 1"),
    # Masks in colour.
    fault("", BAD, coloured(MASK, (255, 0, 0))),
    fault("", BAD, coloured(MASK, (0, 255, 0))),
    fault("--label 76", BAD, coloured(MASK, (255, 0, 0))),
    fault("--mask-color 255 0 0", BAD, half(MASK)),
    fault("--mask-color 9 9 9", "--data-path: expected masks with foreground"),
    fault("--mask-color 255 0", "--mask-color: expected three numbers from 0 to 255"),
    fault("--mask-color red", "--mask-color: invalid int value: 'red'"),
    fault("--mask-color 1 2 3 --label 1", "--label: expected either levels, or colours in --mask"),
    right(
        "--mask-color 255 0 0 255 255 255",
        began(train=14, mask_color=[255, 0, 0, 255, 255, 255]),
        coloured(MASK, (255, 0, 0)),
    ),
    # Scanners' bits.
    fault("", BAD, painted(IMAGE, 700, 1200, kind=np.uint16)),
    fault("", BAD, painted(IMAGE, 16383, kind=np.uint16)),
    fault("", BAD, gone(IMAGE), painted(IMAGE.replace("png", "tif"), 4095, 300, kind=np.uint16)),
    right("", began(train=14), painted(IMAGE, 65535, 300, kind=np.uint16)),
    right("--window 0 4095", began(window=[0, 4095]), painted(IMAGE, 4095, 300, kind=np.uint16)),
    fault("--window 5", "--window: expected LOW HIGH from 0 to 65535, the lower first, got 5"),
    fault("--window 9 9", "--window: expected LOW HIGH from 0 to 65535"),
    fault("--window 0 65536", "--window: expected LOW HIGH from 0 to 65535"),
    # Files that say that they are to be turned.
    *[fault("", BAD, painted(IMAGE, 90, 200, orientation=turn)) for turn in (2, 3, 4)],
    fault("", BAD, painted(MASK, 255, orientation=3)),
    right("", began(train=14), both(3)),
    # Data from which nothing can be learnt.
    fault("", "--data-path: expected masks with background, got 16", filled("masks", 255)),
    fault("", "--data-path: expected masks with foreground in", filled("masks", 0)),
    fault("--folds 3", "--data-path: expected masks with foreground", filled("masks", 0)),
    fault("", "--data-path: expected images, got 16 of one colour", filled("images", 90)),
    fault("--folds 3", "--data-path: expected masks with background", filled("masks", 1)),
    fault("--split-dir run/split", "--split-dir: expected masks with fore", no_foreground(VAL)),
    fault("--split-dir run/split", "--split-dir: expected masks with fore", no_foreground(TRAIN)),
    fault("--empty zero", "--empty: expected skip or one, got zero"),
    # A given split.
    fault("--split-dir ''", "--split-dir: expected a value, got an empty one"),
    fault("--split-dir absent", "--split-dir: split absent: expected a CSV file, or train.txt"),
    fault(f"--split-dir {LONG}", "--split-dir: split xxx"),
    fault("--split-dir in", "--split-dir: split in: expected a CSV file, or train.txt in a folder"),
    fault("--split-dir notes.txt", "--split-dir: split notes.txt: expected the header"),
    fault("--split-dir video.mp4", f"{SPLIT}video.mp4"),
    fault("--split-dir run/split", "--split-dir: split ... stems for train, got none", put(TRAIN)),
    fault("--split-dir run/split", "--split-dir: split ... for val, got none", put(VAL, "\n \n")),
    fault("--split-dir run/split", "--split-dir: split ... got no run/split/val.txt", gone(VAL)),
    fault("--split-dir run/split", "--split-dir: split ... got no run/split/val.txt", folder(VAL)),
    fault("--split-dir run/split", f"{SPLIT}{TEST}", folder(TEST)),
    fault("--split-dir run/split", f"{SPLIT}{TEST}", link(TEST, "nothing")),
    fault("--split-dir run/split", f"{SPLIT}{VAL}", put(VAL, NOISE)),
    fault("--split-dir run/split", f"{SPLIT}{VAL}", put(VAL, "synthetic_0000".encode("utf-16"))),
    fault("--split-dir run/split", f"{SPLIT}{VAL}", unreadable(VAL)),
    fault("--split-dir run/split", "--split-dir: ... stems of the data, got a", put(VAL, "a")),
    fault("--split-dir run/split", "--split-dir: ... every stem once", copy(TRAIN, VAL)),
    fault("--split-dir a.csv", f"{CSV}the header stem,subset", put("a.csv")),
    fault("--split-dir a.csv", f"{CSV}the header", put("a.csv", HEADER.replace(",", ";"))),
    fault("--split-dir a.csv", f"{CSV}stems for val, got none", put("a.csv", HEADER)),
    fault("--split-dir a.csv", f"{CSV}a stem and train, val or", put("a.csv", HEADER + "a,valid")),
    fault("--split-dir a.csv", f"{CSV}a stem and train, val or", put("a.csv", HEADER + "a,val,1")),
    fault("--split-dir a.csv", f"{CSV}a stem and train, val or", put("a.csv", HEADER + '"a,val')),
    fault("--split-dir a.csv", "--split-dir: expected a CSV", put("a.csv", HEADER + 200_000 * "a")),
    right("--split-dir run/split", began(train=14, val=1, test=1)),
    fault("--split-dir run/split", f"{LISTS}expected stems ...; a line is a stem or", pair(99, 4)),
    fault("--split-dir run/split", f"{LISTS}expected the mask of synthetic_0005", pair(5, 4)),
    right("--split-dir run/split", began(train=14, val=1, test=1), pair(5, 5)),
    right("--split-dir run/split", began(train=14, val=1, test=0), gone(TEST)),
    right("--split-dir run/split", began(val=1), put(VAL, "\ufeff synthetic_0005.png\t\r\n\r\n")),
    right("--split-dir run/split", began(train=14, val=1, test=1), two_spaces),
]
FROM_FILE = [
    fault("--config absent", f"{CONFIG}absent (No such file"),
    fault("--config ''", "--config: expected a value, got an empty one"),
    fault(f"--config {LONG}", f"{CONFIG}xxx"),
    fault("--config in", f"{CONFIG}in (Is a directory)"),
    fault("--config a", f"{CONFIG}a", link("a", "a")),
    fault("--config run/config.json", "--config: expected a", unreadable("run/config.json")),
    fault("--config notes.txt", f"{CONFIG}notes.txt"),
    fault("--config video.mp4", f"{CONFIG}video.mp4"),
    fault("--config /dev/null", f"{CONFIG}/dev/null"),
    *[fault("--config c.json", OBJECT, config(text)) for text in ("[]", "5", "null", '"a"')],
    *[
        fault("--config c.json", JSON, config(text))
        for text in (
            *("", " ", "{", "{'lr': 1}", '{"lr": 0.1,}', '{"lr": }', '{"lr": 0x1}', '{"seed": 01}'),
            *(
                '{"lr": 0.1} {}',
                '{"lr": 0.1}\0',
                '{"lr": 0.1} // ten',
                f'{{"seed": {5000 * "1"}}}',
            ),
            *(b'{"group_by": "\xff"}', '{"lr": 0.1}'.encode("utf-16")),
        )
    ],
    *[
        fault("--config c.json", f"--config: expected {words} for {key!r} in c.json", config(text))
        for text, key, words in (
            ('{"epochs": "3"}', "epochs", "a whole number"),
            ('{"epochs": 3.0}', "epochs", "a whole number"),
            ('{"epochs": NaN}', "epochs", "a whole number"),
            ('{"folds": true}', "folds", "a whole number or null"),
            ('{"lr": "0.1"}', "lr", "a number"),
            ('{"lr": true}', "lr", "a number"),
            ('{"lr": null}', "lr", "a number"),
            ('{"lr": [0.1]}', "lr", "a number"),
            ('{"lr": {}}', "lr", "a number"),
            ('{"deterministic": 1}', "deterministic", "true or false"),
            ('{"model": []}', "model", "text"),
            ('{"loss": 5}', "loss", "text or null"),
            ('{"data_path": 5}', "data_path", "text or null"),
            ('{"trained_model_path": null}', "trained_model_path", "text"),
            ('{"multi_scale": "1"}', "multi_scale", "a list or null"),
            ('{"multi_scale": {"1": 1}}', "multi_scale", "a list or null"),
        )
    ],
    *[
        fault("--config c.json", f"--config: unknown key {key!r} in c.json{words}", config(text))
        for text, key, words in (
            ('{"epohcs": 1}', "epohcs", "; did you mean 'epochs'?"),
            ('{"data-path": "data"}', "data-path", "; did you mean 'data_path'?"),
            ('{"": 1}', "", ""),
            ('{"resume": "run"}', "resume", ""),
            ('{"coordinator": "a:1"}', "coordinator", ""),
        )
    ],
    *[
        fault("--config c.json", f"--{name}: expected", config(text))
        for name, text in (
            ("lr", '{"lr": NaN}'),
            ("lr", '{"lr": -Infinity}'),
            ("lr", '{"lr": 1e999}'),
            ("lr", f'{{"lr": 1{400 * "0"}}}'),
            ("seed", f'{{"seed": {10**20}}}'),
            ("multi-scale", '{"multi_scale": []}'),
            ("multi-scale", '{"multi_scale": ["1"]}'),
            ("multi-scale", '{"multi_scale": [[1]]}'),
            ("multi-scale", '{"multi_scale": [NaN, null]}'),
            ("map-weights", '{"map_weights": []}'),
            ("map-weights", '{"map_weights": ["1"]}'),
            ("map-weights", '{"map_weights": [NaN]}'),
            ("group-by", '{"group_by": "["}'),
            ("group-by", '{"group_by": ""}'),
        )
    ],
    *[
        fault("--config c.json", f"--{name}: expected", config(text))
        for name, text in (
            ("config", "[" * 100_000),
            ("config", '{"multi_scale": ' * 100_000),
            ("batch-size", f'{{"batch_size": {10**20}}}'),
            ("cache-gb", f'{{"cache_gb": 1{400 * "0"}}}'),
            ("map-weights", f'{{"map_weights": [1{400 * "0"}]}}'),
            ("map-weights", '{"map_weights": [Infinity]}'),
            ("multi-scale", '{"multi_scale": [true]}'),
            ("split-dir", '{"split_dir": ""}'),
            ("trained-model-path", '{"trained_model_path": "\\u0000"}'),
            ("trained-model-path", '{"trained_model_path": "\\ud800"}'),
        )
    ],
    fault("--config c.json", JSON, config('{"ema": 0, "epochs": 9, "ema": 0.2}')),
    right("--config c.json", began(train=14, lr=0.001), config("{}")),
    right("--config c.json", began(lr=0.1), config(b'\xef\xbb\xbf{"lr": 0.1}')),
]
RESUMED = [
    fault("--resume", "--resume: expected one argument"),
    fault("--resume absent", "--resume: expected a run folder, got absent, which does not exist"),
    fault("--resume ''", "--resume: expected a value, got an empty one"),
    fault(f"--resume {LONG}", "--resume: expected a run folder"),
    fault("--resume notes.txt", "--resume: expected a run folder"),
    fault("--resume data", "--resume: expected a run folder (one with config.json), got data"),
    fault("--resume run --epochs 9", f"--epochs: {KEPT}"),
    fault("--resume run --config c.json", f"--config: {KEPT}", config("{}")),
    fault("--resume run --data-path absent", "--data-path: expected a folder, got nothing at"),
    fault("--resume run", "--data-path: expected ... got 1 changed (synthetic_0003)", half(MASK)),
    fault("--resume run", "--data-path: expected ... got 1 missing (synthetic_0003)", gone(IMAGE)),
]


@pytest.mark.parametrize("row", OPTIONS)
def test_options(row, room, capfd, caplog):
    check("train", BASE, row, room, capfd, caplog)


@pytest.mark.parametrize("row", DATA)
def test_data(row, room, capfd, caplog):
    check("train", BASE, row, room, capfd, caplog)


@pytest.mark.parametrize("row", FROM_FILE)
def test_from_file(row, room, capfd, caplog):
    check("train", BASE, row, room, capfd, caplog)


@pytest.mark.parametrize("row", RESUMED)
def test_resumed(row, room, capfd, caplog):
    check("train", [], row, room, capfd, caplog)

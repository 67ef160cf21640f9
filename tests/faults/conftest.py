"""The folder that every row begins with."""

import contextlib
import json
import shutil
import tarfile
import zipfile
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from PIL import Image

from polypseg.data.decoding import limit_pixels
from polypseg.experiment.checkpoint import Saved
from polypseg.experiment.run import DIGEST, LISTS, run_id
from polypseg.files import file_digest

from .table import Room

BEFORE = Path(__file__).resolve().parent.parent / "data" / "before_rooms"


def seal(run):
    """Make a run of an earlier version one of this version."""
    names = ("config.json", "data.txt", "files.csv", *LISTS)
    digests = {name: file_digest(run / name) for name in names}
    (run / DIGEST).write_text(json.dumps(digests | {"run": "0123456789abcdef"}))
    for name, epoch in (("best.keras", 2), ("last.keras", 3)):
        with zipfile.ZipFile(run / name, "a") as archive:
            archive.comment = json.dumps(Saved(epoch, run_id(run))._asdict()).encode()


@pytest.fixture(scope="session")
def ingredients(tmp_path_factory):
    """Networks in all formats, `in/` with three images, `video.mp4`, a data set in `data/`, maps of
    its masks in `maps/`, a finished run in `run/` and `notes.txt`.
    """
    pytest.importorskip("onnxruntime")
    folder = tmp_path_factory.mktemp("ingredients")
    with tarfile.open(BEFORE / "exports.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    for path in [*folder.iterdir()]:
        path.rename(folder / path.name.replace("attention_unet", "net"))
    shutil.copy(BEFORE / "attention_unet.keras", folder / "net.keras")
    shutil.copytree(BEFORE / "data", folder / "data")
    seal(shutil.copytree(BEFORE / "finished", folder / "run"))
    (folder / "notes.txt").write_text("notes\n")
    random = np.random.default_rng(0)
    (folder / "in").mkdir()
    for name, size in (("a.png", (53, 71)), ("b.jpg", (40, 60)), ("c.webp", (31, 33))):
        small = random.integers(0, 256, (6, 6, 3), np.uint8)
        Image.fromarray(cv2.resize(small, size[::-1])).save(folder / "in" / name)
    (folder / "maps").mkdir()
    for path in (folder / "data" / "masks").iterdir():
        with Image.open(path) as mask:
            soft = cv2.GaussianBlur(np.asarray(mask.convert("L")), (0, 0), 3)
        Image.fromarray(soft).save(folder / "maps" / path.name)
    with av.open(str(folder / "video.mp4"), "w") as out:
        stream = out.add_stream("libx264", rate=25, width=64, height=48, pix_fmt="yuv420p")
        for index in range(10):
            frame = av.VideoFrame.from_ndarray(random.integers(0, 256, (48, 64, 3), np.uint8))
            frame.pts, frame.time_base = index, Fraction(1, 25)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return folder


@pytest.fixture
def room(ingredients, tmp_path, monkeypatch, request):
    """A copy of the ingredients, which takes longer than most rows: without those folders that a
    module lists as `SPARED`, unless the row names them.
    """
    row = request.node.callspec.params.get("row") if hasattr(request.node, "callspec") else None
    spared = [
        name
        for name in getattr(request.module, "SPARED", ())
        if row is None or name not in f"{row.arguments} {row.says}"
    ]

    def left_out(folder, names):
        return spared if Path(folder) == ingredients else ()

    folder = tmp_path / "room"
    shutil.copytree(ingredients, folder, ignore=left_out, copy_function=shutil.copyfile)
    with contextlib.ExitStack() as after:
        after.callback(shutil.rmtree, folder)
        after.callback(limit_pixels, 200)
        yield Room(folder, monkeypatch, after)

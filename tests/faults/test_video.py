"""`infer_video.py`."""

import os
from pathlib import Path

import av
import pytest

from polypseg.inference import video_writer

from .table import (
    NOISE,
    check,
    environment,
    fault,
    folder,
    half,
    hard_link,
    image,
    link,
    move,
    no_room,
    put,
    right,
    unreadable,
)

SPARED = ("data", "maps", "run")
BASE = ["--model net.onnx", "--video video.mp4", "--out out.mp4"]
LONG = "x" * 300
NO_FILE = "--video: expected a video file or the number of a camera, got "
NO_VIDEO = "--video: expected a video, got "
WRITABLE = "--out: expected a writable place with room on the disk, got "
MASKS = "--masks-out: expected a writable place with room on the disk, got "
ROOM = "--out: expected a writable place with room on the disk, got "
NEW = "--out: expected a new path (or --overwrite), got "
MASKS_FILE = "--masks-out: expected a file, got the folder "
MASKS_OTHER = "--masks-out: expected a path that is not an input, got "
MASKS_FRAMES = "--masks-out: expected a folder other than that of the input frames, got in"
MKV = "--masks-out: expected a folder, or a file that ends in .mkv, got "
OTHER = "--out: expected a path that is not an input, got "
NAMES = ("a:b.mp4", "data:b.mp4", "http:b", "大 腸\n.mp4", "-a.mp4", "%03d", "[1]", "\udcff")
BOTH = "out.mp4 out.json"


def frames(name="out.mp4", count=10):
    """A video of so many frames, read without the project."""

    def holds(room):
        with av.open(str(room / name)) as file:
            return len([*file.decode(video=0)]) == count

    return holds


def kept(name, count):
    """A file of the user's beside so many frames of masks."""
    return lambda room: (
        (room / name).read_text() == "mine"
        and (len([*(room / name).parent.glob("frame_0*.png")]) == count)
    )


def zeros(name, first, last):
    """The video with zeros from `first` to `last` of its frames' data, 0 to 1."""

    def prepare(room):
        data = bytearray((room / "video.mp4").read_bytes())
        start = data.index(b"mdat") + 4
        size = int.from_bytes(data[start - 8 : start - 4], "big") - 8
        first_byte, last_byte = start + round(first * size), start + round(last * size)
        data[first_byte:last_byte] = bytes(last_byte - first_byte)
        (room / name).write_bytes(data)

    return prepare


def mine(name):
    return put(name, "mine")


def a_frame(room):
    os.rename(room / "in" / "a.png", room / "in" / "frame_000000.png")


ROWS = [
    # The video.
    fault("--video a.mp4", f"{NO_FILE}a.mp4, which does not exist"),
    fault("--video ''", "--video: expected a value, got an empty one"),
    fault("--video", "--video: expected one argument"),
    fault(f"--video {LONG}.mp4", NO_FILE),
    fault("--video 'a\nb\x1b[31m大.mp4'", rf"{NO_FILE}a\nb\x1b[31m大.mp4, which"),
    fault("--video in", "--video: expected a video file, got in, which is not a file"),
    fault("--video /dev/null", "--video: expected a video file, got /dev/null"),
    fault("--video 71", "--video: expected a camera that can be opened, got number 71"),
    fault("--video -1", f"{NO_FILE}-1"),
    fault("--video ²", "--video: expected a camera that can be opened"),
    fault("--video file:a.mp4", f"{NO_FILE}file:a.mp4"),
    fault("--video file:///a.mp4", f"{NO_VIDEO}file:///a.mp4"),
    fault("--video bogus://a", f"{NO_VIDEO}bogus://a"),
    fault("--video http://127.0.0.1:9/a.mp4", f"{NO_VIDEO}http://127.0.0.1:9/a.mp4"),
    fault("--video notes.txt", f"{NO_VIDEO}notes.txt"),
    fault("--video net.onnx", f"{NO_VIDEO}net.onnx"),
    fault("--video a.mp4", f"{NO_VIDEO}a.mp4, an empty file", put("a.mp4")),
    fault("--video a.mp4", f"{NO_VIDEO}a.mp4", put("a.mp4", NOISE)),
    fault("--video a.mp4", f"{NO_VIDEO}a.mp4", half("video.mp4", "a.mp4")),
    fault("--video a.mp4", f"{NO_VIDEO}a.mp4", half("video.mp4", "a.mp4", 0.01)),
    fault("--video a.mp4", f"{NO_VIDEO}a.mp4", zeros("a.mp4", 0, 1)),
    fault("--video a.mp4", "--video: a.mp4: ...; written: ", zeros("a.mp4", 0.6, 0.9), new=BOTH),
    fault("--video a.m3u8", f"{NO_VIDEO}a.m3u8", put("a.m3u8", "#EXTM3U\n#EXTINF:1,\na.ts\n")),
    fault("--video a.mp4", NO_FILE, link("a.mp4", "nothing")),
    fault("--video a.mp4", NO_FILE, link("a.mp4", "a.mp4")),
    fault("--video a.mp4", "--video: expected a video file", folder("a.mp4")),
    fault("--video a", "--video: expected a video file", lambda room: os.mkfifo(room / "a")),
    fault("--video video.mp4", NO_VIDEO, unreadable("video.mp4")),
    # Numbers.
    *[
        fault(f"--{name} {value}", f"--{name}: {words}")
        for name in ("max-frames", "stride", "batch-size", "smooth", "support")
        for value, words in (
            ("x", "invalid int value: 'x'"),
            ("nan", "invalid int value"),
            ("''", "invalid int value"),
            ("0", "expected "),
            ("-1", "expected "),
            (10**20, "expected a number below 2147483648"),
        )
    ],
    fault("--smooth 4", "--smooth: expected an odd number of frames, got 4"),
    fault("--threshold nan", "--threshold: expected a probability from 0 to 1, got nan"),
    fault("--threshold 1.5", "--threshold: expected a probability from 0 to 1, got 1.5"),
    fault("--threshold x", "--threshold: invalid float value: 'x'"),
    fault("--input-size 33", "--input-size: expected 32, the size that net.onnx"),
    right("--stride 2147483647 --batch-size 2147483647 --smooth 2147483647", frames()),
    right("--max-frames 3 --overwrite --overwrite", frames(count=3)),
    # The network.
    fault("--model absent", "--model: expected a run folder or a model file, got absent"),
    fault("--model ''", "--model: expected a value, got an empty one"),
    fault(f"--model {LONG}", "--model: expected a run folder or a model file"),
    fault("--model notes.txt", "--model: expected a run folder, a SavedModel folder, .keras"),
    fault("--model a.onnx", "--model: expected a complete .onnx file", half("net.onnx", "a.onnx")),
    fault("--model net.keras", "KERAS_BACKEND: expected", environment(KERAS_BACKEND="bogus")),
    # Where the video goes.
    fault("--out ''", "--out: expected a value, got an empty one"),
    fault("--out out", "--out: expected a name that ends in .mp4, got out"),
    fault("--out out.avi", "--out: expected a name that ends in .mp4, got out.avi"),
    fault("--out .mp4", "--out: expected a name that ends in .mp4, got .mp4"),
    fault("--out /dev/null", "--out: expected a name that ends in .mp4"),
    fault("--out /proc/a.mp4", WRITABLE),
    fault("--out notes.txt/a.mp4", WRITABLE),
    fault(f"--out {LONG}.mp4", WRITABLE),
    fault(f"--out {251 * 'x'}.mp4", "--out: expected a writable place ... too long)"),
    fault("--out a.mp4", "--out: expected a file, got the folder a.mp4", folder("a.mp4")),
    fault("--out a.mp4 --overwrite", "--out: expected a file, got the folder", folder("a.json")),
    fault("--out a.mp4", f"{NEW}a.mp4, which exists", put("a.mp4")),
    fault("--out a.mp4", f"{NEW}a.json, which exists", put("a.json")),
    fault("--out a.mp4", NEW, link("a.mp4", "nothing")),
    fault("--out a.mp4", NEW, link("a.json", "nothing")),
    fault("--out a.mp4", NEW, link("a.mp4", "a.mp4")),
    fault("--out a/b.mp4", WRITABLE, folder("a"), unreadable("a")),
    fault("--out a/b.mp4", WRITABLE, no_room(Path, "mkdir", "a")),
    fault("", WRITABLE, no_room(av, "open", ".part*.mp4")),
    fault("", WRITABLE, no_room(os, "replace", "out.mp4")),
    fault("", f"{ROOM}out.json", no_room(os, "replace", "out.json"), new="out.mp4"),
    right("--out a:b.mp4", frames("a:b.mp4")),
    right("--out c:/b.mp4", frames("c:/b.mp4")),
    right("--out=-.mp4", frames("-.mp4")),
    right("--out '大 腸\n.mp4'", frames("大 腸\n.mp4")),
    # Where the masks go.
    fault("--masks-out ''", "--masks-out: expected a value, got an empty one"),
    fault("--masks-out net.onnx", f"{MKV}net.onnx"),
    fault("--masks-out video.mp4 --overwrite", f"{MKV}video.mp4"),
    fault("--masks-out a", f"{MKV}a", link("a", "nothing")),
    fault("--masks-out a", f"{MKV}a", link("a", "a")),
    fault(f"--masks-out {LONG}", MASKS, new="out.mp4"),
    fault("--masks-out notes.txt/a", MASKS),
    fault("--masks-out notes.txt/a.mkv", MASKS),
    fault("--masks-out a.mkv --overwrite", MASKS_FILE, folder("a.mkv")),
    fault("--masks-out a.mkv", "--masks-out: expected a new path (or --overwrite)", put("a.mkv")),
    fault("--masks-out a", "--masks-out: expected a new path", put("a/frame_000099.png")),
    fault("--masks-out a --overwrite", MASKS_FILE, folder("a/frame_000099.png")),
    fault(
        "--masks-out out.mp4",
        "--masks-out: expected a path other than --out and its .json, got out.mp4",
    ),
    fault("--masks-out out.json", "--masks-out: expected a path other than --out and its .json"),
    fault(
        "--masks-out out.mp4/a.mkv", "--masks-out: expected a path other than --out and its .json"
    ),
    fault("--masks-out a.mkv", MASKS, no_room(av, "open", ".part*.mkv")),
    fault("--masks-out a", MASKS, no_room(video_writer, "write_png", "frame_000004.png")),
    fault("--masks-out a", MASKS, no_room(os, "replace", "a")),
    right("--masks-out .", frames()),
    right("--masks-out a --overwrite", kept("a/frame_b.png", 10), mine("a/frame_b.png")),
    # What is read is not replaced, whatever it is called.
    fault("--out video.mp4 --overwrite", f"{OTHER}video.mp4"),
    fault("--video ./video.mp4 --out HERE/video.mp4 --overwrite", OTHER),
    fault("--video file:video.mp4 --out video.mp4 --overwrite", OTHER),
    fault("--video file://HERE/video.mp4 --out video.mp4 --overwrite", OTHER),
    fault("--video a.mp4 --out video.mp4 --overwrite", OTHER, link("a.mp4", "video.mp4")),
    fault("--video a.mp4 --out video.mp4 --overwrite", OTHER, hard_link("a.mp4", "video.mp4")),
    fault("--out a.mp4 --overwrite", OTHER, link("a.mp4", "video.mp4")),
    fault("--video a.json --out a.mp4 --overwrite", OTHER, move("video.mp4", "a.json")),
    fault("--video a.mkv --masks-out a.mkv --overwrite", MASKS_OTHER, move("video.mp4", "a.mkv")),
    fault("--video in/frame_000000.png --masks-out in --overwrite", MASKS_FRAMES, a_frame),
    # Names that are unusual, and right.
    *[right(f"--video='{name}'", frames(), move("video.mp4", name)) for name in NAMES],
    right("--video ./5", frames(), move("video.mp4", "5")),
    right("--video in/a.png", frames(count=1)),
    right("--video a.png", frames(count=1), image("a.png", (1, 1))),
    fault("--video a.png", WRITABLE, image("a.png", (20000, 9))),
    # Words that are none.
    fault("--side-by-side=1", "--side-by-side: ignored explicit argument '1'"),
    fault("--masks-uot a", "unknown argument --masks-uot a; did you mean '--masks-out'?"),
    fault("a.mp4", "unknown argument a.mp4"),
]


@pytest.mark.parametrize("row", ROWS)
def test_video(row, room, capfd, caplog):
    check("video", BASE, row, room, capfd, caplog)

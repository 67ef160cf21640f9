"""`infer_video.py`, run for real on videos that the tests draw."""

import contextlib
import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from stub_predictor import run_with_stub

from polypseg.drawing.overlay import overlay
from polypseg.inference.timeline import rate_of
from polypseg.inference.video import VideoReader

ROOT = Path(__file__).resolve().parent.parent
COMMAND = [
    sys.executable,
    ROOT / "tests" / "stub_predictor.py",
    ROOT / "infer_video.py",
    "--model",
    "stub",
]
TURNED = {
    "clockwise": (0, 1, -1, 0),
    "over": (-1, 0, 0, -1),
    "counterclockwise": (0, -1, 1, 0),
    "mirrored": (-1, 0, 0, 1),
}


def infer(*arguments, **options):
    return run_with_stub("infer_video.py", *arguments, **options)


def infer_in_new_process(*arguments, **options):
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=120, **options
    )


def pictures(count, height, width):
    """Noise that is dark in red, and a red disc that moves from left to right."""
    random = np.random.default_rng(0)
    ground = cv2.resize(
        random.integers(0, 90, (9, 9, 3), np.uint8), (width, height), interpolation=cv2.INTER_CUBIC
    )
    for index in range(count):
        image = ground.copy()
        centre = round(width * (0.2 + 0.6 * index / count)), round(height * 0.4)
        cv2.circle(image, centre, min(height, width) // 5, (220, 60, 50), -1)
        yield image


def draw(
    path,
    count=20,
    size=(48, 64),
    rate=Fraction(25),
    pts=None,
    codec="libx264",
    sound=None,
    turn=None,
    matrix=None,
    **options,
):
    """Write a video; `pts` are in 1/1000 s, `turn` a display matrix, `sound` a codec, `matrix` a
    colour matrix.
    """
    height, width = size
    with av.open(str(path), "w", options=options) as out:
        stream = out.add_stream(
            codec,
            rate=rate,
            width=width,
            height=height,
            pix_fmt="yuv444p" if width % 2 or height % 2 else "yuv420p",
        )
        if pts:
            stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        if turn:
            a, b, c, d = TURNED[turn]
            stream.set_display_matrix([a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30])
        if matrix:
            stream.codec_context.colorspace = stream.codec_context.color_primaries = (
                stream.codec_context.color_trc
            ) = matrix
        voice = out.add_stream(sound, rate=44100, layout="mono") if sound else None
        for index, image in enumerate(pictures(count, height, width)):
            frame = av.VideoFrame.from_ndarray(image, "rgb24")
            if matrix:
                frame = frame.reformat(format=stream.pix_fmt, dst_colorspace="ITU709")
            frame.pts, frame.time_base = (
                (pts[index], Fraction(1, 1000)) if pts else (index, 1 / rate)
            )
            out.mux(stream.encode(frame))
            if voice:
                samples = round(44100 / rate)
                tone = (
                    np.sin(
                        np.arange(index * samples, (index + 1) * samples) * 440 * 2 * np.pi / 44100
                    )
                    * 9000
                )
                piece = av.AudioFrame.from_ndarray(tone.astype(np.int16)[None], "s16", "mono")
                piece.sample_rate, piece.pts, piece.time_base = (
                    44100,
                    index * samples,
                    Fraction(1, 44100),
                )
                out.mux(voice.encode(piece))
        for each in filter(None, (stream, voice)):
            out.mux(each.encode(None))
    return path


def read(path):
    """Frames as RGB and their times in seconds, read without the project."""
    with av.open(str(path)) as file:
        frames = list(file.decode(video=0))
        return [frame.to_ndarray(format="rgb24") for frame in frames], np.array(
            [float(frame.time) for frame in frames]
        )


def red(images):
    return [(image[..., 0] >= 127.5).astype(np.uint8) for image in images]


def read_masks(folder):
    return [cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in sorted(folder.iterdir())]


def assert_alike(images, expected, most=4.0):
    """Equal but for what H.264 loses."""
    assert len(images) == len(expected)
    for image, other in zip(images, expected):
        assert image.shape == other.shape
        assert np.abs(image.astype(float) - other).mean() < most


def test_output_is_the_source_with_the_mask_drawn_on_it(tmp_path):
    video = draw(tmp_path / "in.mp4", count=30, size=(96, 128), rate=Fraction(30000, 1001))
    result = infer(
        "--video_path",
        video,
        "--out",
        tmp_path / "out.mp4",
        "--masks-out",
        tmp_path / "masks",
        "--threshold",
        0.5,
    )
    assert result.returncode == 0, result.stderr
    source, times = read(video)
    with av.open(str(tmp_path / "out.mp4")) as file:
        stream = file.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert (stream.width, stream.height, stream.frames) == (128, 96, 30)
        assert stream.average_rate == Fraction(30000, 1001)
        assert float(stream.duration * stream.time_base) == pytest.approx(
            30 * 1001 / 30000, abs=1e-3
        )
    data = (tmp_path / "out.mp4").read_bytes()
    assert 0 < data.index(b"moov") < data.index(b"mdat"), "a browser wants the index first"
    images, out_times = read(tmp_path / "out.mp4")
    np.testing.assert_allclose(out_times, times, atol=1e-6)
    assert_alike(images, [overlay(image, mask) for image, mask in zip(source, red(source))])
    masks = read_masks(tmp_path / "masks")
    assert masks[3].any() and not masks[3].all()
    np.testing.assert_array_equal(masks, [mask * 255 for mask in red(source)])
    facts = json.loads((tmp_path / "out.json").read_text())
    assert facts["frames"] == 30 and facts["problem"] is None and not facts["stopped"]
    assert facts["milliseconds_per_frame"].keys() == {"decoding", "network", "drawing", "encoding"}
    assert all(value > 0 for value in facts["milliseconds_per_frame"].values())
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "in.mp4",
        "masks",
        "out.json",
        "out.mp4",
    ]


def test_the_first_calls_of_the_network_are_reported_apart(tmp_path):
    video = draw(tmp_path / "in.mp4", count=14)
    options = "--stride", 2, "--batch-size", 2
    result = infer(
        *("--video", video, "--out", tmp_path / "out.mp4", *options),
        env=os.environ | {"STUB_SECONDS": "0.2"},
    )
    assert result.returncode == 0, result.stderr
    # Seven frames, in calls of 1, 2, 2 and 2: two calls of 0.2 s for two frames each are timed,
    # and the network runs on every second frame of the video.
    facts = json.loads((tmp_path / "out.json").read_text())
    assert 0.4 <= facts["seconds_of_first_calls"] < 0.7
    assert 50 <= facts["milliseconds_per_frame"]["network"] < 90
    assert facts["seconds"] >= 0.8
    assert "14 frames in" in result.stdout and "network" in result.stdout


def test_a_video_too_short_to_time_the_network_says_nothing_of_its_time(tmp_path):
    video = draw(tmp_path / "in.mp4", count=3)
    result = infer("--video", video, "--out", tmp_path / "out.mp4")
    facts = json.loads((tmp_path / "out.json").read_text())
    assert facts["milliseconds_per_frame"]["network"] is None, "calls of one frame and of two"
    assert "network" not in result.stdout.partition("milliseconds per frame")[2]


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_variable_frame_rate_keeps_its_timestamps(suffix, tmp_path):
    pts = np.cumsum([0, 40, 40, 200, 20, 60, 33, 34, 500, 40, 40]).tolist()
    video = draw(tmp_path / f"in.{suffix}", count=len(pts), pts=pts)
    assert infer("--video", video, "--out", tmp_path / "out.mp4").returncode == 0
    _, times = read(tmp_path / "out.mp4")
    np.testing.assert_allclose(times, np.array(pts) / 1000, atol=6e-4)


@pytest.mark.parametrize("turn", TURNED)
def test_rotated_video_comes_out_upright(turn, tmp_path):
    video = draw(tmp_path / "in.mp4", count=4, size=(48, 96), turn=turn)
    assert (
        infer(
            "--video", video, "--out", tmp_path / "out.mp4", "--masks-out", tmp_path / "m"
        ).returncode
        == 0
    )
    source, _ = read(video)
    upright = {
        "clockwise": lambda image: np.rot90(image, -1),
        "over": lambda image: np.rot90(image, 2),
        "counterclockwise": np.rot90,
        "mirrored": lambda image: image[:, ::-1],
    }[turn]
    np.testing.assert_array_equal(
        read_masks(tmp_path / "m"), [255 * upright(mask) for mask in red(source)]
    )
    images, _ = read(tmp_path / "out.mp4")
    assert_alike(
        images,
        [overlay(upright(image), upright(mask)) for image, mask in zip(source, red(source))],
        most=7,
    )


def test_odd_sizes_lose_nothing(tmp_path):
    video = draw(tmp_path / "in.mkv", count=4, size=(191, 255), codec="ffv1")
    result = infer(
        "--video", video, "--out", tmp_path / "out.mp4", "--masks-out", tmp_path / "masks.mkv"
    )
    assert result.returncode == 0 and "256x192" in result.stdout
    source, _ = read(video)
    images, _ = read(tmp_path / "out.mp4")
    assert images[0].shape == (192, 256, 3)
    assert_alike(
        [image[:191, :255] for image in images],
        [overlay(image, mask) for image, mask in zip(source, red(source))],
    )
    masks, _ = read(tmp_path / "masks.mkv")
    np.testing.assert_array_equal(
        [mask[..., 0] for mask in masks], [255 * mask for mask in red(source)]
    )


def test_colours_of_high_definition_stay(tmp_path):
    video = draw(tmp_path / "in.mp4", count=3, matrix=1)
    assert infer("--video", video, "--out", tmp_path / "out.mp4", "--threshold", 1).returncode == 0
    drawn, (source, _), (images, _) = (
        list(pictures(3, 48, 64)),
        read(video),
        read(tmp_path / "out.mp4"),
    )
    flat = np.s_[:, 15:24, :]  # wide of the disc's rim, where half the colour's samples are lost
    assert (
        np.abs(source[0][flat].astype(float).mean((0, 1)) - drawn[0][flat].mean((0, 1))).max() < 4
    )
    assert (
        np.abs(images[0][flat].astype(float).mean((0, 1)) - drawn[0][flat].mean((0, 1))).max() < 4
    )


@pytest.mark.parametrize(
    "suffix, codec, kept",
    [
        ("mp4", "aac", True),
        ("ts", "aac", True),
        ("mp4", "libmp3lame", True),
        ("mkv", "pcm_s16le", False),
    ],
)
def test_sound_is_kept(suffix, codec, kept, tmp_path):
    video = draw(tmp_path / f"in.{suffix}", count=50, sound=codec)
    assert infer("--video", video, "--out", tmp_path / "out.mp4").returncode == 0

    def heard(path):
        """Codec, and samples from the moment of the first picture."""
        with av.open(str(path)) as file:
            start = next(file.decode(video=0)).time
            file.seek(0)
            frames = list(file.decode(audio=0))
            samples = np.concatenate([frame.to_ndarray().mean(0).astype(float) for frame in frames])
            first = round((frames[0].time - start) * 44100)
            return file.streams.audio[0].codec_context.codec.canonical_name, np.concatenate(
                [np.zeros(max(first, 0)), samples[max(-first, 0) :]]
            )

    def packets(path):
        with av.open(str(path)) as file:
            return [bytes(packet) for packet in file.demux(audio=0) if packet.size]

    (_, before), (name, after) = heard(video), heard(tmp_path / "out.mp4")
    assert name == ("mp3" if codec == "libmp3lame" else "aac")
    assert abs(len(after) - len(before)) < 3 * 1024
    same = slice(2048, 80000)
    scale = before[same].std() / after[same].std()
    np.testing.assert_allclose(
        scale * after[same], before[same], atol=(0.005 if kept else 0.1) * np.abs(before).max()
    )
    if kept:  # but for the headers that each packet has in .ts
        assert all(
            old.endswith(new)
            for old, new in zip(packets(video), packets(tmp_path / "out.mp4"), strict=True)
        )
    spectrum = np.abs(np.fft.rfft(after))
    assert spectrum.argmax() * 44100 / len(after) == pytest.approx(440, abs=2)


def test_max_frames_cuts_pictures_and_sound(tmp_path):
    video = draw(tmp_path / "in.mp4", count=75, sound="aac")
    assert (
        infer("--video", video, "--out", tmp_path / "out.mp4", "--max-frames", 25).returncode == 0
    )
    with av.open(str(tmp_path / "out.mp4")) as file:
        assert file.streams.video[0].frames == 25
        assert sum(frame.samples for frame in file.decode(audio=0)) / 44100 == pytest.approx(
            1, abs=0.08
        )


def test_side_by_side(tmp_path):
    video = draw(tmp_path / "in.mp4", count=4)
    assert infer("--video", video, "--out", tmp_path / "out.mp4", "--side-by-side").returncode == 0
    (source, _), (images, _) = read(video), read(tmp_path / "out.mp4")
    assert_alike(
        images,
        [np.hstack([image, overlay(image, mask)]) for image, mask in zip(source, red(source))],
        most=7,
    )


def test_stride_and_smooth_are_means_over_time(tmp_path):
    video = draw(tmp_path / "in.mp4", count=19)
    options = "--stride", 3, "--smooth", 5, "--batch-size", 2
    assert (
        infer(
            "--video", video, "--out", tmp_path / "o.mp4", "--masks-out", tmp_path / "m", *options
        ).returncode
        == 0
    )
    maps = np.array(read(video)[0])[..., 0] / 255.0
    filled = maps.copy()
    for index in range(19):  # 0, 3, ... 18 are seen by the network
        low = index // 3 * 3
        filled[index] = maps[low] + (maps[min(low + 3, 18)] - maps[low]) * (index - low) / 3
    smoothed = np.array([filled[max(index - 2, 0) : index + 3].mean(0) for index in range(19)])
    clear = np.abs(smoothed - 0.5) > 1e-5
    found = np.array(read_masks(tmp_path / "m")) > 0
    assert found.shape == smoothed.shape
    np.testing.assert_array_equal(found[clear], (smoothed >= 0.5)[clear])
    assert (found != (maps >= 0.5)).any()


def test_support_removes_regions_that_do_not_last(tmp_path):
    """The disc moves by its width in three frames. Two others blink, for one frame and for two."""
    images = list(pictures(12, 48, 64))
    for index, centre in ((4, (9, 41)), (7, (55, 41)), (8, (55, 41))):
        cv2.circle(images[index], centre, 4, (220, 60, 50), -1)
    with av.open(str(tmp_path / "in.mkv"), "w") as out:
        stream = out.add_stream("ffv1", rate=25, width=64, height=48, pix_fmt="bgr0")
        for image in images:
            out.mux(
                stream.encode(av.VideoFrame.from_ndarray(image, "rgb24").reformat(format="bgr0"))
            )
        out.mux(stream.encode(None))
    command = "--video", tmp_path / "in.mkv", "--out", tmp_path / "o.mp4"
    assert infer(*command, "--masks-out", tmp_path / "m", "--support", 3).returncode == 0
    expected = np.array(red(images))
    assert expected[4, 41, 9] and expected[7:9, 41, 55].all()
    expected[:, 36:] = 0  # the disc ends above this row
    assert expected.any(axis=(1, 2)).all()
    np.testing.assert_array_equal(np.array(read_masks(tmp_path / "m")), expected * 255)
    shown = np.array(read(tmp_path / "o.mp4")[0], float)[7:9, 36:, 48:]
    blinks = np.array(images)[7:9, 36:, 48:]
    drawn = [overlay(image, mask)[36:, 48:] for image, mask in zip(images[7:9], red(images)[7:9])]
    assert np.abs(shown - blinks).mean() < 0.5 * np.abs(shown - drawn).mean()
    assert json.loads((tmp_path / "o.json").read_text())["support"] == 3


def truncated_index_first(folder):
    path = draw(folder / "in.mp4", count=60, movflags="faststart")
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"mdat") + (len(data) - data.index(b"mdat")) // 2])
    return path


def hole_in_the_middle(folder):
    path = draw(folder / "in.mp4", count=60)
    data = bytearray(path.read_bytes())
    middle = data.index(b"mdat") + (data.index(b"moov") - data.index(b"mdat")) // 2
    data[middle : middle + 400] = bytes(400)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("spoil", [truncated_index_first, hole_in_the_middle])
def test_what_can_be_read_of_a_damaged_video_is_written_and_the_rest_is_said(spoil, tmp_path):
    result = infer("--video", spoil(tmp_path), "--out", tmp_path / "out.mp4")
    assert result.returncode == 2
    assert (
        result.stderr.startswith("infer_video.py: error: --video")
        and result.stderr.count("\n") == 1
    )
    images, _ = read(tmp_path / "out.mp4")
    assert 10 < len(images) < 60
    assert str(len(images)) in result.stderr
    assert json.loads((tmp_path / "out.json").read_text())["problem"]


def empty(path):
    path.write_bytes(b"")


def text(path):
    path.write_text("not a video\n" * 100)


def without_index(path):
    draw(path)
    path.write_bytes(path.read_bytes()[:-700])


def sound_only(path):
    with av.open(str(path), "w") as out:
        voice = out.add_stream("aac", rate=44100, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.int16), "s16", "mono")
        frame.sample_rate = 44100
        out.mux(voice.encode(frame))
        out.mux(voice.encode(None))


@pytest.mark.parametrize(
    "spoil, word",
    [
        (empty, "an empty file"),
        (text, "a video"),
        (without_index, "a video"),
        (sound_only, "no video in it"),
        (Path.mkdir, "not a file"),
        (lambda path: None, "does not exist"),
    ],
)
def test_not_a_video(spoil, word, tmp_path):
    spoil(tmp_path / "in.mp4")
    result = infer("--video", tmp_path / "in.mp4", "--out", tmp_path / "o" / "out.mp4")
    assert result.returncode == 2
    assert (
        result.stderr.startswith("infer_video.py: error: --video")
        and result.stderr.count("\n") == 1
    )
    assert word in result.stderr
    assert not (tmp_path / "o").exists()


def test_what_exists_is_kept_unless_told_otherwise(tmp_path):
    video = draw(tmp_path / "in.mp4", count=3)
    before = video.read_bytes()
    (tmp_path / "out.mp4").write_text("mine")
    (tmp_path / "m").mkdir()
    for name in ("frame_000002.png", "frame_000099.png", "other.png"):
        (tmp_path / "m" / name).write_text("mine")
    options = "--video", video, "--out", tmp_path / "out.mp4", "--masks-out", tmp_path / "m"
    result = infer(*options)
    assert result.returncode == 2 and "--overwrite" in result.stderr
    assert (tmp_path / "out.mp4").read_text() == "mine"
    for name in (video, f"file:{video}", f"file://{video}"):
        result = infer("--video", name, "--out", video, "--overwrite")
        assert result.returncode == 2 and video.read_bytes() == before
    assert infer(*options, "--overwrite").returncode == 0
    assert len(read(tmp_path / "out.mp4")[0]) == 3
    assert sorted(os.listdir(tmp_path / "m")) == [
        *(f"frame_{index:06d}.png" for index in range(3)),
        "other.png",
    ]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopping_leaves_a_playable_file(number, tmp_path):
    video = draw(tmp_path / "in.mp4", count=200, sound="aac")
    arguments = [
        "--video",
        str(video),
        "--out",
        str(tmp_path / "out.mp4"),
        "--batch-size",
        "1",
        "--masks-out",
        str(tmp_path / "m"),
    ]
    process = subprocess.Popen(
        [*COMMAND, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"STUB_SECONDS": "0.03"},
        preexec_fn=lambda: signal.signal(
            number, signal.SIG_DFL
        ),  # a test run under nohup ignores it, and so would its child
    )
    while not list(tmp_path.glob(".part-*/*5.png")):
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number and not err
    images, times = read(tmp_path / "out.mp4")
    assert (
        5 < len(images) < 200
        and f"stopped; written: {tmp_path / 'out.mp4'} ({len(images)} frames)" in out
    )
    assert len(os.listdir(tmp_path / "m")) == len(images)
    with av.open(str(tmp_path / "out.mp4")) as file:
        heard = sum(frame.samples for frame in file.decode(audio=0)) / 44100
    assert heard == pytest.approx(len(images) / 25, abs=0.1)
    assert json.loads((tmp_path / "out.json").read_text())["stopped"]
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".")]


@pytest.mark.parametrize("masks", [(), ("--masks-out", "m"), ("--masks-out", "m.mkv")])
def test_a_full_disk_leaves_nothing_broken(masks, tmp_path):
    video = draw(tmp_path / "in.mp4", count=120, size=(192, 256))
    (tmp_path / "out.mp4").write_text("from before")

    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(
            resource.RLIMIT_FSIZE, (20000 if not masks else 300 if masks[1] == "m" else 6000,) * 2
        )

    result = infer_in_new_process(
        "--video", video, "--out", "out.mp4", "--overwrite", *masks, cwd=tmp_path, preexec_fn=limit
    )
    assert result.returncode == 2, result.stderr
    argument = {(): "--out:", ("--masks-out", "m"): "--masks-out:"}.get(masks, "--")
    assert (
        result.stderr.startswith(f"infer_video.py: error: {argument}")
        and result.stderr.count("\n") == 1
    )
    assert sorted(os.listdir(tmp_path)) == ["in.mp4", "out.mp4"]
    assert (tmp_path / "out.mp4").read_text() == "from before"


def times_in(path, kind):
    """The times of the packets of a stream, in seconds, in order."""
    with av.open(str(path)) as file:
        stream = file.streams.get(**{kind: 0})[0]
        packets = [p for p in file.demux(stream) if p.pts is not None]
        return sorted(float(packet.pts * packet.time_base) for packet in packets)


@pytest.mark.parametrize("sound", [None, "aac"])
@pytest.mark.parametrize("copies", [2, 3])
def test_joined_files_are_shown_one_after_the_other(sound, copies, tmp_path):
    """As recorders join them, byte by byte: the timestamps start over."""
    part = draw(tmp_path / "part.ts", sound=sound)
    (tmp_path / "joined.ts").write_bytes(part.read_bytes() * copies)
    result = infer("--video", tmp_path / "joined.ts", "--out", tmp_path / "out.mp4")
    assert result.returncode == 0, result.stderr
    assert f"note: {copies} joined parts" in result.stdout
    assert json.loads((tmp_path / "out.json").read_text())["joined_parts"] == copies
    images, times = read(tmp_path / "out.mp4")
    assert len(images) == 20 * copies
    steps = np.diff(times)
    assert (steps > 0.03).all() and (steps < 0.13).all(), "at 25 frames/s, but for the joints"
    assert abs(times[-1] - 0.8 * copies) < 0.15
    if sound:
        heard = times_in(tmp_path / "out.mp4", "audio")
        assert len(heard) >= 0.9 * copies * len(times_in(part, "audio"))
        assert np.diff(heard).min() > 0 and abs(heard[-1] - times[-1]) < 0.2


def test_damaged_sound_is_left_out_and_the_rest_is_written(tmp_path):
    """In a transport stream, which many recorders write."""
    draw(tmp_path / "a.ts", count=30, sound="aac")
    data = (tmp_path / "a.ts").read_bytes()
    heads = [place for place in range(len(data)) if data[place : place + 2] == b"\xff\xf1"]
    damaged = bytearray(data)
    for place in heads[4:8]:  # the heads of some packets of AAC
        damaged[place : place + 6] = bytes(6)
    (tmp_path / "b.ts").write_bytes(damaged)
    result = infer("--video", tmp_path / "b.ts", "--out", tmp_path / "out.mp4")
    assert result.returncode == 2 and result.stderr.count("\n") == 1
    assert "damaged packets of its sound that are left out: " in result.stderr
    assert "written: 30 frames" in result.stderr
    assert len(read(tmp_path / "out.mp4")[0]) == 30
    left_out = int(re.search(r"left out: (\d+)", result.stderr)[1])
    heard, demuxed = (times_in(tmp_path / name, "audio") for name in ("out.mp4", "b.ts"))
    assert 1 <= left_out <= 4 and len(heard) == len(demuxed) - left_out
    assert abs(heard[-1] - 1.2) < 0.15


LONGER = {"mkv": "libx264", "flv": "flv1", "webm": "libvpx", "mov": "libx264"}


@pytest.mark.parametrize("suffix", LONGER)
def test_sound_that_is_longer_than_the_frames_is_no_damage(suffix, tmp_path):
    path = tmp_path / f"a.{suffix}"
    rate = Fraction(25)
    with av.open(str(path), "w") as out:
        stream = out.add_stream(LONGER[suffix], rate=rate, width=64, height=48, pix_fmt="yuv420p")
        codec = "libopus" if suffix == "webm" else "aac"
        voice = out.add_stream(codec, rate=48000 if suffix == "webm" else 44100, layout="mono")
        for index, image in enumerate(pictures(20, 48, 64)):
            frame = av.VideoFrame.from_ndarray(image, "rgb24")
            frame.pts, frame.time_base = index, 1 / rate
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
        for index in range(3 * voice.rate // 1000):
            piece = av.AudioFrame.from_ndarray(np.zeros((1, 1000), np.int16), "s16", "mono")
            piece.sample_rate, piece.pts = voice.rate, 1000 * index
            out.mux(voice.encode(piece))
        out.mux(voice.encode(None))
    result = infer("--video", path, "--out", tmp_path / "out.mp4")
    assert (result.returncode, result.stderr) == (0, ""), result.stderr
    assert len(read(tmp_path / "out.mp4")[0]) == 20
    facts = json.loads((tmp_path / "out.json").read_text())
    assert facts["problem"] is None and abs(facts["rate"] - 25) < 0.5


@pytest.mark.parametrize(
    "times, stated, expected",
    [
        ([0, 1, 2, 3], 1000, 1),
        ([0, Fraction(40, 1000), Fraction(80, 1000)], None, 25),
        ([0, Fraction(33, 1000), Fraction(67, 1000), Fraction(100, 1000)], 30, 30),
        ([0, Fraction(33, 1000), Fraction(67, 1000)], Fraction(30000, 1001), Fraction(30000, 1001)),
        ([0, Fraction(1, 60), Fraction(1, 30)], 90000, 60),
        ([0], 50, 50),
        ([0, 0], None, 25),
        ([], None, 25),
    ],
)
def test_the_rate_is_that_of_the_frames(times, stated, expected):
    assert rate_of([Fraction(t) for t in times], stated and Fraction(stated)) == expected


def test_a_rate_of_a_thousand_is_not_believed(tmp_path):
    """Matroska without a default duration, as browsers record it."""
    pts = [round(index * 1000 / 30) for index in range(30)]
    draw(tmp_path / "a.webm", count=30, codec="libvpx", pts=pts, rate=Fraction(1000))
    result = infer("--video", tmp_path / "a.webm", "--out", tmp_path / "out.mp4")
    assert result.returncode == 0, result.stderr
    assert abs(json.loads((tmp_path / "out.json").read_text())["rate"] - 30) < 1.5
    images, times = read(tmp_path / "out.mp4")
    np.testing.assert_allclose(times, np.array(pts) / 1000, atol=2e-3)
    with av.open(str(tmp_path / "out.mp4")) as file:
        assert 25 < float(file.streams.video[0].average_rate) < 35


@pytest.mark.parametrize("keep", [False, True])
def test_interlaced_frames_are_deinterlaced(keep, tmp_path):
    """Each frame has the lines of two moments, between which a bar has moved."""
    with av.open(str(tmp_path / "a.mp4"), "w") as out:
        options = {"x264-params": "tff=1", "crf": "4"}
        stream = out.add_stream(
            "libx264", rate=25, width=96, height=64, pix_fmt="yuv420p", options=options
        )
        for index in range(24):
            image = np.full((64, 96, 3), 30, np.uint8)
            for parity in (0, 1):
                left = 10 + 2 * (2 * index + parity)
                image[parity::2, left : left + 16] = 220
            out.mux(stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
        out.mux(stream.encode(None))
    arguments = ["--no-deinterlace"] * keep
    result = infer("--video", tmp_path / "a.mp4", "--out", tmp_path / "out.mp4", *arguments)
    assert result.returncode == 0, result.stderr
    assert ("is deinterlaced" in result.stdout) == (not keep)
    assert json.loads((tmp_path / "out.json").read_text())["deinterlaced"] == (not keep)
    images, times = read(tmp_path / "out.mp4")
    assert len(images) == 24
    np.testing.assert_allclose(times, np.arange(24) / 25, atol=1e-3)
    combs = []
    for frame in VideoReader(str(tmp_path / "a.mp4"), deinterlace=not keep):
        lines = frame.image[8:56, :, 1].astype(int)
        combs.append(np.abs(lines[1:-1] - (lines[:-2] + lines[2:]) / 2).max())
    assert len(combs) == 24
    # The lines of one moment are 190 levels from those of the other where the bar has moved.
    assert (min(combs[4:20]) > 150) if keep else (max(combs[4:20]) < 60), combs


def transport_packets(path, pictures, damage):
    """The bytes of a transport stream, without the packets of some pictures, or damaged in them."""
    data = path.read_bytes()
    packets = [data[place : place + 188] for place in range(0, len(data), 188)]
    with av.open(str(path)) as file:
        identifier = file.streams.video[0].id
    found, index = [], -1
    for packet in packets:
        if (packet[1] & 31) << 8 | packet[2] == identifier:
            index += packet[1] >> 6 & 1  # 1 where a picture begins
            if index in pictures:
                if damage == "lost":
                    continue
                packet = packet[:60] + bytes(128)
        found.append(packet)
    return b"".join(found)


@pytest.mark.parametrize("damage", [None, "lost", "zeros"])
@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("interlaced", [False, True])
def test_transport_streams_that_are_joined_interlaced_and_damaged(
    interlaced, parts, damage, tmp_path
):
    """Lost packets are told by their counters, which are not complete any more."""
    options = {"x264-params": "tff=1:bframes=0" if interlaced else "bframes=0", "crf": "4"}
    with av.open(str(tmp_path / "a.ts"), "w") as out:
        stream = out.add_stream(
            "libx264", rate=25, width=96, height=64, pix_fmt="yuv420p", options=options
        )
        for image in pictures(24, 64, 96):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
        out.mux(stream.encode(None))
    first = transport_packets(tmp_path / "a.ts", {9, 10} if damage else {}, damage)
    (tmp_path / "b.ts").write_bytes(first + (tmp_path / "a.ts").read_bytes() * (parts - 1))
    reader = VideoReader(str(tmp_path / "b.ts"))
    times = [frame.pts * reader.time_base for frame in reader]
    assert reader.interlaced == interlaced and reader.parts == parts
    lost = 2 if damage == "lost" else 0
    assert 24 * parts - lost - 2 * bool(damage) <= len(times) <= 24 * parts - lost
    assert abs(times[-1] - (24 * parts - 1) / 25) < 0.1 and min(np.diff(times)) > 0.01
    assert bool(reader.problem) == bool(damage), reader.problem
    if damage:
        assert reader.problem.startswith("damaged packets in it: ")


@pytest.mark.parametrize("sends", [b"", b"HTTP/1.1 200 OK\r\nContent-Type: video/mp4\r\n\r\n"])
def test_a_server_that_sends_nothing_ends_in_an_error(sends, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        connections = []

        def accept():
            with contextlib.suppress(OSError):
                while True:
                    connections.append(server.accept()[0])
                    connections[-1].sendall(sends)

        threading.Thread(target=accept, daemon=True).start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/a.mp4"
        result = infer_in_new_process("--video", url, "--out", tmp_path / "out.mp4", "--timeout", 1)
    assert result.returncode == 2 and result.stderr.count("\n") == 1
    assert f"--video: expected a video, got {url}" in result.stderr
    assert list(tmp_path.iterdir()) == []

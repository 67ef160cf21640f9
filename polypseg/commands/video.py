"""Draw what a trained network finds on a video: `python infer_video.py --model RUN --video FILE`;
`--help` lists the options.
"""

import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from polypseg import inference
from polypseg.console.parser import given_options
from polypseg.console.signals import Signals
from polypseg.errors import InputError, expect
from polypseg.files import write_text, writing
from polypseg.options import REQUIRED, option
from polypseg.outputs import claim
from polypseg.runtime import keep_freed_memory

from .network import NetworkOptions, load_predictor, settings


@dataclass(frozen=True, kw_only=True)
class VideoOptions(NetworkOptions):
    """Options of `infer_video.py`."""

    video: str = option(
        REQUIRED, "input", "what FFmpeg reads, or the number of a camera", "PATH", "--video-path"
    )
    max_frames: int | None = option(None, "input", "stop after N frames", "N")
    out: str | None = option(
        None,
        "output",
        "the video to write, .mp4; times go beside it as .json (default: predictions/STEM.mp4)",
        "FILE",
    )
    masks_out: str | None = option(
        None, "output", "masks too, lossless: a folder for PNGs, or an .mkv file (FFV1)", "PATH"
    )
    side_by_side: bool = option(False, "output", "the source on the left, the overlay on the right")
    overwrite: bool = option(False, "output", "replace what is there")
    smooth: int = option(
        1, "network", "average the probabilities of N frames, an odd number, around each", "N"
    )
    stride: int = option(
        1, "network", "run the network on every Nth frame and interpolate between them", "N"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("stride", "max_frames"):
            value = getattr(self, name)
            expect(value is None or value >= 1, name, "1 or more", value)
        odd = self.smooth >= 1 and self.smooth % 2 == 1
        expect(odd, "smooth", "an odd number of frames", self.smooth)
        self._check_targets()

    @property
    def target(self) -> Path:
        """The video to write."""
        name = f"camera{self.video}" if self.video.isdigit() else Path(self.video).stem or "video"
        return Path(self.out or f"predictions/{name}.mp4")

    @property
    def facts(self) -> Path:
        """The .json beside it."""
        return self.target.with_suffix(".json")

    @property
    def masks(self) -> Path | None:
        """`masks_out` as a path."""
        return Path(self.masks_out) if self.masks_out else None

    def _check_targets(self) -> None:
        expect(self.target.suffix == ".mp4", "out", "a name that ends in .mp4", self.target)
        files, masks = [("out", self.target), ("out", self.facts)], self.masks
        if masks:
            for _, path in files:
                beside = path not in (masks, *masks.parents)
                expect(beside, "masks_out", "a path beside `out`", masks)
            if masks.suffix == ".mkv":
                files.append(("masks_out", masks))
            elif os.path.isdir(masks):
                frames = sorted(masks.glob(f"frame_{'[0-9]' * 6}*.png"))
                files += [("masks_out", path) for path in frames]
                if frames and not self.overwrite:
                    raise InputError(
                        f"expected a new path (or `overwrite`), got {frames[0]}, which exists",
                        "masks_out",
                    )
            else:
                here = os.path.lexists(masks)
                expect(not here, "masks_out", "a folder, or a file that ends in .mkv", masks)
        for argument, path in files:
            expect(not os.path.isdir(path), argument, "a file", f"the folder {path}")


def parse(arguments: Sequence[str] | None = None) -> VideoOptions:
    """The checked options of a command line. Raises `InputError`."""
    description = "Draw what a trained network finds on a video."
    return VideoOptions(**given_options(VideoOptions, description, arguments))


def targets(options: VideoOptions) -> dict[str, list[Path]]:
    """What is written: argument -> paths."""
    paths = {"out": [options.target, options.facts]}
    return paths | {"masks_out": [options.masks]} if options.masks else paths


def main():
    started = time.perf_counter()
    options = parse()
    keep_freed_memory()
    source = Path(options.video.removeprefix("file:"))
    if options.masks:
        inference.check_mask_folder(options.masks, source)
    with claim(targets(options), [source], options.overwrite):
        segment(options, started)


def segment(options, started):
    """The command's work, once its outputs are its own."""
    reader = inference.VideoReader(options.video)
    predictor = load_predictor(options)
    how = settings(options, predictor)
    length = f"{reader.length} frames" if reader.length else "length unknown"
    print(
        f"{options.video}: {reader.width}x{reader.height}, {float(reader.rate):.4g} frames/s, "
        f"{length}; {predictor.engine}, threshold {how['threshold']:g}",
        flush=True,
    )

    stopped = Signals()
    result = convert(reader, predictor, options, how, stopped, started)
    report(result, options)
    if result["problem"]:
        raise InputError(
            f"{options.video}: {result['problem']}; written: {result['frames']} "
            f"frames, {options.target}",
            "video",
        )
    if result["stopped"]:
        sys.exit(128 + stopped.signal)


def convert(reader, predictor, options, how, stopped, started):
    """Write the video, its masks and its .json; return what is in that."""
    width = reader.width * (1 + options.side_by_side)
    writer = inference.VideoWriter(options.target, reader.height, width, reader, sound=True)
    writers = [writer]
    if any(writer.padded):
        print(
            "note: H.264 needs even sizes: written as "
            f"{width + writer.padded[0]}x{reader.height + writer.padded[1]}, the edge doubled"
        )
    try:
        masks = options.masks
        if masks:
            lossless = masks.suffix == ".mkv"
            writers.append(
                inference.VideoWriter(masks, reader.height, reader.width, reader)
                if lossless
                else inference.MaskFolder(masks)
            )
        times = inference.CallTimes()
        stages = inference.overlay_stages(
            reader,
            predictor,
            writers,
            how["threshold"],
            stopped=lambda: stopped.signal,
            max_frames=options.max_frames,
            batch_size=options.batch_size,
            stride=options.stride,
            width=options.smooth,
            side_by_side=options.side_by_side,
            times=times,
        )
        stages = inference.Stages(stages, depth=options.batch_size)
        total = min(filter(None, (reader.length, options.max_frames)), default=None)
        frames, first = 0, None
        began = time.perf_counter()
        with stopped, tqdm(total=total, unit=" frames", leave=False, disable=None) as bar:
            for _ in stages:
                first = first or time.perf_counter() - started
                frames += 1
                bar.update()
            if not frames:
                raise KeyboardInterrupt
            limited = frames == options.max_frames
            writer.finish(reader.rest, whole=not (stopped.signal or limited))
            for other in writers[1:]:
                other.finish()
            seconds = time.perf_counter() - began
            result = facts(reader, options, how, stopped, stages, times, frames, first, seconds)
            for each in reversed(writers):  # all is complete on the disk; now the names
                each.commit()
            write_facts(options.facts, result)
    finally:
        for each in writers:
            each.discard()
        reader.close()
    return result


def facts(reader, options, how, stopped, stages, times, frames, first, seconds):
    """What becomes the video's .json."""
    milliseconds = {name: 1e3 * spent / frames for name, spent in stages.seconds.items()}
    # Of a frame of the video, of which the network may see every Nth only.
    share = (times.images + times.first_images) / frames
    milliseconds["network"] = times.milliseconds and times.milliseconds * share
    return {
        "video": options.video,
        **how,
        "smooth": options.smooth,
        "stride": options.stride,
        "batch_size": options.batch_size,
        "width": reader.width,
        "height": reader.height,
        "rate": float(reader.rate),
        "frames": frames,
        "stopped": bool(stopped.signal),
        "problem": reader.problem,
        "seconds": round(seconds, 3),
        "seconds_to_first_frame": round(first, 3),
        "seconds_of_first_calls": round(times.first_seconds, 3),
        "frames_per_second": round(frames / seconds, 2),
        "milliseconds_per_frame": {
            name: value and round(value, 3) for name, value in milliseconds.items()
        },
    }


def write_facts(path, result):
    with writing(path, "out"):
        write_text(path, json.dumps(result, indent=2) + "\n")


def report(result, options):
    print(
        f"{result['frames']} frames in {result['seconds']:.1f} s, "
        f"{result['frames_per_second']:.1f} frames/s; {result['seconds_of_first_calls']:.1f} s of "
        "it in the first calls of the network, which build its graph"
    )
    milliseconds = result["milliseconds_per_frame"]
    each = ", ".join(f"{name} {value:.1f}" for name, value in milliseconds.items() if value)
    print(f"milliseconds a frame, without these calls: {each}")
    print(
        f"{'stopped; ' if result['stopped'] else ''}written: {options.target} ({result['frames']} "
        "frames)"
    )

"""Segment a video with a trained network: `python infer_video.py --model RUN --video FILE`;
`--help` lists the options.
"""

import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from polypseg import inference
from polypseg.console.parser import given_options
from polypseg.console.run import say
from polypseg.console.signals import Signals
from polypseg.errors import InputError, expect
from polypseg.files import write_text, writing
from polypseg.options import REQUIRED, option
from polypseg.outputs import claim
from polypseg.runtime import keep_freed_memory

from .network import NetworkOptions, load_predictor, settings

if TYPE_CHECKING:
    from polypseg.inference import CallTimes, Predictor, Stages, VideoReader
    from polypseg.inference.video_writer import FrameWriter


@dataclass(frozen=True, kw_only=True)
class VideoOptions(NetworkOptions):
    """Options of `infer_video.py`."""

    video: str = option(
        REQUIRED,
        "input",
        "video file or address (any format of FFmpeg), or the number of a camera",
        "PATH",
        "--video-path",
    )
    max_frames: int | None = option(None, "input", "stop after N frames", "N")
    out: str | None = option(
        None,
        "output",
        "video to write, .mp4; a .json file beside it reports settings and times (default: "
        "predictions/NAME.mp4)",
        "FILE",
    )
    masks_out: str | None = option(
        None,
        "output",
        "also write the masks, lossless: a folder for PNG files, or an .mkv file (FFV1)",
        "PATH",
    )
    side_by_side: bool = option(
        False, "output", "show the source on the left and the overlay on the right"
    )
    overwrite: bool = option(False, "output", "replace existing files")
    timeout: float = option(
        10.0, "input", "wait so long for a camera or a server that sends nothing", "SECONDS"
    )
    no_deinterlace: bool = option(
        False, "output", "keep the lines of interlaced frames as they are"
    )
    smooth: int = option(
        1,
        "network",
        "average the probabilities over the N frames around each frame; an odd number",
        "N",
    )
    support: int = option(
        1,
        "network",
        "keep a region of the mask only if it continues for N frames in a row",
        "N",
    )
    stride: int = option(
        1,
        "network",
        "run the network on every Nth frame, and interpolate the probabilities of the others",
        "N",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("stride", "support", "max_frames"):
            value = getattr(self, name)
            expect(value is None or value >= 1, name, "1 or more", value)
        expect(0 < self.timeout < 1e6, "timeout", "seconds above 0", self.timeout)
        odd = self.smooth >= 1 and self.smooth % 2 == 1
        expect(odd, "smooth", "an odd number of frames", self.smooth)
        self._check_targets()

    @property
    def target(self) -> Path:
        """The video to write."""
        name = f"camera{self.video}" if self.video.isdigit() else Path(self.video).stem or "video"
        return Path(self.out or f"predictions/{name}.mp4")

    @property
    def facts_file(self) -> Path:
        """The .json file beside the video."""
        return self.target.with_suffix(".json")

    @property
    def masks(self) -> Path | None:
        """`masks_out` as a path."""
        return Path(self.masks_out) if self.masks_out else None

    def _check_targets(self) -> None:
        expect(self.target.suffix == ".mp4", "out", "a name that ends in .mp4", self.target)
        files, masks = [("out", self.target), ("out", self.facts_file)], self.masks
        if masks:
            for _, path in files:
                outside = path not in (masks, *masks.parents)
                expect(outside, "masks_out", "a path other than `out` and its .json", masks)
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
    description = "Segment a video with a trained network, and draw the masks on its frames."
    return VideoOptions(**given_options(VideoOptions, description, arguments))


def targets(options: VideoOptions) -> dict[str, list[Path]]:
    """The files to write: argument -> paths."""
    paths = {"out": [options.target, options.facts_file]}
    return paths | {"masks_out": [options.masks]} if options.masks else paths


def main() -> None:
    started = time.perf_counter()
    options = parse()
    keep_freed_memory()
    source = Path(options.video.removeprefix("file:"))
    if options.masks:
        inference.check_mask_folder(options.masks, source)
    with claim(targets(options), [source], options.overwrite):
        draw_on_video(options, started)


def draw_on_video(options: VideoOptions, started: float) -> None:
    """Do the command's work, once no other process can write to its outputs."""
    reader = inference.VideoReader(
        options.video, deinterlace=not options.no_deinterlace, timeout=options.timeout
    )
    predictor = load_predictor(options)
    network = settings(options, predictor)
    length = f"{reader.length} frames" if reader.length else "length unknown"
    say(
        f"{options.video}: {reader.width}x{reader.height}, {float(reader.rate):.4g} frames/s, "
        f"{length}; {predictor.engine}, threshold {network['threshold']:g}"
    )

    if reader.interlaced and not options.no_deinterlace:
        say("note: the video is interlaced, and is deinterlaced by FFmpeg's bwdif")
    stopped = Signals()
    result = write_video(reader, predictor, options, network, stopped, started)
    print_summary(result, options)
    if result["problem"]:
        raise InputError(
            f"{options.video}: {result['problem']}; written: {result['frames']} "
            f"frames, {options.target}",
            "video",
        )
    if result["stopped"]:
        sys.exit(128 + stopped.signal)


def write_video(
    reader: "VideoReader",
    predictor: "Predictor",
    options: VideoOptions,
    network: dict[str, Any],
    stopped: Signals,
    started: float,
) -> dict[str, Any]:
    """Write the video, its masks and its .json file; return what the .json file says."""
    width = reader.width * (1 + options.side_by_side)
    writer = inference.VideoWriter(options.target, reader.height, width, reader, sound=True)
    writers: list[FrameWriter] = [writer]
    if any(writer.padded):
        say(
            "note: H.264 needs even sizes: the video has "
            f"{width + writer.padded[0]}x{reader.height + writer.padded[1]} pixels; the last row "
            "or column is repeated"
        )
    try:
        if options.masks:
            writers.append(mask_writer(options.masks, reader))
        times = inference.CallTimes()
        stages = inference.Stages(
            inference.overlay_stages(
                reader,
                predictor,
                writers,
                network["threshold"],
                stopped=lambda: stopped.signal,
                max_frames=options.max_frames,
                batch_size=options.batch_size,
                stride=options.stride,
                width=options.smooth,
                support=options.support,
                side_by_side=options.side_by_side,
                times=times,
            ),
            depth=options.batch_size,
        )
        total = min(filter(None, (reader.length, options.max_frames)), default=None)
        frames, first = 0, 0.0
        began = time.perf_counter()
        with stopped, tqdm(total=total, unit=" frames", leave=False, disable=None) as bar:
            for _ in stages:
                first = first or time.perf_counter() - started
                frames += 1
                bar.update()
            if not frames:
                raise KeyboardInterrupt
            limited = frames == options.max_frames
            writer.finish(reader.rest, complete=not (stopped.signal or limited))
            for other in writers[1:]:
                other.finish()
            timing = {
                "seconds": round(time.perf_counter() - began, 3),
                "seconds_to_first_frame": round(first, 3),
                **speed(stages, times, frames, time.perf_counter() - began),
            }
            result = facts(reader, options, network, frames, bool(stopped.signal)) | timing
            if writer.damaged_sound:
                sound = f"damaged packets of its sound that are left out: {writer.damaged_sound}"
                result["problem"] = "; ".join(filter(None, (result["problem"], sound)))
            # All files are complete, so they get their names now.
            for each in reversed(writers):
                each.commit()
            write_facts(options.facts_file, result)
    finally:
        for each in writers:
            each.discard()
        reader.close()
    return result


def mask_writer(masks: Path, reader: "VideoReader") -> "FrameWriter":
    """The writer of the masks: to an .mkv file, or to a folder of PNG files."""
    if masks.suffix == ".mkv":
        return inference.VideoWriter(masks, reader.height, reader.width, reader)
    return inference.MaskFolder(masks)


def facts(
    reader: "VideoReader",
    options: VideoOptions,
    network: dict[str, Any],
    frames: int,
    stopped: bool,
) -> dict[str, Any]:
    """What the .json file says about the video, apart from times."""
    return {
        "video": options.video,
        **network,
        "smooth": options.smooth,
        "support": options.support,
        "stride": options.stride,
        "batch_size": options.batch_size,
        "width": reader.width,
        "height": reader.height,
        "rate": float(reader.rate),
        "deinterlaced": reader.interlaced and not options.no_deinterlace,
        "joined_parts": reader.parts,
        "frames": frames,
        "stopped": stopped,
        "problem": reader.problem,
    }


def speed(stages: "Stages", times: "CallTimes", frames: int, seconds: float) -> dict[str, Any]:
    """What the .json file says about speed. The first calls of the network, which build its graph,
    are not counted in its milliseconds, which are None if there were no other calls.
    """
    milliseconds: dict[str, float | None] = {
        name: round(1e3 * seconds_of_stage / frames, 3)
        for name, seconds_of_stage in stages.seconds.items()
    }
    # The network may run on every Nth frame only; this is its time per frame of the video.
    share = (times.images + times.first_images) / frames
    each = times.milliseconds
    milliseconds["network"] = None if each is None else round(each * share, 3)
    return {
        "seconds_of_first_calls": round(times.first_seconds, 3),
        "frames_per_second": round(frames / seconds, 2),
        "milliseconds_per_frame": milliseconds,
    }


def write_facts(path: Path, result: dict[str, Any]) -> None:
    with writing(path, "out"):
        write_text(path, json.dumps(result, indent=2) + "\n")


def print_summary(result: dict[str, Any], options: VideoOptions) -> None:
    say(
        f"{result['frames']} frames in {result['seconds']:.1f} s, "
        f"{result['frames_per_second']:.1f} frames/s; the first calls of the network, which build "
        f"its graph, took {result['seconds_of_first_calls']:.1f} s"
    )
    milliseconds = result["milliseconds_per_frame"]
    each = ", ".join(f"{name} {value:.1f}" for name, value in milliseconds.items() if value)
    say(f"milliseconds per frame, without these calls: {each}")
    if result["joined_parts"] > 1:
        say(f"note: {result['joined_parts']} joined parts, shown one after the other")
    stopped = "stopped; " if result["stopped"] else ""
    say(f"{stopped}written: {options.target} ({result['frames']} frames)")

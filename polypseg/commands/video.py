"""Draw what a trained network finds on a video: `python infer_video.py --model RUN --video FILE`;
`--help` lists the options.
"""

import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from polypseg.console.parser import Parser
from polypseg.console.signals import Signals
from polypseg.errors import InputError, expect
from polypseg.files import write_text, writing
from polypseg.outputs import claim


@dataclass
class Defaults:
    batch_size: int = 8
    smooth: int = 1
    stride: int = 1


def parse(arguments=None):
    parser = Parser("Draw what a trained network finds on a video.", Defaults())
    group = parser.group("input")
    group(
        "--model",
        "--model-path",
        metavar="PATH",
        required=True,
        help="run folder, .keras file, or what export.py wrote",
    )
    group(
        "--video",
        "--video-path",
        metavar="PATH",
        required=True,
        help="what FFmpeg reads, or the number of a camera",
    )
    group("--max-frames", type=int, metavar="N", help="stop after N frames")
    group = parser.group("output")
    group(
        "--out",
        metavar="FILE",
        help="the video to write, .mp4; times go beside it as .json (default: "
        "predictions/STEM.mp4)",
    )
    group(
        "--masks-out",
        metavar="PATH",
        help="masks too, lossless: a folder for PNGs, or an .mkv file (FFV1)",
    )
    group(
        "--side-by-side",
        action="store_true",
        help="the source on the left, the overlay on the right",
    )
    group("--overwrite", action="store_true", help="replace what is there")
    group = parser.group("network")
    group(
        "--input-size",
        "--inputsize",
        type=int,
        metavar="PX",
        help="height and width at which the network runs (default: the run's)",
    )
    group(
        "--threshold",
        type=float,
        metavar="T",
        help="a pixel is foreground where its probability is at least T (default: the model's)",
    )
    group(
        "--smooth",
        type=int,
        metavar="N",
        help="average the probabilities of N frames, an odd number, around each",
    )
    group(
        "--stride",
        type=int,
        metavar="N",
        help="run the network on every Nth frame and interpolate between them",
    )
    group("--batch-size", "--batchsize", type=int, metavar="N", help="frames a call of the network")
    given = parser.parse(arguments)
    options = (
        vars(Defaults())
        | {
            "masks_out": None,
            "side_by_side": False,
            "overwrite": False,
            "max_frames": None,
            "threshold": None,
            "input_size": None,
        }
        | given
    )
    video = options["video"]
    name = f"camera{video}" if video.isdigit() else Path(video).stem or "video"
    options["out"] = Path(options.get("out", f"predictions/{name}.mp4"))
    check(options)
    return options


def check(options):
    """Raise `InputError` for the first mistake that can be seen without the model and the video."""
    threshold, out, masks = options["threshold"], options["out"], options["masks_out"]
    expect(
        threshold is None or 0 <= threshold <= 1,
        "threshold",
        "a probability from 0 to 1",
        threshold,
    )
    for name in ("batch_size", "stride", "max_frames"):
        value = options[name]
        expect(value is None or value >= 1, name, "1 or more", value)
    smooth = options["smooth"]
    expect(smooth >= 1 and smooth % 2 == 1, "smooth", "an odd number of frames", smooth)
    expect(out.suffix == ".mp4", "out", "a name that ends in .mp4", out)
    files = [("out", out), ("out", out.with_suffix(".json"))]
    if masks is not None:
        masks = options["masks_out"] = Path(masks)
        for _, path in files:
            expect(path not in (masks, *masks.parents), "masks_out", "a path beside --out", masks)
        if masks.suffix == ".mkv":
            files.append(("masks_out", masks))
        elif os.path.isdir(masks):
            frames = sorted(masks.glob(f"frame_{'[0-9]' * 6}*.png"))
            files += [("masks_out", path) for path in frames]
            if frames and not options["overwrite"]:
                raise InputError(
                    f"expected a new path (or --overwrite), got {frames[0]}, which exists",
                    "masks_out",
                )
        else:
            here = os.path.lexists(masks)
            expect(not here, "masks_out", "a folder, or a file that ends in .mkv", masks)
    for argument, path in files:
        expect(not os.path.isdir(path), argument, "a file", f"the folder {path}")


def targets(options):
    """What is written: argument -> paths."""
    out, masks = options["out"], options["masks_out"]
    paths = {"out": [out, out.with_suffix(".json")]}
    return paths if masks is None else paths | {"masks_out": [masks]}


def main():
    started = time.perf_counter()
    options = parse()

    from polypseg.data.pairs import refuse_data_set  # heavy, with what follows: after the arguments

    source, masks = Path(options["video"].removeprefix("file:")), options["masks_out"]
    if masks is not None:
        refuse_data_set(masks, "masks_out")
        # FFmpeg reads images, and patterns of their names, as a video.
        own = os.path.realpath(source.parent) == os.path.realpath(masks)
        if own and source.name.startswith("frame_"):
            raise InputError(
                f"expected other files than are read, got {masks}, the folder of {source}",
                "masks_out",
            )
    with claim(targets(options), [source], options["overwrite"]):
        segment(options, started)


def segment(options, started):
    """The command's work, once its outputs are its own."""
    from polypseg.inference.video import VideoReader

    reader = VideoReader(options["video"])

    from polypseg.inference.advice import export_advice
    from polypseg.inference.predictor import Predictor

    predictor = Predictor.load(options["model"], options["input_size"])
    if options["threshold"] is None:
        options["threshold"] = predictor.threshold
    advice = export_advice(options["model"], predictor)
    if advice:
        print(advice, flush=True)
    length = f"{reader.length} frames" if reader.length else "length unknown"
    print(
        f"{options['video']}: {reader.width}x{reader.height}, {float(reader.rate):.4g} frames/s, "
        f"{length}; {predictor.engine}, threshold {options['threshold']:g}",
        flush=True,
    )

    stopped = Signals()
    result = convert(reader, predictor, options, stopped, started)
    report(result, options)
    if result["problem"]:
        raise InputError(
            f"{options['video']}: {result['problem']}; written: {result['frames']} "
            f"frames, {options['out']}",
            "video",
        )
    if result["stopped"]:
        sys.exit(128 + stopped.signal)


def convert(reader, predictor, options, stopped, started):
    """Write the video, its masks and its .json; return what is in that."""
    from tqdm import tqdm

    from polypseg.inference.stages import Stages
    from polypseg.inference.video_stages import video_stages
    from polypseg.inference.video_writer import MaskFolder, VideoWriter

    width = reader.width * (1 + options["side_by_side"])
    writer = VideoWriter(options["out"], reader.height, width, reader, sound=True)
    writers = [writer]
    if any(writer.padded):
        print(
            "note: H.264 needs even sizes: written as "
            f"{width + writer.padded[0]}x{reader.height + writer.padded[1]}, the edge doubled"
        )
    try:
        masks = options["masks_out"]
        if masks is not None:
            lossless = masks.suffix == ".mkv"
            writers.append(
                VideoWriter(masks, reader.height, reader.width, reader)
                if lossless
                else MaskFolder(masks)
            )
        stages = video_stages(
            reader,
            predictor,
            writers,
            options["threshold"],
            stopped=lambda: stopped.signal,
            max_frames=options["max_frames"],
            batch_size=options["batch_size"],
            stride=options["stride"],
            width=options["smooth"],
            side_by_side=options["side_by_side"],
        )
        stages = Stages(stages, depth=options["batch_size"])
        total = min(filter(None, (reader.length, options["max_frames"])), default=None)
        frames, first = 0, None
        began = time.perf_counter()
        with stopped, tqdm(total=total, unit=" frames", leave=False, disable=None) as bar:
            for _ in stages:
                first = first or time.perf_counter() - started
                frames += 1
                bar.update()
            if not frames:
                raise KeyboardInterrupt
            limited = frames == options["max_frames"]
            writer.finish(reader.rest, whole=not (stopped.signal or limited))
            for other in writers[1:]:
                other.finish()
            seconds = time.perf_counter() - began
            result = facts(reader, predictor, options, stopped, stages, frames, first, seconds)
            for each in reversed(writers):  # all is complete on the disk; now the names
                each.commit()
            write_facts(options["out"].with_suffix(".json"), result)
    finally:
        for each in writers:
            each.discard()
        reader.close()
    return result


def facts(reader, predictor, options, stopped, stages, frames, first, seconds):
    """What becomes the video's .json."""
    return {
        "video": options["video"],
        "model": options["model"],
        "engine": predictor.engine,
        "input_size": predictor.input_size,
        "threshold": options["threshold"],
        "smooth": options["smooth"],
        "stride": options["stride"],
        "batch_size": options["batch_size"],
        "width": reader.width,
        "height": reader.height,
        "rate": float(reader.rate),
        "frames": frames,
        "stopped": bool(stopped.signal),
        "problem": reader.problem,
        "seconds": round(seconds, 3),
        "seconds_to_first_frame": round(first, 3),
        "frames_per_second": round(frames / seconds, 2),
        "milliseconds_per_frame": {
            name: round(1e3 * spent / frames, 3) for name, spent in stages.seconds.items()
        },
    }


def write_facts(path, result):
    with writing(path, "out"):
        write_text(path, json.dumps(result, indent=2) + "\n")


def report(result, options):
    milliseconds = result["milliseconds_per_frame"]
    each = ", ".join(f"{name} {value:.1f}" for name, value in milliseconds.items())
    alone = 1e3 / max(milliseconds["network"], 1e-6)
    print(
        f"milliseconds a frame: {each}; {result['frames_per_second']:.1f} frames/s, {alone:.1f} by "
        "the network alone"
    )
    print(
        f"{'stopped; ' if result['stopped'] else ''}written: {options['out']} ({result['frames']} "
        "frames)"
    )

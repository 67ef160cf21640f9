"""Segment pictures with a trained network: `python infer_image.py --model RUN --image PATH`;
`--help` lists the options.
"""

import glob
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from polypseg.console.parser import Parser
from polypseg.console.run import warn
from polypseg.errors import InputError, expect


@dataclass
class Defaults:
    out: str = "predictions"
    batch_size: int = 8


def parse(arguments=None):
    parser = Parser("Segment pictures with a trained network.", Defaults())
    group = parser.group("input")
    group(
        "--model",
        "--model-path",
        metavar="PATH",
        required=True,
        help="run folder, .keras file, or what export.py wrote",
    )
    group(
        "--image",
        "--image-path",
        metavar="PATH",
        required=True,
        nargs="+",
        help="pictures, folders or patterns ('a/**/*.jpg')",
    )
    group = parser.group("output")
    group("--out", metavar="DIR", help="gets masks/, overlays/ and regions.csv")
    group(
        "--panel",
        action="store_true",
        help="panels/ too: picture, overlay, mask and all maps of the network on one page",
    )
    group(
        "--probability", action="store_true", help="probabilities/ too: 16-bit PNG, value / 65535"
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
        "--batch-size", "--batchsize", type=int, metavar="N", help="pictures a call of the network"
    )
    given = parser.parse(arguments)
    options = (
        vars(Defaults())
        | {
            "panel": False,
            "probability": False,
            "overwrite": False,
            "threshold": None,
            "input_size": None,
        }
        | given
    )
    threshold = options["threshold"]
    expect(
        threshold is None or 0 <= threshold <= 1,
        "--threshold",
        "a probability from 0 to 1",
        threshold,
    )
    expect(options["batch_size"] >= 1, "--batch-size", "1 or more", options["batch_size"])
    options["out"] = Path(options["out"])
    expect(
        not options["out"].exists() or options["out"].is_dir(),
        "--out",
        "a folder",
        f"the file {options['out']}",
    )
    return options


def find_images(arguments):
    """The files that paths, folders and patterns name, each once. Raises `InputError`."""
    from polypseg.data.images import IMAGE_SUFFIXES

    found = {}
    for argument in arguments:
        if os.path.isfile(argument):
            paths = [argument]
        else:
            pattern = (
                os.path.join(glob.escape(argument), "*") if os.path.isdir(argument) else argument
            )
            paths = sorted(
                path
                for path in glob.glob(pattern, recursive=True)
                if path.lower().endswith(IMAGE_SUFFIXES) and os.path.isfile(path)
            )
            if not paths:
                kind = (
                    "a folder with"
                    if os.path.isdir(argument)
                    else "a file, a folder or a pattern of"
                )
                raise InputError(
                    f"--image: expected {kind} pictures ({' '.join(IMAGE_SUFFIXES)}), got "
                    f"{argument}"
                )
        found |= {os.path.abspath(path): Path(path) for path in paths}
    return list(found.values())


def output_names(paths):
    """A name for each picture's files: its path below the folder that all share, without suffix;
    with it where two would be one.
    """
    full = [Path(os.path.abspath(path)) for path in paths]
    root = os.path.commonpath([path.parent for path in full])
    names = [path.relative_to(root) for path in full]
    bare = [str(name.with_suffix("")).casefold() for name in names]
    return [
        name.with_name(name.name.replace(".", "_")) if bare.count(key) > 1 else name.with_suffix("")
        for name, key in zip(names, bare)
    ]


def targets(out, name, options):
    """What is written for one picture: kind -> path."""
    kinds = (
        ["masks", "overlays"]
        + ["panels"] * options["panel"]
        + ["probabilities"] * options["probability"]
    )
    return {kind: out / kind / f"{name}.png" for kind in kinds}


class Job(NamedTuple):
    """A picture on its way: file, what to write, pixels, and the maps `(H, W, S)` and milliseconds
    that it took.
    """

    path: Path
    targets: dict
    image: object
    maps: object = None
    milliseconds: float = 0.0


def main():
    options = parse()
    paths = find_images(options["image"])
    out = options["out"]
    jobs = [
        Job(path, targets(out, name, options), None)
        for path, name in zip(paths, output_names(paths))
    ]
    table = out / "regions.csv"
    taken = [
        path
        for path in (table, *(path for job in jobs for path in job.targets.values()))
        if path.exists()
    ]
    if taken and not options["overwrite"]:
        more = f" (and {len(taken) - 1} more)" if len(taken) > 1 else ""
        raise InputError(
            f"--out: expected new files (or --overwrite), got {taken[0]}, which exists{more}"
        )

    from polypseg.inference.advice import export_advice  # heavy: after the arguments
    from polypseg.inference.predictor import Predictor

    predictor = Predictor.load(options["model"], options["input_size"])
    if options["threshold"] is None:
        options["threshold"] = predictor.threshold
    advice = export_advice(options["model"], predictor)
    if advice:
        print(advice, flush=True)

    rows, problems = segment(jobs, predictor, options)
    if rows:
        write_table(table, rows)
        print(
            f"written: {len(rows)} picture{'s' * (len(rows) > 1)} in {out}/ "
            f"({', '.join(jobs[0].targets)}), {table}"
        )
    for problem in problems:
        warn(f"error: --image: {problem}")
    if problems:
        sys.exit(2)


def segment(jobs, predictor, options):
    """Run the network over the pictures; return a row for each and what was wrong with the
    others.
    """
    from concurrent.futures import ThreadPoolExecutor
    from itertools import islice

    import numpy as np
    from tqdm import tqdm

    from polypseg.data.images import read_image
    from polypseg.inference.stages import Stages

    size, problems = options["batch_size"], []
    maps = predictor.all_maps if options["panel"] and len(predictor.maps) > 1 else predictor

    def read(job):
        try:
            return job._replace(image=read_image(job.path))
        except (ValueError, OSError) as error:
            text = (
                str(error)
                if isinstance(error, ValueError)
                else f"{job.path}: expected a readable file ({error.strerror})"
            )
            problems.append(text)

    def reading():
        remaining = iter(jobs)
        while batch := list(islice(remaining, size)):
            yield [job for job in pool.map(read, batch) if job]

    def network(batches):
        for batch in (part for whole in batches for part in portions(whole)):
            images = [job.image for job in batch]
            if (
                len(batch) not in warm
            ):  # the first call with so many pictures may compile: not to be counted
                warm.add(len(batch))
                maps([np.zeros((1, 1, 3), np.uint8)] * len(batch))
            started = time.perf_counter()
            found = maps(images)
            milliseconds = 1e3 * (time.perf_counter() - started) / len(batch)
            yield [
                job._replace(maps=np.atleast_3d(probability), milliseconds=milliseconds)
                for job, probability in zip(batch, found)
            ]

    def writing(batches):
        for batch in batches:
            yield list(pool.map(lambda job: write(job, predictor, options["threshold"]), batch))

    rows, warm = [], set()
    with (
        ThreadPoolExecutor() as pool,
        tqdm(total=len(jobs), unit=" pictures", leave=False, disable=None) as bar,
    ):
        for batch in Stages({"reading": reading, "network": network, "writing": writing}, depth=1):
            rows += batch
            bar.update(len(rows) + len(problems) - bar.n)
    return rows, problems


def portions(jobs, most=2**24):
    """Split a batch where its maps would need too much memory: above `most` pixels."""
    part, pixels = [], 0
    for job in jobs:
        more = job.image.shape[0] * job.image.shape[1]
        if part and pixels + more > most:
            yield part
            part, pixels = [], 0
        part.append(job)
        pixels += more
    if part:
        yield part


def write(job, predictor, threshold):
    """Write one picture's files; return its row of the table."""
    import numpy as np

    from polypseg.data.images import write_png
    from polypseg.drawing.overlay import overlay
    from polypseg.drawing.panel import panel
    from polypseg.inference.regions import find_regions

    probability = job.maps[..., -1]
    mask = (probability >= threshold).astype(np.uint8)
    regions = find_regions(probability, threshold)
    height, width = mask.shape
    fraction = regions.area / mask.size
    confidence = f"{regions.confidence:.4f}" if regions.area else ""

    def page():
        count = len(regions.boxes)
        facts = (
            f"{width} x {height} pixels   ·   {predictor.engine}, {job.milliseconds:.1f} ms   ·   "
        )
        facts += f"{count} region{'s' * (count != 1)}, {100 * fraction:.1f} % of the picture"
        facts += f", mean probability {confidence}" if confidence else ""
        return panel(job.image, job.maps, predictor.maps, threshold, job.path.name, facts)

    pictures = {
        "masks": lambda: mask * np.uint8(255),
        "overlays": lambda: overlay(job.image, mask),
        "probabilities": lambda: np.rint(probability * 65535.0).astype(np.uint16),
        "panels": page,
    }
    for kind, path in job.targets.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_png(path, pictures[kind]())
        except OSError as error:
            raise InputError(
                f"--out: expected a writable folder with room on the disk, got {path} "
                f"({error.strerror})"
            ) from error
    return {
        "file": job.path,
        "width": width,
        "height": height,
        "area": regions.area,
        "area_fraction": f"{fraction:.6f}",
        "regions": len(regions.boxes),
        "boxes": "; ".join(" ".join(map(str, box)) for box in regions.boxes),
        "confidence": confidence,
        "milliseconds": f"{job.milliseconds:.2f}",
    }


def write_table(path, rows):
    import csv
    import io

    from polypseg.files import write_text

    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    try:
        write_text(path, text.getvalue())
    except OSError as error:
        raise InputError(
            f"--out: expected a writable folder with room on the disk, got {path} "
            f"({error.strerror})"
        ) from error

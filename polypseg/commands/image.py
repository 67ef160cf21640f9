"""Segment pictures with a trained network: `python infer_image.py --model RUN --image PATH`;
`--help` lists the options.
"""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from polypseg.console.parser import Parser
from polypseg.console.run import warn
from polypseg.errors import InputError, expect
from polypseg.outputs import claim


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
    group(
        "--out",
        metavar="DIR",
        help="gets masks/, overlays/ and regions.csv; images done there before are not done again",
    )
    group(
        "--panel",
        action="store_true",
        help="panels/ too: picture, overlay, mask and all maps of the network on one page",
    )
    group(
        "--probability", action="store_true", help="probabilities/ too: 16-bit PNG, value / 65535"
    )
    group("--overwrite", action="store_true", help="do all images anew, and replace what is there")
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
        "threshold",
        "a probability from 0 to 1",
        threshold,
    )
    expect(options["batch_size"] >= 1, "batch_size", "1 or more", options["batch_size"])
    options["out"] = Path(options["out"])
    expect(
        not os.path.exists(options["out"]) or os.path.isdir(options["out"]),
        "out",
        "a folder",
        f"the file {options['out']}",
    )
    return options


def targets(out, name, options):
    """What is written for one picture: kind -> path."""
    kinds = (
        ["masks", "overlays"]
        + ["panels"] * options["panel"]
        + ["probabilities"] * options["probability"]
    )
    return {kind: out / kind / f"{name}.png" for kind in kinds}


def main():
    options = parse()

    from polypseg.data.pairs import refuse_data_set  # heavy, with what follows: after the arguments
    from polypseg.inference.images import Job, find_images, output_names
    from polypseg.inference.record import SETTINGS, TABLE

    paths = find_images(options["image"])
    out = options["out"]
    jobs = [
        Job(path, targets(out, name, options), None)
        for path, name in zip(paths, output_names(paths))
    ]
    outputs = [out / TABLE, *(path for job in jobs for path in job.targets.values())]
    refuse_data_set(out, "out")
    with claim({"out": outputs}, paths, overwrite=True, folder=out):
        taken = [path for path in outputs if os.path.lexists(path)]
        if taken and not options["overwrite"] and not os.path.exists(out / SETTINGS):
            more = f" (and {len(taken) - 1} more)" if len(taken) > 1 else ""
            raise InputError(
                f"expected new files (or --overwrite), got {taken[0]}, which exists{more}", "out"
            )
        segment_images(jobs, options)


def segment_images(jobs, options):
    """The command's work, once the output folder is its own."""
    from tqdm import tqdm

    from polypseg import __version__
    from polypseg.inference.advice import export_advice
    from polypseg.inference.images import segment
    from polypseg.inference.predictor import Predictor
    from polypseg.inference.record import TABLE, Record

    model, out = options["model"], options["out"]
    predictor = Predictor.load(model, options["input_size"])
    if options["threshold"] is None:
        options["threshold"] = predictor.threshold
    advice = export_advice(model, predictor)
    if advice:
        print(advice, flush=True)
    settings = {
        "model": model,
        "digest": predictor.digest,
        "engine": predictor.engine,
        "input_size": predictor.input_size,
        "threshold": options["threshold"],
        "polypseg": __version__,
    }
    record = Record(out, settings, anew=options["overwrite"])
    left = record.missing(jobs)
    written, problems = 0, []
    choices = (options["threshold"], problems, options["batch_size"], options["panel"])
    with tqdm(total=len(left), unit=" images", leave=False, disable=None) as bar:
        for rows in segment(left, predictor, *choices):
            record.add(rows)
            written += len(rows)
            bar.update(written + len(problems) - bar.n)
    record.finish(jobs)
    if written or not problems:
        before = len(jobs) - len(left)
        print(
            f"written: {written} image{'s' * (written != 1)} in {out}/ "
            f"({', '.join(jobs[0].targets)}), {out / TABLE}"
            + (f"; {before} done before" if before else "")
        )
    for problem in problems:
        warn(f"error: --image: {problem}")
    if problems:
        sys.exit(2)

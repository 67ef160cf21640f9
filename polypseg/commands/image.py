"""Segment pictures with a trained network: `python infer_image.py --model RUN --image PATH`;
`--help` lists the options.
"""

import csv
import io
import sys
from dataclasses import dataclass
from pathlib import Path

from polypseg.console.parser import Parser
from polypseg.console.run import warn
from polypseg.errors import InputError, expect
from polypseg.files import refuse_inputs, write_text, writing


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
        "threshold",
        "a probability from 0 to 1",
        threshold,
    )
    expect(options["batch_size"] >= 1, "batch_size", "1 or more", options["batch_size"])
    options["out"] = Path(options["out"])
    expect(
        not options["out"].exists() or options["out"].is_dir(),
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

    from tqdm import tqdm  # heavy, with what follows: after the arguments

    from polypseg.data.pairs import IMAGE_FOLDERS
    from polypseg.inference.advice import export_advice
    from polypseg.inference.images import Job, find_images, output_names, segment
    from polypseg.inference.predictor import Predictor

    paths = find_images(options["image"])
    out = options["out"]
    jobs = [
        Job(path, targets(out, name, options), None)
        for path, name in zip(paths, output_names(paths))
    ]
    table = out / "regions.csv"
    outputs = [table, *(path for job in jobs for path in job.targets.values())]
    refuse_inputs(outputs, paths, "out")
    own = next((name for name in IMAGE_FOLDERS if (out / name).is_dir()), None)
    expect(own is None, "out", "another folder than a data set's own", f"{out}, which holds {own}/")
    taken = [path for path in outputs if path.exists()]
    if taken and not options["overwrite"]:
        more = f" (and {len(taken) - 1} more)" if len(taken) > 1 else ""
        raise InputError(
            f"expected new files (or --overwrite), got {taken[0]}, which exists{more}", "out"
        )

    predictor = Predictor.load(options["model"], options["input_size"])
    if options["threshold"] is None:
        options["threshold"] = predictor.threshold
    advice = export_advice(options["model"], predictor)
    if advice:
        print(advice, flush=True)

    rows, problems = [], []
    settings = (options["threshold"], problems, options["batch_size"], options["panel"])
    with tqdm(total=len(jobs), unit=" pictures", leave=False, disable=None) as bar:
        for batch in segment(jobs, predictor, *settings):
            rows += batch
            bar.update(len(rows) + len(problems) - bar.n)
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


def write_table(path, rows):
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    with writing(path, "out"):
        write_text(path, text.getvalue())

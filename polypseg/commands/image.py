"""Segment images with a trained network: `python infer_image.py --model RUN --image PATH`;
`--help` lists the options.
"""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from polypseg import __version__, inference
from polypseg.console.parser import given_options
from polypseg.console.run import say, warn, with_options
from polypseg.errors import InputError, expect
from polypseg.inference.record import SETTINGS, TABLE, Record
from polypseg.options import REQUIRED, option
from polypseg.outputs import claim
from polypseg.runtime import keep_freed_memory

from .network import (
    NetworkOptions,
    limit_megapixels,
    load_predictor,
    megapixels_option,
    settings,
)

if TYPE_CHECKING:
    from polypseg.inference.images import Job


@dataclass(frozen=True, kw_only=True)
class ImageOptions(NetworkOptions):
    """Options of `infer_image.py`."""

    image: list[str] = option(
        REQUIRED,
        "input",
        "images, folders, or patterns in quotes ('a/**/*.jpg')",
        "PATH",
        "--image-path",
    )
    max_megapixels: int = megapixels_option("input")
    out: str = option(
        "predictions",
        "output",
        "folder for masks/, overlays/ and regions.csv; images that are already done are skipped",
        "DIR",
    )
    panel: bool = option(
        False,
        "output",
        "also write panels/: image, overlay, mask and all maps of the network on one page",
    )
    probability: bool = option(
        False, "output", "also write probabilities/: 16-bit PNG, probability * 65535"
    )
    overwrite: bool = option(False, "output", "process all images again and replace existing files")

    def __post_init__(self) -> None:
        super().__post_init__()
        free = not os.path.exists(self.out) or os.path.isdir(self.out)
        expect(free, "out", "a folder", f"the file {self.out}")

    @property
    def folder(self) -> Path:
        """`out` as a path."""
        return Path(self.out)

    @property
    def kinds(self) -> list[str]:
        """What to write for each image; these are the names of the folders in `out`."""
        more = ["panels"] * self.panel + ["probabilities"] * self.probability
        return ["masks", "overlays", *more]


def parse(arguments: Sequence[str] | None = None) -> ImageOptions:
    """The checked options of a command line. Raises `InputError`."""
    given = given_options(ImageOptions, "Segment images with a trained network.", arguments)
    return ImageOptions(**given)


def main() -> None:
    options = parse()
    limit_megapixels(options.max_megapixels)
    keep_freed_memory()
    paths, out = inference.find_images(options.image), options.folder
    jobs = inference.plan_jobs(paths, out, options.kinds)
    outputs = [out / TABLE, *(path for job in jobs for path in job.targets.values())]
    with claim({"out": [*outputs, out / SETTINGS]}, paths, overwrite=True, folder=out):
        taken = [path for path in outputs if os.path.lexists(path)]
        if taken and not options.overwrite and not os.path.exists(out / SETTINGS):
            more = f" (and {len(taken) - 1} more)" if len(taken) > 1 else ""
            raise InputError(
                f"expected new files (or `overwrite`), got {taken[0]}, which exists{more}", "out"
            )
        segment_images(jobs, options)


def segment_images(jobs: "list[Job]", options: ImageOptions) -> None:
    """Do the command's work, once no other process can write to the output folder."""
    out = options.folder
    predictor = load_predictor(options)
    network = settings(options, predictor)
    record = Record(out, network | {"polypseg": __version__}, overwrite=options.overwrite)
    to_do = record.missing(jobs)
    written, times = 0, inference.CallTimes()
    problems: list[str] = []
    segmented = inference.segment(
        to_do,
        predictor,
        network["threshold"],
        problems,
        batch_size=options.batch_size,
        all_maps=options.panel,
        begin=record.begin,
        times=times,
    )
    with tqdm(total=len(to_do), unit=" images", leave=False, disable=None) as bar:
        for rows in segmented:
            record.add(rows)
            written += len(rows)
            bar.update(written + len(problems) - bar.n)
    record.finish()
    if times.milliseconds:
        say(
            f"network: {times.milliseconds:.1f} ms an image, {1e3 / times.milliseconds:.1f} "
            f"images/s (measured on {times.images} of {written} images, without the first call "
            "for each batch size)"
        )
    if written or not problems:
        done_before = len(jobs) - len(to_do)
        say(
            f"written: {written} image{'s' * (written != 1)} in {out}/ "
            f"({', '.join(jobs[0].targets)}), {out / TABLE}"
            + (f"; {done_before} done before" if done_before else "")
        )
    for problem in problems:
        warn(f"error: --image: {with_options(problem)}")
    if problems:
        sys.exit(2)

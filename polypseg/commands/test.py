"""Score a network, or saved maps: `python test.py --model RUN`; `--help` lists the options."""

import contextlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from polypseg.console.parser import given_options
from polypseg.console.run import say, warn
from polypseg.data.mask_rule import MaskRule, mask_rule
from polypseg.errors import InputError, expect
from polypseg.experiment.config import check_window
from polypseg.inference.formats import AUTO
from polypseg.options import option
from polypseg.runtime import keep_freed_memory

from . import per_volume
from .network import (
    ENSEMBLE,
    check_engine,
    check_threshold,
    engine_option,
    limit_megapixels,
    megapixels_option,
    print_engines,
)

if TYPE_CHECKING:
    from polypseg.inference.ensemble import Where
    from polypseg.scoring.source_scores import SourceScores
    from polypseg.scoring.sources import Source

SUBSETS = ("train", "val", "test", "all")


@dataclass(frozen=True, kw_only=True)
class TestOptions:
    """Options of `test.py`; None where the default depends on other options."""

    __test__ = False  # for pytest: this class is no test

    model: list[str] | None = option(
        None,
        "a network",
        "run folders, folders that contain one, or model files, all in one table; a folder of "
        "folds or seeds is an ensemble",
        "RUN",
        "--model-path",
    )
    ensemble: list[str] | None = option(None, "a network", ENSEMBLE, "RUN")
    engine: str = engine_option("a network")
    data_path: list[str] | None = option(
        None, "a network", "folder with images/ and masks/ (default: the run's)", "DIR"
    )
    subset: str | None = option(
        None,
        "a network",
        "train | val | test (of the run's split) | all (pairs of the folder) (default: test)",
        "NAME",
    )
    input_size: int | None = option(
        None,
        "a network",
        "height and width at which the network runs (default: the run's)",
        "PX",
        "--inputsize",
    )
    window: list[int] | None = option(
        None,
        "a network",
        "in images of 16 bits these two levels become black and white (default: the run's)",
        "LEVEL",
    )
    tta: bool = option(False, "a network", "average over the image and its three flips")
    save_predictions: bool = option(
        False, "a network", "write the maps as 8-bit PNG to predictions/ in `out`"
    )
    predictions: list[str] | None = option(
        None,
        "or saved maps",
        "folders of maps (grey images, float TIFF or .npy), or of volumes (.nii, .nii.gz), matched "
        "with masks by stem",
        "DIR",
    )
    masks: list[str] | None = option(
        None, "or saved maps", "folders of masks: one, or one for each of `predictions`", "DIR"
    )
    per_volume: bool = option(
        False,
        "scores",
        "score each patient's CT volume as a whole: slices of prepare_data.py (always so for "
        "volumes)",
    )
    threshold: float | None = option(
        None,
        "scores",
        "a pixel is foreground if its probability is at least T (default: the model's, else 0.5)",
        "T",
    )
    empty: str = option(
        "one",
        "scores",
        "overlap of an empty mask: skip (leave it out) | one (1 if nothing is found, else 0) | "
        "zero (0)",
        "RULE",
    )
    resize: bool = option(
        False, "scores", "scale a map whose size differs from its mask's (default: an error)"
    )
    label: list[int] | None = option(
        None,
        "scores",
        "the masks are label maps, and these levels are foreground (default: the run's, else the "
        "masks are black and white)",
        "N",
    )
    ignore: list[int] | None = option(
        None,
        "scores",
        "pixels with these levels in the mask do not count (default: the run's)",
        "N",
    )
    mask_color: list[int] | None = option(
        None,
        "scores",
        "the masks are in colour, and these colours are foreground, as in 255 0 0 for red "
        "(default: the run's)",
        "RGB",
    )
    mask_suffix: str | None = option(
        None,
        "a network",
        "the stem of a mask is that of its image with this behind it (default: the run's)",
        "TEXT",
    )
    recursive: bool = option(
        False, "scores", "read files in subfolders too (always if the run did)"
    )
    stems: list[str] | None = option(
        None,
        "scores",
        "score only the images in this list, a stem or a path on each line; one file, or one for "
        "each data set",
        "FILE",
    )
    group_by: str | None = option(
        None,
        "scores",
        "regular expression that finds the patient or sequence in a name, or a column of `strata`: "
        "intervals are by these groups (default: the run's)",
        "REGEX",
    )
    strata: str | None = option(
        None,
        "scores",
        "CSV file with properties of the images (first column: their names): scores for each value",
        "FILE",
    )
    lesion_iou: float = option(
        0.1, "scores", "a lesion is found if its IoU with a predicted component is above T", "T"
    )
    lesion_pixels: int = option(
        10, "scores", "smaller connected components of a mask are no lesions", "N"
    )
    boundary: float | None = option(
        None,
        "scores",
        "also HD95 and surface Dice, with this tolerance in pixels, or mm in a volume (needs: pip "
        "install surface-distance 'scipy<2')",
        "T",
    )
    max_megapixels: int = megapixels_option("scores")
    names: list[str] | None = option(
        None,
        "scores",
        "names of the rows, one for each of `model` and for `ensemble`, or for each of "
        "`predictions`",
        "NAME",
    )
    out: str | None = option(
        None,
        "scores",
        "folder for report.html, metrics.json, per_image.csv (or per_patient.csv), table.md and "
        "table.tex",
        "DIR",
    )
    csv_long: bool = option(
        False, "scores", "write long.csv too, with a row for each image, model and score, to `out`"
    )

    def __post_init__(self) -> None:
        """Raise `InputError` for options that are out of range or exclude each other."""
        if bool(self.networks) == bool(self.predictions):
            raise InputError("give either --model, or --predictions with --masks")
        other, names = "predictions", ["masks"]
        if not self.networks:
            other, names = (
                "model",
                [
                    "data_path",
                    "subset",
                    "input_size",
                    "window",
                    "mask_suffix",
                    "tta",
                    "save_predictions",
                ],
            )
        for name in names:
            if getattr(self, name):
                raise InputError(f"requires `{other}`", name)
        if not self.networks and self.engine != AUTO:
            raise InputError("requires `model`", "engine")
        expect(self.networks or self.masks, "masks", "a folder of masks for `predictions`")
        expect(self.out or not self.save_predictions, "save_predictions", "a folder in `out`")
        expect(self.out or not self.csv_long, "csv_long", "a folder in `out`")
        expect(
            0 <= self.lesion_iou < 1, "lesion_iou", "a number from 0 to below 1", self.lesion_iou
        )
        expect(self.lesion_pixels >= 1, "lesion_pixels", "1 or more", self.lesion_pixels)
        if self.boundary is not None:
            expect(0 <= self.boundary < math.inf, "boundary", "0 or more", self.boundary)
        scored = self.scored_subset
        expect(scored in SUBSETS, "subset", ", ".join(SUBSETS), scored)
        expect(self.empty in ("skip", "one", "zero"), "empty", "skip, one or zero", self.empty)
        expect(not (self.stems and self.subset), "stems", "either `stems` or `subset`", "both")
        check_engine(self.engine)
        check_threshold(self.threshold)
        mask_rule(self.label, self.ignore, self.mask_color)
        check_window(self.window)

    @property
    def networks(self) -> "list[Where]":
        """What is scored: each of `model`, and `ensemble`, as for `Predictor.load`."""
        return [*(self.model or []), *([self.ensemble] if self.ensemble else [])]

    @property
    def mask_rule(self) -> MaskRule | None:
        """How masks are read, if an option says so; None for the rule of the run."""
        given = self.label, self.ignore, self.mask_color
        return None if given == (None, None, None) else mask_rule(*given)

    @property
    def scored_subset(self) -> str:
        """`subset`, or its default."""
        return self.subset or "test"


def parse(arguments: Sequence[str] | None = None) -> TestOptions:
    """The checked options of a command line. Raises `InputError`."""
    description = (
        "Compare networks, or maps that any program saved, with masks, at the masks' own size."
    )
    return TestOptions(**given_options(TestOptions, description, arguments))


def main() -> None:
    """Score, print the tables and, with `--out`, write everything."""
    options = parse()
    limit_megapixels(options.max_megapixels)
    keep_freed_memory()

    # These are slow, so they are imported only after the arguments are checked.
    from polypseg.scoring import run
    from polypseg.scoring.volumes.sources import hold_volumes

    given = {"predictions": options.predictions or [], "masks": options.masks or []}
    files = any(hold_volumes(paths, argument) for argument, paths in given.items())
    if files or options.per_volume:
        per_volume.check_per_volume(options, files)
    sources = _sources(options, files)
    how: dict[str, Any] = {
        "threshold": options.threshold,
        "empty": options.empty,
        "masks": options.mask_rule,
        "window": options.window,
        "input_size": options.input_size,
        "engine": options.engine,
        "tta": options.tta,
        "boundary": options.boundary,
    }
    if files or options.per_volume:
        per_volume.score_patients(sources, options.out, options.save_predictions, how)
        return
    run.divide(sources, options.group_by, options.strata)
    images = sum(len(source.items) for source in sources)
    with contextlib.ExitStack() as stack:
        folder = None
        if options.out:
            folder = run.ResultsFolder(
                Path(options.out), sources, options.save_predictions, options.csv_long
            )
            stack.enter_context(folder)
        with tqdm(total=images, unit=" images", leave=False, disable=None) as bar:
            rows = run.score_sources(
                sources,
                **how,
                resize=options.resize,
                lesion_iou=options.lesion_iou,
                lesion_pixels=options.lesion_pixels,
                folder=folder,
                on_image=bar.update,
            )
        say(run.terminal_tables(rows))
        print_engines(rows)
        print_empty_masks(rows)
        if any(map(run.has_volumes, sources)):
            say("These are slices of volumes: --per-volume scores patients, as papers on CT do")
        warn_of_labels(rows)
        if folder:
            folder.write_tables(rows)
    if folder:
        say(f"written: {', '.join(folder.written)}")


def _sources(options: TestOptions, files: bool) -> "list[Source]":
    """What is scored; `files`: whether predictions and masks are volumes."""
    from polypseg.scoring import run
    from polypseg.scoring.volumes.sources import volume_sources

    if options.networks:
        return run.network_sources(
            options.networks,
            options.data_path,
            options.scored_subset,
            options.stems,
            options.names,
            options.recursive,
            options.mask_suffix,
        )
    saved = options.predictions or [], options.masks or [], options.stems, options.names
    if files:
        return volume_sources(*saved)
    return run.saved_sources(*saved, options.recursive)


def print_empty_masks(rows: "Sequence[SourceScores]") -> None:
    """Print how many masks are empty, and how this affects the scores."""
    meaning = {
        "skip": "left out of the means of Dice, IoU, wFb, precision and recall",
        "zero": "their overlap scores are 0",
        "one": "their overlap scores are 1 if nothing is found, else 0",
    }
    for row in rows:
        if row.empty:
            say(
                f"{row.source.data}: {row.empty} of {row.total['n']} masks are empty: "
                f"{meaning[row.rules.empty]} (--empty {row.rules.empty})"
            )


def warn_of_labels(rows: "Sequence[SourceScores]") -> None:
    """Warn of maps that seem to hold the labels 0 and 1 instead of grey levels."""
    for row in rows:
        if all(result.top <= 1 for result in row.results):
            warn(
                f"warning: no grey level in {row.source.path} is above 1 of 255; "
                "save the labels 0 and 1 as 0 and 255"
            )

"""Score a network, or saved maps: `python test.py --model RUN`; `--help` lists the options."""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from polypseg.console.parser import given_options
from polypseg.console.run import program
from polypseg.errors import InputError, expect, of_argument
from polypseg.files import atomic, write_text, writing
from polypseg.options import option
from polypseg.outputs import claim

from .network import check_threshold

SUBSETS = ("train", "val", "test", "all")
FILES = ("report.html", "metrics.json", "per_image.csv", "table.md", "table.tex")


@dataclass(frozen=True, kw_only=True)
class TestOptions:
    """Options of `test.py`; None where one is not given and depends on others."""

    __test__ = False  # pytest: this is none

    model: list[str] | None = option(
        None,
        "a network",
        "run folder or model file; several: one table",
        "RUN",
        "--model-path",
    )
    data_path: list[str] | None = option(
        None, "a network", "folder with images/ and masks/ (default: that of the run)", "DIR"
    )
    subset: str | None = option(
        None,
        "a network",
        "train | val | test of the run's split, or all pairs of the folder (default: test)",
        "NAME",
    )
    input_size: int | None = option(
        None,
        "a network",
        "height and width at which the network runs (default: the run's)",
        "PX",
        "--inputsize",
    )
    tta: bool = option(False, "a network", "average over the image and its three flips")
    save_predictions: bool = option(
        False, "a network", "write the maps as 8-bit PNG to predictions/ in --out"
    )
    predictions: list[str] | None = option(
        None,
        "or saved maps",
        "maps as grey images or .npy, matched with masks by stem",
        "DIR",
    )
    masks: list[str] | None = option(
        None, "or saved maps", "masks: one folder, or one for each of --predictions", "DIR"
    )
    threshold: float | None = option(
        None,
        "scores",
        "foreground where probability >= T (default: that of the model, else 0.5)",
        "T",
    )
    empty: str = option(
        "one",
        "scores",
        "overlap with an empty mask: skip | one (if nothing is found) | zero",
        "RULE",
    )
    resize: bool = option(
        False, "scores", "scale a map of another size than its mask (default: an error)"
    )
    stems: list[str] | None = option(
        None,
        "scores",
        "score only these: a stem a line; one file, or one for each data set",
        "FILE",
    )
    names: list[str] | None = option(
        None, "scores", "of the rows, one for each of --model or --predictions", "NAME"
    )
    out: str | None = option(
        None,
        "scores",
        "writes report.html, metrics.json, per_image.csv, table.md and table.tex there",
        "DIR",
    )

    def __post_init__(self) -> None:
        """Raise `InputError` for options that are out of range, or not for each other."""
        if bool(self.model) == bool(self.predictions):
            raise InputError("give either --model, or --predictions with --masks")
        other, names = "predictions", ["masks"]
        if not self.model:
            other, names = "model", ["data_path", "subset", "input_size", "tta", "save_predictions"]
        for name in names:
            if getattr(self, name):
                raise InputError(f"requires `{other}`", name)
        expect(self.model or self.masks, "masks", "a folder of masks beside `predictions`")
        expect(self.out or not self.save_predictions, "save_predictions", "a folder in `out`")
        expect(self.part in SUBSETS, "subset", ", ".join(SUBSETS), self.part)
        expect(self.empty in ("skip", "one", "zero"), "empty", "skip, one or zero", self.empty)
        expect(not (self.stems and self.subset), "stems", "this or `subset`", "both")
        check_threshold(self.threshold)

    @property
    def part(self) -> str:
        """The subset that is scored."""
        return self.subset or "test"


def parse(arguments: Sequence[str] | None = None) -> TestOptions:
    """The checked options of a command line. Raises `InputError`."""
    description = (
        "Score networks, or maps that any program saved, against masks, at the masks' own size."
    )
    return TestOptions(**given_options(TestOptions, description, arguments))


def main():
    options = parse()

    from polypseg.scoring.sources import network_sources, saved_sources  # heavy

    chosen = {"stems": options.stems, "names": options.names}
    if options.model:
        sources = network_sources(options.model, options.data_path, options.part, **chosen)
    else:
        sources = saved_sources(options.predictions, options.masks, **chosen)
    if not options.out:
        score(sources, options)
        return
    out = Path(options.out)
    targets = [out / name for name in FILES]
    if options.save_predictions:
        for source in sources:
            folder = predictions_of(source, sources, out)
            targets += [folder / f"{item.stem}.png" for item in source.items]
    inputs = [
        path for source in sources for item in source.items for path in item[1:] if path is not None
    ]
    with claim({"out": targets}, inputs, overwrite=True, folder=out):
        score(sources, options)


def predictions_of(source, sources, out):
    """The folder of a source's saved maps."""
    if len(sources) == 1:
        return out / "predictions"
    names = (name.replace(os.sep, "_") for name in (source.model, source.data))
    return out.joinpath("predictions", *names)


def score(sources, options):
    """Score and print; with `--out` write, too."""
    from tqdm import tqdm

    from polypseg.inference.predict import predict
    from polypseg.scoring.evaluation import Rules, SourceScores, score_items
    from polypseg.scoring.report import pictures
    from polypseg.scoring.tables import plain

    rows, galleries, opened, kept_maps = [], [], {}, {}
    with tqdm(
        total=sum(len(source.items) for source in sources),
        unit=" images",
        leave=False,
        disable=None,
    ) as bar:
        for source in sources:
            threshold, maps = options.threshold, None
            maps_of = saved_maps
            if options.model:
                predictor = opened.get(source.path) or load(source.path, options.input_size)
                opened = {source.path: predictor}
                threshold = predictor.threshold if threshold is None else threshold
                tta = options.tta
                source.network |= {
                    "digest": predictor.digest,
                    "input_size": predictor.input_size,
                    "tta": tta,
                }
                maps_of = partial(predict, predictor, tta=tta)
                maps = maps_of(source.items)
                if options.save_predictions:
                    folder = predictions_of(source, sources, Path(options.out))
                    maps = kept(maps, source, folder, kept_maps)
            rules = Rules(
                0.5 if threshold is None else threshold,
                options.empty,
                options.resize,
            )
            results = []
            with of_argument("data_path" if options.model else "predictions"):
                for result in score_items(source.items, rules, maps):
                    results.append(result)
                    bar.update()
            rows.append(SourceScores(source, rules, results))
            if options.out:
                galleries.append(pictures(source, results, rules, maps_of, len(sources)))
            if all(result.top <= 1 for result in results):
                bar.write(
                    f"{program()}: warning: the maps in {source.path} hold no grey level above 1 "
                    "of 255; labels 0 and 1 have to be saved as 0 and 255",
                    file=sys.stderr,
                )
    print(plain(rows))
    remarks(rows)
    if options.out:
        write(rows, galleries, kept_maps, options)


def saved_maps(items):
    from polypseg.data.maps import read_map

    return (read_map(item.map) for item in items)


def load(path, input_size):
    from polypseg.inference.predictor import Predictor

    return Predictor.load(path, input_size)


def remarks(rows):
    """What a reader of the table has to know besides."""
    meaning = {
        "skip": "left out of the means of Dice, IoU, wFb, precision and recall",
        "zero": "overlap 0",
        "one": "overlap 1 where nothing is found, else 0",
    }
    for row in rows:
        if row.empty:
            print(
                f"{row.source.data}: {row.empty} of {row.total['n']} masks are empty: "
                f"{meaning[row.rules.empty]} "
                f"(--empty {row.rules.empty})"
            )


def kept(maps, source, folder, pictures):
    """Pass the maps on, and add each to `pictures` as a path and the bytes of a PNG."""
    import cv2

    from polypseg.metrics.sweep import to_levels

    for item, map_ in zip(source.items, maps):
        _, encoded = cv2.imencode(".png", to_levels(map_.astype("float64")))
        pictures[folder / f"{item.stem}.png"] = encoded.tobytes()
        yield map_


def write(rows, galleries, kept_maps, options):
    from polypseg.experiment.environment import environment
    from polypseg.scoring import tables
    from polypseg.scoring.report import report

    out = Path(options.out)
    machine = environment()
    shown = {
        name: machine[name] for name in ("commit", "backend", "python", "platform", "processor")
    } | machine["packages"]
    texts = (
        report(rows, galleries, {name: value for name, value in shown.items() if value}),
        tables.metrics_json(rows),
        tables.per_image_csv(rows),
        tables.markdown(rows),
        tables.latex(rows),
    )
    with writing(out, "out"):
        for name, text in zip(FILES, texts, strict=True):
            write_text(out / name, text)
    with writing(out / "predictions", "out"):
        for path, encoded in kept_maps.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic(path) as temporary:
                temporary.write_bytes(encoded)
    written = [*FILES, *(["predictions/"] if kept_maps else [])]
    print(f"written: {', '.join(str(out / name) for name in written)}")

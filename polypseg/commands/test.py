"""Score a network, or saved maps: `python test.py --model RUN`; `--help` lists the options."""

import os
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from polypseg.console.parser import Parser
from polypseg.console.run import program
from polypseg.errors import InputError, expect, of_argument
from polypseg.files import atomic, check_writable, write_text, writing
from polypseg.outputs import claim

SUBSETS = ("train", "val", "test", "all")
FILES = ("report.html", "metrics.json", "per_image.csv", "table.md", "table.tex")


@dataclass
class Defaults:
    subset: str = "test"
    empty: str = "one"


def parse(arguments=None):
    parser = Parser(
        "Score networks, or maps that any program saved, against masks, at the masks' own size.",
        Defaults(),
    )
    group = parser.group("a network")
    group(
        "--model",
        "--model-path",
        nargs="+",
        metavar="RUN",
        help="run folder or model file; several: one table",
    )
    group(
        "--data-path",
        nargs="+",
        metavar="DIR",
        help="folder with images/ and masks/ (default: that of the run)",
    )
    group(
        "--subset",
        metavar="NAME",
        help="train | val | test of the run's split, or all pairs of the folder",
    )
    group(
        "--input-size",
        "--inputsize",
        type=int,
        metavar="PX",
        help="height and width at which the network runs (default: the run's)",
    )
    group("--tta", action="store_true", help="average over the picture and its three flips")
    group(
        "--save-predictions",
        action="store_true",
        help="write the maps as 8-bit PNG to predictions/ in --out",
    )
    group = parser.group("or saved maps")
    group(
        "--predictions",
        nargs="+",
        metavar="DIR",
        help="maps as grey pictures or .npy, matched with masks by stem",
    )
    group(
        "--masks",
        nargs="+",
        metavar="DIR",
        help="masks: one folder, or one for each of --predictions",
    )
    group = parser.group("scores")
    group(
        "--threshold",
        type=float,
        metavar="T",
        help="foreground where probability >= T (default: that of the model, else 0.5)",
    )
    group(
        "--empty",
        metavar="RULE",
        help="overlap with an empty mask: skip | one (if nothing is found) | zero",
    )
    group(
        "--resize",
        action="store_true",
        help="scale a map of another size than its mask (default: an error)",
    )
    group(
        "--stems",
        nargs="+",
        metavar="FILE",
        help="score only these: a stem a line; one file, or one for each data set",
    )
    group(
        "--names",
        nargs="+",
        metavar="NAME",
        help="of the rows, one for each of --model or --predictions",
    )
    group(
        "--out",
        metavar="DIR",
        help="writes report.html, metrics.json, per_image.csv, table.md and table.tex there",
    )
    given = parser.parse(arguments)
    options = {"subset": Defaults.subset, "empty": Defaults.empty} | given
    threshold = options.get("threshold")
    if ("model" in given) == ("predictions" in given):
        raise InputError("give either --model, or --predictions with --masks")
    of_maps, of_network = (
        ("masks",),
        ("data_path", "subset", "input_size", "tta", "save_predictions"),
    )
    other, names = ("predictions", of_maps) if "model" in given else ("model", of_network)
    for name in names:
        if name in given:
            raise InputError(f"requires --{other}", name)
    expect("model" in given or "masks" in given, "masks", "a folder of masks beside --predictions")
    expect(
        "save_predictions" not in given or "out" in given, "save_predictions", "a folder in --out"
    )
    expect(options["subset"] in SUBSETS, "subset", ", ".join(SUBSETS), options["subset"])
    expect(
        options["empty"] in ("skip", "one", "zero"),
        "empty",
        "skip, one or zero",
        options["empty"],
    )
    expect("stems" not in given or "subset" not in given, "stems", "this or --subset", "both")
    expect(
        threshold is None or 0 <= threshold <= 1,
        "threshold",
        "a probability from 0 to 1",
        threshold,
    )
    if "out" in options:
        check_writable(options["out"], "out")
    return options


def main():
    options = parse()

    from polypseg.scoring.sources import network_sources, saved_sources  # heavy

    chosen = {name: options.get(name) for name in ("stems", "names")}
    if "model" in options:
        sources = network_sources(
            options["model"], options.get("data_path"), options["subset"], **chosen
        )
    else:
        sources = saved_sources(options["predictions"], options["masks"], **chosen)
    if "out" not in options:
        score(sources, options)
        return
    out = Path(options["out"])
    targets = [out / name for name in FILES]
    if "save_predictions" in options:
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
            threshold, maps = options.get("threshold"), None
            maps_of = saved_maps
            if "model" in options:
                predictor = opened.get(source.path) or load(source.path, options.get("input_size"))
                opened = {source.path: predictor}
                threshold = predictor.threshold if threshold is None else threshold
                tta = options.get("tta", False)
                source.network = {"input_size": predictor.input_size, "tta": tta}
                maps_of = partial(predict, predictor, tta=tta)
                maps = maps_of(source.items)
                if "save_predictions" in options:
                    folder = predictions_of(source, sources, Path(options["out"]))
                    maps = kept(maps, source, folder, kept_maps)
            rules = Rules(
                0.5 if threshold is None else threshold,
                options["empty"],
                options.get("resize", False),
            )
            results = []
            with of_argument("data_path" if "model" in options else "predictions"):
                for result in score_items(source.items, rules, maps):
                    results.append(result)
                    bar.update()
            rows.append(SourceScores(source, rules, results))
            if "out" in options:
                galleries.append(pictures(source, results, rules, maps_of, len(sources)))
            if all(result.top <= 1 for result in results):
                bar.write(
                    f"{program()}: warning: the maps in {source.path} hold no grey level above 1 "
                    "of 255; labels 0 and 1 have to be saved as 0 and 255",
                    file=sys.stderr,
                )
    print(plain(rows))
    remarks(rows)
    if "out" in options:
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

    out = Path(options["out"])
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

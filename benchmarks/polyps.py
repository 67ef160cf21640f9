"""Train and score the polyp networks of docs/results.md: `python -m benchmarks.polyps fast`.

A recipe is trained once for each seed. Each network is scored on the test sets at the masks' own
size, and on negatives, quarters of test images without a polyp (`prepare_data.py --negatives`).
The row that is printed has means over the seeds. The data are those of `prepare_data.py --preset
pranet` in datasets/pranet, its negatives of datasets/pranet/Kvasir in datasets/negatives, and for
`--data kvasir` Kvasir-SEG in datasets/kvasir. What is in the folder already is not made again,
so that an interrupted benchmark goes on.
"""

import argparse
import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.runs import call, trained, validation
from polypseg.layers.backbones import BACKBONES

FAMILY = "--input-size 224 --epochs 25"  # one recipe for each backbone
# SANet's exchange of colours, and one of three sizes for each batch.
LONG = "--epochs 40 --patience 40 --color-exchange 0.5 --multi-scale 0.75 1 1.25"
LONG += " --scales-per-batch one"
SLIM = f"--backbone mobilenetv2 --decoder slim --input-size 224 {LONG}"
RECIPES = {
    "fast": SLIM,
    "fast-crops": f"{SLIM} --crop 160 --crop-share 0.3 --crop-foreground 0.5",
} | {f"family-{name}": f"--backbone {name} {FAMILY}" for name in BACKBONES}


class Data(NamedTuple):
    """Data that are trained on, and test sets by name; None is the run's own test subset."""

    path: str
    split: str | None
    tests: dict[str, str | None]


DATA = {
    "pranet": Data(
        "datasets/pranet/train",
        "datasets/pranet/train/splits/pranet",
        {
            "Kvasir": "datasets/pranet/Kvasir",
            "ClinicDB": "datasets/pranet/CVC-ClinicDB",
            "negatives": "datasets/negatives",
        },
    ),
    "kvasir": Data("datasets/kvasir", None, {"Kvasir": None}),  # the split of seed 12
}
THRESHOLD, PRANET = ("dice", "iou"), ("mean_dice", "mean_iou", "wfb", "s_measure", "mae")


def main() -> None:
    description = __doc__.split(":")[0]
    parser = argparse.ArgumentParser(
        "python -m benchmarks.polyps", description=description, allow_abbrev=False
    )
    parser.add_argument("recipe", choices=RECIPES)
    parser.add_argument("--data", choices=DATA, default="pranet", help="(%(default)s)")
    parser.add_argument("--folder", type=Path, default=Path("runs/polyps"), help="(%(default)s)")
    parser.add_argument("--seeds", type=int, default=3, help="(%(default)s)")
    parser.add_argument("--backbone-weights", default="imagenet", help="(%(default)s)")
    given, more = parser.parse_known_args()  # what is not known goes to train.py
    data = DATA[given.data]
    folder = given.folder / f"{given.recipe}-{given.data}"
    weights = ["--backbone-weights", given.backbone_weights, "--seeds", given.seeds]
    split = ["--split-dir", data.split] if data.split else []
    options = ["--data-path", data.path, *split, *weights]
    runs = trained(folder, [*options, *RECIPES[given.recipe].split(), *more])
    row = {"recipe": given.recipe, "options": RECIPES[given.recipe], "more": more}
    row["validation"], row["seconds"] = validation(runs)
    for name, path in data.tests.items():
        row[name] = mean([scores(run, name, path) for run in runs])
    print(json.dumps(row, indent=2))


def scores(run: Path, name: str, path: str | None) -> dict[str, float]:
    """Of one network on one test set."""
    out = run.parent.parent / f"scores-{run.name}-{name}"
    if not (out / "metrics.json").exists():
        where = ["--data-path", path, "--subset", "all"] if path else []
        call("test.py", "--model", run, *where, "--out", out)
    found = json.loads((out / "metrics.json").read_text())
    if name == "negatives":
        return {key: found["lesions"][key] for key in found["lesions"] if "alarm" in key}
    return {key: found["threshold"][key] for key in THRESHOLD} | {
        f"pranet {key}": found["pranet"][key] for key in PRANET
    }


def mean(of_runs: Sequence[dict[str, float]]) -> dict[str, list[float]]:
    """Mean of each score, and its value for each run."""
    result = {}
    for key in of_runs[0]:
        values = [run[key] for run in of_runs]
        result[key] = [round(value, 4) for value in (statistics.mean(values), *values)]
    return result


if __name__ == "__main__":
    main()

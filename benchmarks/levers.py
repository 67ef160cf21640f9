"""Validation Dice of training options, one against the defaults: `python -m benchmarks.levers`.

For each lever, `train.py` trains a network for each seed, with the options below and those of the
lever, at a small size. The Dice is that of the validation images at the network's size. Its mean
over the last epochs is printed beside the best one: a single epoch is noise. What is in the folder
already is not trained again, so that an interrupted benchmark goes on. No test image is read.
"""

import argparse
import json
import statistics
from pathlib import Path

from benchmarks.runs import trained, validation
from polypseg.experiment.checkpoint import read_history

LEVERS = {
    "defaults": "",
    "color-exchange": "--color-exchange 0.5",
    "map-sums": "--map-sums all",
    "ema": "--ema 0.99",
    "adamw": "--optimizer adamw --weight-decay 1e-2",
    "sgd-poly": "--optimizer sgd --weight-decay 5e-4 --lr 0.05 --schedule poly",
    "one-scale": "--multi-scale 0.75 1 1.25 --scales-per-batch one",
    "crops": "--crop 64 --crop-share 0.3 --crop-foreground 0.3",
    "batch-8": "--batch-size 8",
    "published": "--decoder published",
}
LAST = 3  # epochs that are averaged


def main():
    description = __doc__.split(":")[0]
    parser = argparse.ArgumentParser(
        "python -m benchmarks.levers", description=description, allow_abbrev=False
    )
    parser.add_argument("levers", nargs="*", help=f"of {', '.join(LEVERS)} (default: all)")
    parser.add_argument("--folder", type=Path, default=Path("runs/levers"), help="(%(default)s)")
    parser.add_argument("--data-path", default="datasets/pranet/train", help="(%(default)s)")
    parser.add_argument("--split-dir", default="datasets/pranet/train/splits/pranet")
    parser.add_argument("--backbone-weights", default="imagenet")
    parser.add_argument("--seeds", type=int, default=2, help="runs of each (%(default)s)")
    parser.add_argument("--epochs", type=int, default=12, help="of a run (%(default)s)")
    given, more = parser.parse_known_args()  # what is not known goes to train.py, for all levers
    unknown = set(given.levers) - set(LEVERS)
    if unknown:
        parser.error(f"unknown levers: {', '.join(sorted(unknown))}")
    data = ["--data-path", given.data_path, "--split-dir", given.split_dir]
    network = ["--backbone", "mobilenetv2", "--backbone-weights", given.backbone_weights]
    network += ["--decoder", "slim"]  # the smaller and faster one
    size = ["--input-size", 128, "--no-export"]
    how = [*size, "--epochs", given.epochs, "--seeds", given.seeds, *more]
    for lever in given.levers or LEVERS:
        folder = given.folder / lever
        runs = trained(folder, [*data, *network, *how, *LEVERS[lever].split()])
        report(lever, runs)


def report(lever, runs):
    best, seconds = validation(runs)
    dices = [[row["val_dice"] for row in read_history(run / "history.csv")] for run in runs]
    last = [statistics.mean(dice[-LAST:]) for dice in dices]
    row = {
        "lever": lever,
        "options": LEVERS[lever],
        "last": round(statistics.mean(last), 4),
        "best": round(statistics.mean(best), 4),
        "of each seed": [round(value, 4) for value in last],
        "seconds of a run": seconds,
    }
    print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()

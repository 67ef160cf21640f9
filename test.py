"""Score a trained network: `python test.py --model RUN`; `--help` lists the options."""

import csv
import json
from dataclasses import dataclass
from pathlib import Path

from engine.arguments import Parser, UserError, expect, run
from engine.run import find_run, write_text
from engine.startup import load_tensorflow


@dataclass
class Defaults:
    subset: str = "test"
    threshold: float = 0.5


def parse(arguments=None):
    parser = Parser("test.py", "Score a trained network on images and masks, at the masks' own size.", Defaults())
    group = parser.group("input")
    group("--model", "--model-path", metavar="RUN", required=True, help="run folder, or a .keras file")
    group("--data-path", metavar="DIR", help="folder with images/ and masks/ (default: that of the run)")
    group("--subset", metavar="NAME", help="train | val | test of the run's split, or all pairs of the folder")
    group = parser.group("scores")
    group("--threshold", type=float, metavar="T", help="a pixel is foreground where its probability is at least T")
    group("--out", metavar="DIR", help="writes metrics.json, per_image.csv and predictions.png there")
    given = parser.parse(arguments)
    subset = given.get("subset", Defaults.subset)
    threshold = given.get("threshold", Defaults.threshold)
    expect(subset in ("train", "val", "test", "all"), "--subset", "train, val, test or all", subset)
    expect(0 <= threshold <= 1, "--threshold", "a probability from 0 to 1", threshold)
    return given | {"subset": subset, "threshold": threshold}


def chosen_pairs(options):
    """The pairs to score: a subset of the run's split, or the whole folder."""
    from data.pairs import find_pairs

    is_file = Path(options["model"]).suffix == ".keras"
    folder = None if is_file else find_run(options["model"])
    data_path = options.get("data_path")
    if data_path is None:
        expect(folder, "--data-path", "a folder with images/ and masks/, since a .keras file does not name one")
        data_path = json.loads((folder / "config.json").read_text())["data_path"]
    pairs, _ = find_pairs(data_path)
    if options["subset"] == "all":
        return pairs
    expect(folder, "--subset", "all, since a .keras file brings no split", options["subset"])
    stems = (folder / "split" / f"{options['subset']}.txt").read_text().split("\n")
    wanted = {stem for stem in stems if stem}
    missing = sorted(wanted - {pair.stem for pair in pairs})
    if missing or not wanted:
        raise UserError(
            f"--data-path: expected the {len(wanted)} pictures of the run's {options['subset']} split in {data_path}, "
            f"got {len(wanted) - len(missing)} of them" + (f"; missing: {', '.join(missing[:5])}" if missing else "")
        )
    return [pair for pair in pairs if pair.stem in wanted]


def main():
    options = parse()
    pairs = chosen_pairs(options)

    load_tensorflow()
    from tqdm import tqdm

    from engine.evaluation import evaluate, mean_scores
    from engine.predictor import Predictor
    from engine.samples import write_sheet

    predictor = Predictor.load(options["model"])
    rows, ranked = {}, []
    for scored in tqdm(
        evaluate(predictor, pairs, options["threshold"]), total=len(pairs), unit=" images", leave=False, disable=None
    ):
        rows[scored.pair.stem] = scored.scores
        ranked.append((scored.scores["dice"], scored.pair))
    means = mean_scores(list(rows.values()))
    print(f"{len(rows)} images, protocol threshold {options['threshold']:g}, at the masks' own size")
    print("  ".join(f"{name} {value:.4f}" for name, value in means.items()))
    if "out" in options:
        out = Path(options["out"])
        out.mkdir(parents=True, exist_ok=True)
        write_text(out / "metrics.json", json.dumps({"n": len(rows), "threshold": means}, indent=2) + "\n")
        with open(out / "per_image.csv", "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["stem", *means])
            writer.writerows([stem, *(f"{value:.6f}" for value in row.values())] for stem, row in rows.items())
        write_sheet(out / "predictions.png", predictor, ranked, options["threshold"])
        print(f"written: {out}/metrics.json, {out}/per_image.csv, {out}/predictions.png")


if __name__ == "__main__":
    run(main)

"""What a trained network saves: `python -m benchmarks.finetuning --start-from RUN`.

80 frames of CVC-ClinicDB, spread over its sequences, train a network for a few epochs: one that
starts with RUN, which must not know these data, and one of the same kind that starts with weights
of ImageNet. Both learning rates are tried with both. Their Dice is that of the validation images,
frames of other sequences, in the best epoch: its mean over the seeds is printed, and each.
"""

import argparse
import json
import statistics
from pathlib import Path

from benchmarks.runs import trained, validation
from polypseg.data.presets.cvc_clinicdb import by_sequence
from polypseg.experiment.trained import find_trained

RATES = (1e-3, 1e-4)


def main() -> None:
    description = __doc__.split(":")[0]
    parser = argparse.ArgumentParser("python -m benchmarks.finetuning", description=description)
    parser.add_argument("--start-from", type=Path, required=True, help="run to start with")
    parser.add_argument("--backbone-weights", default="imagenet", help="(%(default)s)")
    parser.add_argument("--data-path", type=Path, default=Path("datasets/clinicdb"))
    parser.add_argument("--folder", type=Path, default=Path("runs/finetuning"))
    parser.add_argument("--images", type=int, default=80, help="to train on (%(default)s)")
    parser.add_argument("--epochs", type=int, default=10, help="(%(default)s)")
    parser.add_argument("--seeds", type=int, default=3, help="(%(default)s)")
    given = parser.parse_args()
    split = given.folder / "split"
    write_split(given.data_path, split, given.images)
    options = find_trained(given.start_from).options
    same = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    starts = {
        "run": [f"--start-from={given.start_from}"],
        "ImageNet": [*same, f"--backbone-weights={given.backbone_weights}"],
    }
    data = ["--data-path", given.data_path, "--split-dir", split, "--no-export"]
    how = ["--batch-size", 8, "--epochs", given.epochs, "--seeds", given.seeds]
    for name, start in starts.items():
        for rate in RATES:
            runs = trained(given.folder / f"{name}-{rate:g}", [*data, *how, *start, "--lr", rate])
            dices, seconds = validation(runs)
            row = {"start": name, "lr": rate, "dice": round(statistics.mean(dices), 4)}
            print(json.dumps(row | {"of each seed": dices, "seconds": seconds}), flush=True)


def write_split(data: Path, folder: Path, count: int) -> None:
    """Frames to train on, evenly spread; the validation frames of `by_sequence`; none to test."""
    stems = sorted((path.stem for path in (data / "images").iterdir()), key=int)
    split = by_sequence(stems)["sequences"]
    known = split["train"]
    chosen = [known[index * len(known) // count] for index in range(count)]
    folder.mkdir(parents=True, exist_ok=True)
    for name, subset in (("train", chosen), ("val", split["val"]), ("test", [])):
        (folder / f"{name}.txt").write_text("".join(f"{stem}\n" for stem in subset))


if __name__ == "__main__":
    main()

"""Dice per patient of networks trained on drawn CT volumes: `python -m benchmarks.phantoms`.

Of 60 volumes, 40 are trained on, 8 validate and 12 are tested. For slices with their neighbours as
channels, and for slices alone, `train.py` trains a network for each seed, `infer_volume.py`
segments the 12 volumes, and the Dice of each is computed from the files, in all voxels. What is in
the folder already is not made again, so that an interrupted benchmark goes on.
"""

import argparse
import statistics
from pathlib import Path

import nibabel
import numpy as np

from benchmarks.runs import call, trained
from polypseg.data.phantoms import PANCREAS

PATIENTS = {"train": range(40), "val": range(40, 48), "test": range(48, 60)}


def main():
    description = __doc__.split(":")[0]
    parser = argparse.ArgumentParser(
        "python -m benchmarks.phantoms", description=description, allow_abbrev=False
    )
    parser.add_argument(
        "--folder", type=Path, default=Path("runs/phantoms"), help="of all files (%(default)s)"
    )
    parser.add_argument("--size", type=int, default=64, help="side of a slice (%(default)s)")
    parser.add_argument("--neighbours", type=int, nargs="+", default=[1, 0])
    parser.add_argument("--seeds", type=int, default=3, help="runs of each (%(default)s)")
    parser.add_argument("--epochs", type=int, default=8, help="of a run (%(default)s)")
    parser.add_argument("--subset", choices=("val", "test"), default="test")
    given, more = parser.parse_known_args()  # what is not known goes to train.py

    drawn = given.folder / "drawn"
    if not drawn.exists():
        size = ["--count", 60, "--size", given.size]
        call("-m", "polypseg.data.synthetic", "--ct", *size, "--out", drawn)
    means = {}
    for neighbours in given.neighbours:
        slices = given.folder / f"slices-{neighbours}"
        if not slices.exists():
            volumes = ["--volumes", drawn / "volumes", "--labels", drawn / "labels"]
            made = ["--label", PANCREAS, "--window", -100, 240, "--neighbours", neighbours]
            call("prepare_data.py", *volumes, *made, "--keep-empty", 0.3, "--out", slices)
        split = given.folder / "split"
        if not split.exists():
            split_by_patient(slices / "images", split)
        runs = given.folder / f"runs-{neighbours}"
        data = ["--data-path", slices, "--split-dir", split]
        network = ["--model", "attention_unet", "--input-size", given.size, "--batch-size", 4]
        loss = ["--lr", 5e-3, "--loss", "wbce_dice", "--augment", "none"]
        how = ["--epochs", given.epochs, "--seeds", given.seeds]
        for run in trained(runs, [*data, *network, *loss, *how, *more]):
            found = given.folder / f"found-{neighbours}-{run.name}-{given.subset}"
            names = [f"phantom_{number:04d}.nii.gz" for number in PATIENTS[given.subset]]
            if not found.exists():
                volumes = [drawn / "volumes" / name for name in names]
                call("infer_volume.py", "--model", run, "--volume", *volumes, "--out", found)
            scores = [dice(drawn / "labels" / name, found / name) for name in names]
            means[neighbours, run.name] = statistics.mean(scores)
            print(
                f"neighbours {neighbours}, {run.name}: Dice of {len(scores)} patients "
                f"{statistics.mean(scores):.3f} ± {statistics.stdev(scores):.3f}, "
                f"lowest {min(scores):.3f}",
                flush=True,
            )
    seeds = sorted({seed for _, seed in means})
    if {neighbours for neighbours, _ in means} == {0, 1}:
        gain = [means[1, seed] - means[0, seed] for seed in seeds]
        print("neighbours 1 against 0:", ", ".join(f"{value:+.3f}" for value in gain))


def split_by_patient(images, split):
    stems = sorted(path.stem for path in images.iterdir())
    split.mkdir()
    for subset, patients in PATIENTS.items():
        chosen = [stem for stem in stems if int(stem.rsplit("-", 1)[0][-4:]) in patients]
        (split / f"{subset}.txt").write_text("\n".join(chosen) + "\n")


def dice(labels, found):
    """In float64, from the two files alone."""
    one, two = nibabel.load(labels), nibabel.load(found)
    assert np.allclose(one.affine, two.affine)
    truth, answer = np.asarray(one.dataobj) == PANCREAS, np.asarray(two.dataobj) > 0
    return 2 * (truth & answer).sum() / (truth.sum() + answer.sum())


if __name__ == "__main__":
    main()

"""Scores of a run's network on its test images at several temperatures, relative to the fitted one:
`python -m benchmarks.temperature RUN`. The table is in docs/metrics.md.
"""

import sys

import numpy as np
from scipy.special import expit, logit

from polypseg.data.masks import read_mask
from polypseg.data.pairs import find_pairs
from polypseg.experiment.run import open_run
from polypseg.inference.predictor import Predictor
from polypseg.metrics import DataSetScores, score
from polypseg.metrics.calibration import calibration_counts, calibration_error

TEMPERATURES = (0.25, 0.5, 1.0, 2.0, 4.0)


def main() -> None:
    run = open_run(sys.argv[1])
    stems = (run.folder / "split" / "test.txt").read_text(encoding="utf-8").split("\n")
    pairs = [pair for pair in find_pairs(run.config["data_path"])[0] if pair.stem in stems]
    predictor = Predictor.load(run.folder, engine="keras")
    totals = {temperature: DataSetScores() for temperature in TEMPERATURES}
    counts = {temperature: np.zeros((3, 15)) for temperature in TEMPERATURES}
    entropies: dict[float, list[float]] = {temperature: [] for temperature in TEMPERATURES}
    for pair, map_ in zip(pairs, predictor(pair.image for pair in pairs)):
        mask = read_mask(pair.mask) == 1
        z = logit(np.clip(map_.astype(np.float64), 1e-7, 1 - 6e-8))
        for temperature in TEMPERATURES:
            probability = expit(z / temperature).astype(np.float32)
            totals[temperature].update_state(score(mask, probability))
            levels = np.rint(probability * 255).astype(int)
            of_class = [np.bincount(levels[mask == label], minlength=256) for label in (0, 1)]
            counts[temperature] += calibration_counts(np.stack(of_class))
            loss = np.logaddexp(0, z / temperature) - mask * z / temperature
            entropies[temperature].append(float(loss.mean()))
    print("T | dice | mae | wfb || mean_dice | mean_iou | max_dice || error | cross-entropy")
    for temperature in TEMPERATURES:
        result = totals[temperature].result()
        ours, theirs = result["threshold"], result["pranet"]
        numbers = [ours[key] for key in ("dice", "mae", "wfb")]
        numbers += [theirs[key] for key in ("mean_dice", "mean_iou", "max_dice")]
        numbers += [float(calibration_error(counts[temperature])), np.mean(entropies[temperature])]
        print(f"{temperature:g} | {' | '.join(f'{number:.4f}' for number in numbers)}")


if __name__ == "__main__":
    main()

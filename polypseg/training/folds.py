"""Cross-validation: a run for each fold, and one table of scores of pictures that a network had not
seen.
"""

import csv
import dataclasses
import gc
import json
from pathlib import Path

import keras
import numpy as np

from polypseg.errors import reading
from polypseg.experiment.checkpoint import saving
from polypseg.experiment.run import START, new_run
from polypseg.experiment.run_folder import lock_run
from polypseg.experiment.trained import note_seen, start_path
from polypseg.files import csv_text, write_text
from polypseg.inference.predictor import Predictor
from polypseg.scoring.evaluation import evaluate

from .progress import Progress
from .train import run_name, train

SCORES = ("dice", "iou")


def cross_validate(config, folds, progress=None, signals=None):
    """Train and test each fold in `fold-1`, `fold-2`, ... of one folder; those that are done are
    not done again.

    Writes `out_of_fold.csv` (stem, fold, dice, iou: each picture by the network that was not
    trained or chosen on it, at the mask's own size, threshold 0.5) and `folds.json` (mean and
    standard deviation over folds, n - 1 in the denominator).

    Args:
        config: a checked `TrainConfig` with `folds`.
        folds: from `load_folds`.
        progress, signals: as in `train`.

    Returns:
        The folder and the content of `folds.json`.
    """
    progress = Progress() if progress is None else progress
    if config.resume:
        folder = Path(config.resume)
    else:
        name, data = f"{run_name(config)}_folds", folds[0]
        parent, start = config.trained_model_path, start_path(config)
        note_seen(config, (image for image, _ in data.files.values()))
        splits = [fold.split for fold in folds]
        folder = new_run(parent, name, config, data.found, data.files, splits, start)
    rows, validation = [], []
    with lock_run(folder):
        for number, data in enumerate(folds, 1):
            target = folder / f"fold-{number}"
            progress.fold_begins(number, len(folds), data.subsets)
            begun = (target / "config.json").is_file()
            fold_config = dataclasses.replace(
                config,
                folds=None,
                group_by=None,
                split_dir=str(target / "split"),
                trained_model_path=str(folder),
                start_from=str(folder / START) if config.start_from else None,
                resume=str(target) if begun else None,
            )
            _, best = train(fold_config, data, target, progress, signals)
            keras.backend.clear_session()
            gc.collect()
            validation.append({name: best[f"val_{name}"] for name in SCORES})
            rows += [row | {"fold": number} for row in _test(target, data.subsets["test"])]
        summary = _summary(validation, rows)
        with saving(folder):
            write_text(folder / "out_of_fold.csv", _csv(("stem", "fold", *SCORES), rows))
            write_text(folder / "folds.json", json.dumps(summary, indent=2) + "\n")
    return folder, summary


def _test(folder, pairs):
    """The rows of `test.csv` of a fold: read, or computed and written."""
    path = folder / "test.csv"
    if not path.exists():
        rows = [
            {"stem": scored.pair.stem} | scored.scores
            for scored in evaluate(Predictor.load(folder), pairs)
        ]
        with saving(folder):
            write_text(path, _csv(("stem", *SCORES), rows))
    with reading(path, "the scores of a fold's test images", "resume"):
        with open(path, newline="", encoding="utf-8") as file:
            rows = [
                {"stem": row["stem"]} | {name: float(row[name]) for name in SCORES}
                for row in csv.DictReader(file, strict=True)
            ]
        if [row["stem"] for row in rows] != [pair.stem for pair in pairs]:
            raise ValueError("of other images")
        if not all(0 <= row[name] <= 1 for row in rows for name in SCORES):
            raise ValueError("a score outside [0, 1]")
    return rows


def _csv(names, rows):
    return csv_text(
        names,
        (
            [f"{row[name]:.6f}" if isinstance(row[name], float) else row[name] for name in names]
            for row in rows
        ),
    )


def _summary(validation, rows):
    folds = range(1, len(validation) + 1)
    test = [
        {name: np.mean([row[name] for row in rows if row["fold"] == fold]) for name in SCORES}
        for fold in folds
    ]
    return {
        "folds": len(validation),
        "images": len(rows),
        "validation": {name: _spread([fold[name] for fold in validation]) for name in SCORES},
        "test": {name: _spread([fold[name] for fold in test]) for name in SCORES},
    }


def _spread(values):
    return {
        "mean": float(np.mean(values)),
        "std": float(np.std(values, ddof=1)),
        "of_each_fold": [float(v) for v in values],
    }

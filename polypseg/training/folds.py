"""Cross-validation: one run per fold, and a table with the test scores of all images."""

import dataclasses
import gc
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from polypseg.data.mask_rule import MaskRule
from polypseg.data.pairs import Pair
from polypseg.errors import reading
from polypseg.experiment.checkpoint import saving
from polypseg.experiment.config import TrainConfig
from polypseg.experiment.run import START, new_run
from polypseg.experiment.run_folder import lock_run
from polypseg.experiment.trained import note_seen, start_path
from polypseg.files import csv_rows, csv_text, write_text
from polypseg.inference.predictor import Predictor
from polypseg.scoring.evaluation import evaluate

from .datasets import Data
from .interrupt import Signals
from .progress import Progress, Silent
from .train import run_name, train

SCORES = ("dice", "iou")


def cross_validate(
    config: TrainConfig,
    folds: Sequence[Data],
    progress: Progress | None = None,
    signals: Signals | None = None,
) -> tuple[Path, dict[str, Any]]:
    """Train and test a network for each fold, in the folders `fold-1`, `fold-2`, ... of one folder.

    If the run is resumed, finished folds are not trained again. Two files are written:

    - `out_of_fold.csv` with the columns stem, fold, dice and iou has one row per image. Its scores
      are those of the network that was neither trained nor chosen on the image, at the size of the
      mask, with threshold 0.5.
    - `folds.json` has the mean and standard deviation over the folds, with n - 1 in the
      denominator.

    Args:
        config: a checked `TrainConfig` with `folds`.
        folds: the result of `load_folds`.
        progress, signals: as for `train`.

    Returns:
        The path of the folder, and the content of `folds.json`.

    Raises:
        InputError, Interrupted: as for `train`.
    """
    progress = Silent() if progress is None else progress
    if config.resume:
        folder = Path(config.resume)
    else:
        name, data = f"{run_name(config)}_folds", folds[0]
        parent, start = config.trained_model_path, start_path(config)
        note_seen(config, (image for image, _ in data.files.values()))
        splits = [fold.split for fold in folds]
        folder = new_run(parent, name, config, data.report_text, data.files, splits, start)
    rows: list[dict[str, Any]] = []
    validation: list[dict[str, float]] = []
    with lock_run(folder):
        for number, data in enumerate(folds, 1):
            target = folder / f"fold-{number}"
            progress.fold_begins(number, len(folds), data.subsets)
            _, best = train(_config_of_fold(config, target), data, target, progress, signals)
            keras.backend.clear_session()
            gc.collect()
            validation.append({name: best[f"val_{name}"] for name in SCORES})
            rows += [
                row | {"fold": number}
                for row in _test(target, data.subsets["test"], config.mask_rule)
            ]
        summary = _summary(validation, rows)
        with saving(folder):
            write_text(folder / "out_of_fold.csv", _csv(("stem", "fold", *SCORES), rows))
            write_text(folder / "folds.json", json.dumps(summary, indent=2) + "\n")
    return folder, summary


def _config_of_fold(config: TrainConfig, folder: Path) -> TrainConfig:
    """The options with which a fold is trained, or resumed if its folder is a run."""
    return dataclasses.replace(
        config,
        folds=None,
        group_by=None,
        split_dir=str(folder / "split"),
        trained_model_path=str(folder.parent),
        start_from=str(folder.parent / START) if config.start_from else None,
        resume=str(folder) if (folder / "config.json").is_file() else None,
    )


def _test(folder: Path, pairs: Sequence[Pair], rule: MaskRule) -> list[dict[str, Any]]:
    """Score the test images of a fold, and write `test.csv`; read it if it exists."""
    path = folder / "test.csv"
    rows: list[dict[str, Any]]
    if not path.exists():
        rows = [
            {"stem": scored.pair.stem, **scored.scores}
            for scored in evaluate(Predictor.load(folder), pairs, rule=rule)
        ]
        with saving(folder):
            write_text(path, _csv(("stem", *SCORES), rows))
    with reading(path, "the scores of a fold's test images", "resume"):
        rows = [
            {"stem": row["stem"], **{name: float(row[name]) for name in SCORES}}
            for row in csv_rows(path)
        ]
        if [row["stem"] for row in rows] != [pair.stem for pair in pairs]:
            raise ValueError("of other images")
        if not all(0 <= row[name] <= 1 for row in rows for name in SCORES):
            raise ValueError("a score outside [0, 1]")
    return rows


def _csv(names: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    return csv_text(
        names,
        (
            [f"{row[name]:.6f}" if isinstance(row[name], float) else row[name] for name in names]
            for row in rows
        ),
    )


def _summary(
    validation: Sequence[Mapping[str, float]], rows: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """The content of `folds.json`.

    Args:
        validation: scores of the best epoch of each fold.
        rows: of `out_of_fold.csv`.
    """
    folds = range(1, len(validation) + 1)
    test = [
        {name: np.mean([row[name] for row in rows if row["fold"] == fold]) for name in SCORES}
        for fold in folds
    ]
    return {
        "folds": len(validation),
        "images": len(rows),
        "validation": {name: _statistics([fold[name] for fold in validation]) for name in SCORES},
        "test": {name: _statistics([fold[name] for fold in test]) for name in SCORES},
    }


def _statistics(values: Sequence[Any]) -> dict[str, Any]:
    """Mean and sample standard deviation."""
    return {
        "mean": float(np.mean(values)),
        "std": float(np.std(values, ddof=1)),
        "of_each_fold": [float(v) for v in values],
    }

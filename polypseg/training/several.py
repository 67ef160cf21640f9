"""Several runs in the folder of one: what a cross-validation and runs with several seeds share."""

import dataclasses
import gc
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np

from polypseg.data.mask_rule import MaskRule
from polypseg.data.pairs import Pair
from polypseg.errors import reading
from polypseg.experiment.checkpoint import saving
from polypseg.experiment.config import TrainConfig
from polypseg.experiment.run import START, new_run
from polypseg.experiment.trained import note_other_slices, note_seen, start_path
from polypseg.files import csv_rows, csv_text, write_text
from polypseg.inference.predictor import Predictor
from polypseg.scoring.evaluation import evaluate

from .datasets import Data
from .interrupt import Signals
from .progress import Progress
from .train import run_name, train

SCORES = ("dice", "iou")


class Member(NamedTuple):
    """The scores of one of the runs.

    Attributes:
        validation: Dice and IoU of its best epoch.
        test: a row with `"stem"`, `"dice"` and `"iou"` for each of its test images.
    """

    validation: dict[str, float]
    test: list[dict[str, Any]]

    @property
    def test_means(self) -> dict[str, float]:
        """The mean Dice and IoU of the test images."""
        return {name: float(np.mean([row[name] for row in self.test])) for name in SCORES}


def runs_folder(config: TrainConfig, kind: str, data: Sequence[Data], seen: Iterable[str]) -> Path:
    """The folder in which the runs are: a new one, or that of `config.resume`.

    Args:
        config: the options of all runs.
        kind: the end of the new folder's name, such as `"folds"`.
        data: of each split.
        seen: stems of the images to validate and test on, see `note_seen`.
    """
    if config.resume:
        return Path(config.resume)
    first, start = data[0], start_path(config)
    note_seen(config, (first.files[stem][0] for stem in seen))
    note_other_slices(config, first.preparation)
    return new_run(
        config.trained_model_path,
        f"{run_name(config)}_{kind}",
        config,
        first.report_text,
        first.files,
        [part.split for part in data],
        start,
        first.preparation,
    )


def train_member(
    config: TrainConfig,
    data: Data,
    folder: Path,
    progress: Progress,
    signals: Signals | None,
    **changed: Any,
) -> Member:
    """Train one of the runs and score it on its test images, unless that is done.

    Args:
        config: the options of all runs.
        data: of this run.
        folder: of this run, in the folder of all.
        progress, signals: as for `train`.
        **changed: options of this run that differ.
    """
    _, best = train(
        dataclasses.replace(
            config,
            folds=None,
            seeds=None,
            split_dir=str(folder / "split"),
            trained_model_path=str(folder.parent),
            start_from=str(folder.parent / START) if config.start_from else None,
            resume=str(folder) if (folder / "config.json").is_file() else None,
            **changed,
        ),
        data,
        folder,
        progress,
        signals,
    )
    keras.backend.clear_session()
    gc.collect()
    rows = score_test(folder, data.subsets["test"], config.mask_rule)
    return Member({name: best[f"val_{name}"] for name in SCORES}, rows)


def score_test(folder: Path, pairs: Sequence[Pair], rule: MaskRule) -> list[dict[str, Any]]:
    """Score the test images of a run, and write `test.csv`; read it if it exists."""
    path = folder / "test.csv"
    rows: list[dict[str, Any]]
    if not path.exists():
        rows = [
            {"stem": scored.pair.stem, **scored.scores}
            for scored in (evaluate(_in_keras(folder), pairs, rule=rule) if pairs else ())
        ]
        with saving(folder):
            write_text(path, scores_csv(("stem", *SCORES), rows))
    with reading(path, "the scores of a run's test images", "resume"):
        rows = [
            {"stem": row["stem"], **{name: float(row[name]) for name in SCORES}}
            for row in csv_rows(path)
        ]
        if [row["stem"] for row in rows] != [pair.stem for pair in pairs]:
            raise ValueError("of other images")
        if not all(0 <= row[name] <= 1 for row in rows for name in SCORES):
            raise ValueError("a score outside [0, 1]")
    return rows


def _in_keras(folder: Path) -> Predictor:
    """The network of a run, always in the same engine, whether it is resumed or not."""
    return Predictor.load(folder, engine="keras")


def scores_csv(names: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """Rows as CSV, with six digits after the point."""
    return csv_text(
        names,
        (
            [f"{row[name]:.6f}" if isinstance(row[name], float) else row[name] for name in names]
            for row in rows
        ),
    )


def statistics(of_each: str, scores: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """Mean and sample standard deviation (n - 1 in the denominator) of Dice and IoU.

    Args:
        of_each: key of the list of all values, such as `"of_each_fold"`.
        scores: of each run.

    >>> scores = [{"dice": 0.5, "iou": 0.4}, {"dice": 0.7, "iou": 0.4}]
    >>> statistics("of_each_fold", scores)["iou"]
    {'mean': 0.4, 'std': 0.0, 'of_each_fold': [0.4, 0.4]}
    """
    values = {name: [float(row[name]) for row in scores] for name in SCORES}
    return {
        name: {
            "mean": float(np.mean(column)),
            "std": float(np.std(column, ddof=1)),
            of_each: column,
        }
        for name, column in values.items()
    }

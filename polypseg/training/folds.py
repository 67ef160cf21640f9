"""Cross-validation: one run per fold, and a table with the test scores of all images."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from polypseg.experiment.checkpoint import saving
from polypseg.experiment.config import TrainConfig
from polypseg.experiment.run_folder import lock_run
from polypseg.files import write_text

from .datasets import Data
from .interrupt import Signals
from .progress import Progress, Silent
from .several import SCORES, Member, runs_folder, scores_csv, statistics, train_member


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
    folder = runs_folder(config, "folds", folds, folds[0].files)
    members = []
    with lock_run(folder):
        for number, data in enumerate(folds, 1):
            progress.fold_begins(number, len(folds), data.subsets)
            member = train_member(config, data, folder / f"fold-{number}", progress, signals)
            members.append(member)
        rows = [
            row | {"fold": number}
            for number, member in enumerate(members, 1)
            for row in member.test
        ]
        summary = _summary(members)
        with saving(folder):
            write_text(folder / "out_of_fold.csv", scores_csv(("stem", "fold", *SCORES), rows))
            write_text(folder / "folds.json", json.dumps(summary, indent=2) + "\n")
    return folder, summary


def _summary(members: Sequence[Member]) -> dict[str, Any]:
    """The content of `folds.json`."""
    of_each = "of_each_fold"
    return {
        "folds": len(members),
        "images": sum(len(member.test) for member in members),
        "validation": statistics(of_each, [member.validation for member in members]),
        "test": statistics(of_each, [member.test_means for member in members]),
    }

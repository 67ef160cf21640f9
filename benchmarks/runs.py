"""Trainings of benchmarks, which are not repeated when a benchmark is started again."""

import json
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from polypseg.experiment.checkpoint import best_row, read_history
from polypseg.experiment.run_folder import runs_in


def call(*words: object) -> None:
    """Run Python with these arguments. Raises `CalledProcessError` if it fails."""
    subprocess.run([sys.executable, *map(str, words)], check=True)


def trained(folder: Path, options: Sequence[object]) -> list[Path]:
    """The runs of `train.py OPTIONS`, which has `--seeds`, in a folder of their own.

    They are trained now, or resumed, unless they are complete.

    Returns:
        The run folder of each seed.

    Raises:
        ValueError: the folder has runs with other options.
    """
    words, stored = [*map(str, options)], folder / "options.json"
    if stored.exists() and json.loads(stored.read_text()) != words:
        raise ValueError(f"options must be those of {stored}, got {' '.join(words)}")
    folder.mkdir(parents=True, exist_ok=True)
    stored.write_text(json.dumps(words))
    begun = next(folder.glob("*/config.json"), None)
    if begun is None:
        call("train.py", *words, "--trained-model-path", folder)
    elif not (begun.parent / "seeds.json").exists():
        call("train.py", "--resume", begun.parent, *({"--no-export"} & {*words}))
    (runs,) = folder.glob("*/config.json")
    return runs_in(runs.parent)


def validation(runs: Sequence[Path]) -> tuple[list[float], int]:
    """The best validation Dice of each run, and the mean seconds of a training."""
    histories = [read_history(run / "history.csv") for run in runs]
    seconds = [sum(row["seconds"] for row in history) for history in histories]
    best = [round(best_row(history)["val_dice"], 4) for history in histories]
    return best, round(statistics.mean(seconds))

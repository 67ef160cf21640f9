"""Runs that differ only in their seed: how much chance changes the scores of a network."""

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
from .several import Member, runs_folder, statistics, train_member


def train_seeds(
    config: TrainConfig,
    runs: Sequence[Data],
    progress: Progress | None = None,
    signals: Signals | None = None,
) -> tuple[Path, dict[str, Any]]:
    """Train and test a network for each seed, in folders such as `seed-12` of one folder.

    The split is drawn once, with `config.seed`, which is also the first seed. The others are the
    numbers after it. If the run is resumed, finished seeds are not trained again. `seeds.json` has
    the mean and standard deviation over the seeds, with n - 1 in the denominator. The test scores
    are at the size of the mask, with threshold 0.5.

    Args:
        config: a checked `TrainConfig` with `seeds`.
        runs: the result of `load_seeds`.
        progress, signals: as for `train`.

    Returns:
        The path of the folder, and the content of `seeds.json`.

    Raises:
        InputError, Interrupted: as for `train`.
    """
    progress = Silent() if progress is None else progress
    tested = [pair.stem for name in ("val", "test") for pair in runs[0].subsets[name]]
    folder = runs_folder(config, "seeds", runs[:1], tested)
    members = {}
    with lock_run(folder):
        for number, data in enumerate(runs):
            seed = config.seed + number
            progress.seed_begins(seed, number + 1, len(runs), data.subsets)
            members[seed] = train_member(
                config, data, folder / f"seed-{seed}", progress, signals, seed=seed
            )
        summary = _summary([*members], [*members.values()])
        with saving(folder):
            write_text(folder / "seeds.json", json.dumps(summary, indent=2) + "\n")
    return folder, summary


def _summary(seeds: Sequence[int], members: Sequence[Member]) -> dict[str, Any]:
    """The content of `seeds.json`. `"test"` is None if the split has no test images."""
    of_each, images = "of_each_seed", len(members[0].test)
    return {
        "seeds": list(seeds),
        "images": images,
        "validation": statistics(of_each, [member.validation for member in members]),
        "test": statistics(of_each, [member.test_means for member in members]) if images else None,
    }

"""A training run on a terminal."""

import math
import sys
from collections.abc import Mapping, Sized
from pathlib import Path

from tqdm import tqdm

from .run import say


class TrainingProgress:
    """A progress bar for the steps of an epoch, and one line per epoch, fold and seed.

    It has the methods of `polypseg.training.progress.Progress`.
    """

    def __init__(self) -> None:
        self.runs_left = 0

    def fold_begins(self, number: int, folds: int, subsets: Mapping[str, Sized]) -> None:
        self._run_begins(f"fold {number} of {folds}", folds - number, subsets)

    def seed_begins(self, seed: int, number: int, seeds: int, subsets: Mapping[str, Sized]) -> None:
        self._run_begins(f"seed {seed}, {number} of {seeds}", seeds - number, subsets)

    def _run_begins(self, name: str, left: int, subsets: Mapping[str, Sized]) -> None:
        self.runs_left = left
        counts = ", ".join(f"{len(pairs)} {subset}" for subset, pairs in subsets.items())
        say(f"{name}: {counts}")

    def build_begins(self) -> None:
        say("building the network")

    def epoch_begins(self, number: int, epochs: int, steps: int) -> None:
        self.epochs = epochs
        self.title = f"epoch {number:{len(str(epochs))}}/{epochs}"
        self.bar = tqdm(
            total=steps,
            desc=self.title,
            leave=False,
            dynamic_ncols=True,
            file=sys.stderr,
            disable=not sys.stderr.isatty(),
            bar_format="{desc} {bar} {n}/{total} {remaining} left{postfix}",
        )

    def step_ends(self, loss: float, dice: float) -> None:
        self.bar.set_postfix_str(f"loss {loss:.3f}, Dice {dice:.3f}", refresh=False)
        self.bar.update()

    def epoch_ends(
        self, scores: Mapping[str, float], seconds: float, better: bool, epochs_left: int
    ) -> None:
        self.bar.close()
        # At most, because a run may stop before its last epoch.
        left = seconds * (epochs_left + self.runs_left * self.epochs)
        estimate = f"  at most {_duration(left)} left" if left else ""
        validation = f"loss {scores['val_loss']:.3f}  Dice {scores['val_dice']:.4f}  "
        validation += f"IoU {scores['val_iou']:.4f}"
        if "val_false_alarms" in scores:
            validation += f"  false alarms {scores['val_false_alarms']:.1%}"
        say(
            f"{self.title}  loss {scores['loss']:.3f}  Dice {scores['dice']:.3f}  |  "
            f"validation: {validation}  |  {seconds:.0f} s{' *' if better else ''}{estimate}"
        )

    def temperature_fitted(self, temperature: float) -> None:
        say(f"temperature: {temperature:.3g} (fitted on validation)")

    def export_begins(self, path: Path) -> None:
        say(f"writing {path}, which starts faster than Keras ...")


def _duration(seconds: float) -> str:
    """A duration in words, rounded up.

    >>> _duration(70), _duration(12.4 * 60), _duration(2.41 * 3600)
    ('70 s', '13 min', '2.5 h')
    """
    if seconds <= 90:
        return f"{math.ceil(seconds)} s"
    if seconds <= 90 * 60:
        return f"{math.ceil(seconds / 60)} min"
    return f"{math.ceil(seconds / 360) / 10} h"

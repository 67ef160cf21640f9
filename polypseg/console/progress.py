"""A training run on a terminal."""

import sys
from collections.abc import Mapping, Sized

from tqdm import tqdm


class TrainingProgress:
    """A progress bar for the steps of an epoch, and one line per epoch and per fold.

    It has the methods of `polypseg.training.progress.Progress`.
    """

    def fold_begins(self, number: int, folds: int, subsets: Mapping[str, Sized]) -> None:
        counts = ", ".join(f"{len(pairs)} {name}" for name, pairs in subsets.items())
        print(f"fold {number} of {folds}: {counts}", flush=True)

    def build_begins(self) -> None:
        print("building the network", flush=True)

    def epoch_begins(self, number: int, epochs: int, steps: int) -> None:
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

    def epoch_ends(self, scores: Mapping[str, float], seconds: float, better: bool) -> None:
        self.bar.close()
        print(
            f"{self.title}  loss {scores['loss']:.3f}  Dice {scores['dice']:.3f}  |  "
            f"validation: loss {scores['val_loss']:.3f}  Dice {scores['val_dice']:.4f}  "
            f"IoU {scores['val_iou']:.4f}  |  {seconds:.0f} s{' *' if better else ''}",
            flush=True,
        )

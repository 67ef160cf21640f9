"""What a run reports while it trains."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from polypseg.data.pairs import Pair


class Progress(Protocol):
    """Methods that training calls to report what it does. As they are, they do nothing.

    >>> class PrintEpochs(Progress):
    ...     def epoch_begins(self, number, epochs, steps):
    ...         print(f"epoch {number} of {epochs}")
    >>> PrintEpochs().epoch_begins(1, 40, 50)
    epoch 1 of 40
    """

    # Each method returns explicitly, because mypy takes one with an empty body for abstract.

    def fold_begins(self, number: int, folds: int, subsets: Mapping[str, Sequence[Pair]]) -> None:
        """Fold `number` of `folds` begins, counted from 1.

        Args:
            subsets: its pairs in `"train"`, `"val"` and `"test"`.
        """
        return

    def seed_begins(
        self, seed: int, number: int, seeds: int, subsets: Mapping[str, Sequence[Pair]]
    ) -> None:
        """The run with the seed `seed` begins, which is number `number` of `seeds`, from 1.

        Args:
            subsets: the pairs in `"train"`, `"val"` and `"test"`, equal for all seeds.
        """
        return

    def build_begins(self) -> None:
        """The network is going to be built, or loaded, which takes seconds to minutes."""
        return

    def epoch_begins(self, number: int, epochs: int, steps: int) -> None:
        """Epoch `number` of `epochs` begins, counted from 1; it has `steps` steps."""
        return

    def step_ends(self, loss: float, dice: float) -> None:
        """A step ends; `loss` and `dice` are the means of this epoch so far, in training."""
        return

    def epoch_ends(
        self, scores: Mapping[str, float], seconds: float, better: bool, epochs_left: int
    ) -> None:
        """An epoch ends.

        Args:
            scores: `loss`, `dice` and `iou` in training, and `val_loss`, `val_dice` and `val_iou`
                in validation. `false_alarms` and `val_false_alarms` too if there are images without
                foreground; Dice and IoU are then those of the other images.
            seconds: duration of the epoch, including validation and saving.
            better: whether its validation Dice is the highest so far.
            epochs_left: how many epochs can follow in this run; 0 if training stops here.
        """
        return

    def temperature_fitted(self, temperature: float) -> None:
        """The last epoch has ended, and the network's temperature is fitted and saved."""
        return

    def export_begins(self, path: Path) -> None:
        """The network is going to be exported to `path`, which takes up to minutes."""
        return


class Silent(Progress):
    """Reports nothing."""

"""Callbacks of `fit`: seeds, files of the run folder, progress, an end when the loss is NaN."""

import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import keras
import numpy as np

from polypseg.drawing.curves import plot_curves
from polypseg.errors import InputError
from polypseg.experiment.checkpoint import (
    Row,
    Saved,
    best_row,
    history_digest,
    is_complete,
    save_model,
    saving,
    write_history,
)
from polypseg.experiment.config import TrainConfig
from polypseg.experiment.run import run_id

from .ema import averaged_weights
from .progress import Progress

Logs = Mapping[str, float]


class NonFiniteLoss(InputError):
    """The loss became NaN or infinite."""


class StopOnNonFinite(keras.callbacks.Callback):
    """Raise `NonFiniteLoss` at the step in which it happens, before anything is saved."""

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self.epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Logs) -> None:
        if not math.isfinite(logs["loss"]):
            raise NonFiniteLoss(
                f"the loss became {logs['loss']} in epoch {self.epoch + 1}, step {batch + 1}"
            )


class SeedEpoch(keras.callbacks.Callback):
    """Seed dropout by (seed, epoch), so that a resumed run draws what an uninterrupted one does.

    Keras does not save the state of its random generators. The order of the data follows from
    (seed, epoch) too.

    Args:
        seed: 0 to 2^32 - 1.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.seed = seed

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        states = [
            variable
            for variable in self.model.variables
            if variable.path.endswith("seed_generator_state")
        ]
        for index, state in enumerate(states):
            state.assign(np.random.SeedSequence([self.seed, epoch, index]).generate_state(2))
        self.epoch = epoch

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        # Under torch dropout draws from the global generator. So does the data loader of the first
        # epoch, between on_epoch_begin and this.
        if batch == 0 and keras.backend.backend() == "torch":
            import torch

            torch.manual_seed(
                np.random.SeedSequence([self.seed, self.epoch]).generate_state(1)[0].item()
            )


class RunFolder(keras.callbacks.Callback):
    """Write the files of the run folder after each epoch, and stop when the run is complete.

    The files are `history.csv`, `last.keras`, `best.keras` (of the highest validation Dice) and
    `curves.png`.

    Args:
        folder: the run folder.
        plain: an uncompiled copy of the model, from which `best.keras` is saved. So that file
            contains no optimiser.
        config: the run is complete after its `epochs`, or `patience` epochs after the best one.
        history: the rows of the epochs before.

    Raises:
        NonFiniteLoss: the validation loss is NaN or infinite.
        SaveError: a file cannot be written.
    """

    def __init__(
        self, folder: Path, plain: keras.Model, config: TrainConfig, history: Sequence[Row]
    ) -> None:
        super().__init__()
        self.folder, self.plain, self.config = folder, plain, config
        self.history, self.run = list(history), run_id(folder)

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self.started = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        rate = keras.ops.convert_to_numpy(self.model.optimizer.learning_rate)
        # Nine digits, as in history.csv: a resumed run compares the same numbers.
        numbers = {
            name: float(f"{float(value):.9g}") for name, value in {"lr": rate, **logs}.items()
        }
        seconds = round(time.perf_counter() - self.started, 2)
        row: Row = {"epoch": epoch + 1, **numbers, "seconds": seconds}
        if not math.isfinite(row["val_loss"]):  # after the last step of the epoch
            raise NonFiniteLoss(
                f"the validation loss became {row['val_loss']} in epoch {epoch + 1}"
            )
        history = [*self.history, row]
        with saving(self.folder):
            path = self.folder / "history.csv"
            write_history(path, history)
            saved = Saved(epoch + 1, self.run, history_digest(path, epoch + 1))
            save_model(self.model, self.folder / "last.keras", saved)
            self.history = history
            if best_row(history) is row:
                self.save_best()
            plot_curves(history, self.folder / "curves.png")
        self.model.stop_training = is_complete(history, self.config)

    def save_best(self) -> None:
        """Save the model, with the averages of its weights if there are any, as `best.keras`."""
        with averaged_weights(self.model):
            self.plain.set_weights(self.model.get_weights())
        saved = Saved(len(self.history), self.run, temperature=None)
        save_model(self.plain, self.folder / "best.keras", saved)


class ReportProgress(keras.callbacks.Callback):
    """Report the steps and epochs of `fit`.

    It comes after `RunFolder`, which decides whether training stops.

    Args:
        progress: what to report to.
        epochs: number of epochs of the run.
        steps: number of steps in an epoch.
        best: the highest validation Dice so far; -1 if there is none.
    """

    def __init__(self, progress: Progress, epochs: int, steps: int, best: float = -1.0) -> None:
        super().__init__()
        self.progress, self.epochs, self.steps, self.best = progress, epochs, steps, best

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self.progress.epoch_begins(epoch + 1, self.epochs, self.steps)
        self.started = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: Logs) -> None:
        self.progress.step_ends(logs["loss"], logs["dice"])

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        better = logs["val_dice"] > self.best
        self.best = max(self.best, logs["val_dice"])
        left = 0 if self.model.stop_training else self.epochs - (epoch + 1)
        self.progress.epoch_ends(logs, time.perf_counter() - self.started, better, left)

"""What happens around the steps of a training run."""

import math
import time

import keras
import numpy as np

from polypseg.drawing.curves import plot_curves
from polypseg.errors import InputError
from polypseg.experiment.checkpoint import (
    Saved,
    best_row,
    history_digest,
    is_complete,
    save_model,
    saving,
    write_history,
)
from polypseg.experiment.run import run_id

from .ema import averages


class NonFiniteLoss(InputError):
    """The loss became NaN or infinite."""


class StopOnNonFinite(keras.callbacks.Callback):
    """Raise `NonFiniteLoss` at the step it happens, before anything is saved."""

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if not math.isfinite(logs["loss"]):
            raise NonFiniteLoss(
                f"the loss became {logs['loss']} in epoch {self.epoch + 1}, step {batch + 1}"
            )


class SeedEpoch(keras.callbacks.Callback):
    """What dropout draws follows from (seed, epoch), as the order of the data does: Keras does not
    save its state.
    """

    def __init__(self, seed):
        super().__init__()
        self.seed = seed

    def on_epoch_begin(self, epoch, logs=None):
        states = [
            variable
            for variable in self.model.variables
            if variable.path.endswith("seed_generator_state")
        ]
        for index, state in enumerate(states):
            state.assign(np.random.SeedSequence([self.seed, epoch, index]).generate_state(2))
        self.epoch = epoch

    def on_train_batch_begin(self, batch, logs=None):
        # Under torch dropout draws from the global generator, and so does the first epoch's data
        # loader, before this.
        if batch == 0 and keras.backend.backend() == "torch":
            import torch

            torch.manual_seed(
                np.random.SeedSequence([self.seed, self.epoch]).generate_state(1)[0].item()
            )


class RunFolder(keras.callbacks.Callback):
    """After each epoch: `history.csv`, `last.keras`, `best.keras` (by validation Dice),
    `curves.png`; and the end.

    Args:
        folder: the run folder.
        plain: an uncompiled twin of the model; `best.keras` is saved from it, without
            optimiser state, ready to be used.
        config: its `epochs` and `patience` say when the run is complete.
        history: the rows of the epochs before.
    """

    def __init__(self, folder, plain, config, history):
        super().__init__()
        self.folder, self.plain, self.config = folder, plain, config
        self.history, self.run = list(history), run_id(folder)

    def on_epoch_begin(self, epoch, logs=None):
        self.started = time.perf_counter()

    def on_epoch_end(self, epoch, logs):
        numbers = {"lr": keras.ops.convert_to_numpy(self.model.optimizer.learning_rate)} | logs
        # The digits that history.csv keeps: a resumed run compares the same numbers.
        row = {"epoch": epoch + 1} | {
            name: float(f"{float(value):.9g}") for name, value in numbers.items()
        }
        row["seconds"] = round(time.perf_counter() - self.started, 2)
        if not math.isfinite(row["val_loss"]):  # the last step may have made it so
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

    def save_best(self):
        """Save what the model is now, or the averages of its weights, as `best.keras`."""
        with averages(self.model):
            self.plain.set_weights(self.model.get_weights())
        save_model(self.plain, self.folder / "best.keras", Saved(len(self.history), self.run))


class ReportProgress(keras.callbacks.Callback):
    """Tell a `Progress` of the steps and epochs of `fit`; `best` is the validation Dice so far."""

    def __init__(self, progress, epochs, steps, best=-1.0):
        super().__init__()
        self.progress, self.epochs, self.steps, self.best = progress, epochs, steps, best

    def on_epoch_begin(self, epoch, logs=None):
        self.progress.epoch_begins(epoch + 1, self.epochs, self.steps)
        self.started = time.perf_counter()

    def on_train_batch_end(self, batch, logs=None):
        self.progress.step_ends(logs["loss"], logs["dice"])

    def on_epoch_end(self, epoch, logs):
        better = logs["val_dice"] > self.best
        self.best = max(self.best, logs["val_dice"])
        self.progress.epoch_ends(logs, time.perf_counter() - self.started, better)

"""What happens around the steps of a training run."""

import csv
import io
import math
import os
import sys
import time

import keras
from tqdm import tqdm

from .report import plot_curves
from .run import write_text


class NonFiniteLoss(ValueError):
    """The loss became NaN or infinite."""


class StopOnNonFinite(keras.callbacks.Callback):
    """Raise `NonFiniteLoss` at the step it happens, before anything is saved."""

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if not math.isfinite(logs["loss"]):
            raise NonFiniteLoss(f"the loss became {logs['loss']} in epoch {self.epoch + 1}, step {batch + 1}")


class RunFolder(keras.callbacks.Callback):
    """After each epoch: `last.keras`, `best.keras` (by validation Dice), `history.csv`, `curves.png`.

    Args:
        folder: the run folder.
        plain: an uncompiled twin of the model; `best.keras` is saved from it, without
            optimiser state, ready to be used.
    """

    def __init__(self, folder, plain):
        super().__init__()
        self.folder, self.plain = folder, plain
        self.history = []
        self.best = None

    def on_epoch_begin(self, epoch, logs=None):
        self.started = time.perf_counter()

    def on_epoch_end(self, epoch, logs):
        row = {"epoch": epoch + 1, "lr": float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))}
        row |= {name: float(value) for name, value in logs.items()}
        row["seconds"] = round(time.perf_counter() - self.started, 2)
        self.history.append(row)
        if self.best is None or row["val_dice"] > self.best["val_dice"]:
            self.best = row
            self.plain.set_weights(self.model.get_weights())
            save_model(self.plain, self.folder / "best.keras")
        save_model(self.model, self.folder / "last.keras")
        write_text(self.folder / "history.csv", _csv(self.history))
        plot_curves(self.history, self.folder / "curves.png")


def save_model(model, path):
    """Save a `.keras` file whole or not at all."""
    temporary = path.with_name(f".part-{path.name}")  # Keras wants the suffix
    try:
        model.save(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _csv(rows):
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0].keys(), lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: f"{value:.6g}" if isinstance(value, float) else value for key, value in row.items()} for row in rows)
    return text.getvalue()


class Progress(keras.callbacks.Callback):
    """One bar that is redrawn for each step, and a line that stays for each epoch."""

    def __init__(self, epochs, steps):
        super().__init__()
        self.epochs, self.steps = epochs, steps
        self.best = -1.0

    def on_epoch_begin(self, epoch, logs=None):
        width = len(str(self.epochs))
        self.title = f"epoch {epoch + 1:{width}}/{self.epochs}"
        self.started = time.perf_counter()
        self.bar = tqdm(
            total=self.steps, desc=self.title, leave=False, dynamic_ncols=True, file=sys.stderr,
            disable=not sys.stderr.isatty(), bar_format="{desc} {bar} {n}/{total} {remaining} left{postfix}",
        )

    def on_train_batch_end(self, batch, logs=None):
        self.bar.set_postfix_str(f"loss {logs['loss']:.3f}, Dice {logs['dice']:.3f}", refresh=False)
        self.bar.update()

    def on_epoch_end(self, epoch, logs):
        self.bar.close()
        mark = " *" if logs["val_dice"] > self.best else ""
        self.best = max(self.best, logs["val_dice"])
        seconds = time.perf_counter() - self.started
        print(
            f"{self.title}  loss {logs['loss']:.3f}  Dice {logs['dice']:.3f}  |  validation: loss {logs['val_loss']:.3f}  "
            f"Dice {logs['val_dice']:.4f}  IoU {logs['val_iou']:.4f}  |  {seconds:.0f} s{mark}",
            flush=True,
        )

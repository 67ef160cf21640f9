"""The curves of a training run."""

import os
from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from polypseg.files import atomic

from .colours import BEST, TRAINING, VALIDATION, to_hex


def plot_curves(history: Sequence[Mapping[str, float]], path: str | os.PathLike[str]) -> None:
    """Plot loss and Dice over the epochs, for training and validation, as a PNG.

    Args:
        history: one or more rows with epoch, loss, dice, val_loss and val_dice.
        path: file to write. An older file is replaced when the new one is complete.

    Raises:
        OSError: the file cannot be written.
    """
    epochs = [row["epoch"] for row in history]
    best = max(history, key=lambda row: row["val_dice"])
    figure = Figure(figsize=(10, 3.8))  # not pyplot: its state is global
    # Fixed margins: a layout that is computed draws everything twice, after each epoch.
    figure.subplots_adjust(left=0.06, right=0.99, top=0.92, bottom=0.14, wspace=0.15)
    axes = figure.subplots(1, 2)
    for axis, name, title in zip(axes, ("loss", "dice"), ("Loss", "Dice")):
        axis.plot(
            epochs,
            [row[name] for row in history],
            color=to_hex(TRAINING),
            label="training (augmented)",
            marker=".",
        )
        axis.plot(
            epochs,
            [row[f"val_{name}"] for row in history],
            color=to_hex(VALIDATION),
            label="validation",
            marker=".",
        )
        axis.axvline(best["epoch"], color=to_hex(BEST), linewidth=1, linestyle="--")
        axis.set_title(title, loc="left", fontweight="bold")
        axis.set_xlabel("epoch")
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylim(bottom=0)
    axes[1].set_ylim(0, 1)
    axes[1].annotate(
        f"best {best['val_dice']:.3f}, epoch {best['epoch']}",
        (best["epoch"], best["val_dice"]),
        xytext=(0, -28),
        textcoords="offset points",
        color=to_hex(BEST),
        ha="right" if best["epoch"] > epochs[-1] / 2 else "left",
    )
    axes[1].legend(frameon=False, loc="lower center")
    with atomic(path) as temporary:
        figure.savefig(temporary, dpi=110)

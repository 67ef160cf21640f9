"""What a run folder holds of its training after each epoch, and reading it back.

An epoch is finished at one moment: when `last.keras` is replaced. It carries its number, so that a
`history.csv` with one row more, or a `best.keras` that was not yet replaced, are known for what
they are.
"""

import contextlib
import csv
import json
import math
import os
import shlex
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

from polypseg.errors import InputError, reading, reason
from polypseg.files import atomic, csv_text, digest, remove, write_text
from polypseg.runtime import command

COLUMNS = ("epoch", "lr", "loss", "dice", "iou", "val_loss", "val_dice", "val_iou", "seconds")


class SaveError(InputError):
    """A file of the run could not be written; those that were there before are whole."""


@contextlib.contextmanager
def saving(folder):
    """Turn what a full disk raises into a `SaveError` of one line."""
    try:
        yield
    except (OSError, RuntimeError) as error:  # h5py raises either
        raise SaveError(
            f"{folder}: expected to save the network and its history, got: {reason(error)}"
        ) from error


class Saved(NamedTuple):
    """What a `.keras` file says of itself: after which epoch it was saved, in which run (see
    `run.run_id`) and with which history (see `history_digest`); these are None in earlier versions.
    """

    epoch: int
    run: str | None = None
    history: str | None = None


def save_model(model: Any, path: Path, saved: Saved) -> None:
    """Save a `.keras` file complete or not at all, with what `read_saved` reads."""
    with atomic(path, durable=True) as temporary:
        model.save(temporary)
        with zipfile.ZipFile(temporary, "a") as archive:
            archive.comment = json.dumps(saved._asdict()).encode()


def read_saved(path: Path, argument: str = "resume") -> Saved:
    """Of a file of `save_model`; epoch 0 where there is no such file, or Keras's own one. Raises
    `InputError`.
    """
    if not os.path.exists(path):
        return Saved(0)
    with (
        reading(path, "a complete file that training saved", argument),
        zipfile.ZipFile(path) as archive,
    ):
        if not archive.comment:
            return Saved(0)
        saved = Saved(**json.loads(archive.comment))
        digests = all(isinstance(value, str | None) for value in saved[1:])
        if type(saved.epoch) is not int or saved.epoch < 1 or not digests:
            raise ValueError(f"it says {archive.comment!r}")
        return saved


def saved_epoch(path: Path) -> int:
    """The epoch, from 1, after which a `.keras` file was saved; 0 where there is no such file."""
    return read_saved(path).epoch


def write_history(path, rows):
    """Write `history.csv`; nine digits give each float32 back exactly."""
    cells = (
        [f"{value:.9g}" if isinstance(value, float) else value for value in row.values()]
        for row in rows
    )
    write_text(path, csv_text(rows[0], cells))


def read_history(path: Path, argument: str = "resume") -> list[dict[str, Any]]:
    """The rows of `history.csv`, one for each epoch from 1; [] where there is none.

    Raises:
        InputError: a row or a column is missing, a value is no number, or a validation Dice is not
            finite.
    """
    if not os.path.lexists(path):
        return []
    rows: list[dict[str, Any]] = []
    with reading(path, "the history of a run", argument):
        with open(path, newline="", encoding="utf-8") as file:
            for cells in csv.DictReader(file, strict=True):
                row: dict[str, Any] = {key: float(value) for key, value in cells.items()}
                lacking = [name for name in COLUMNS if name not in row]
                # Others may be nan, in a run that was stopped for it.
                broken = not math.isfinite(row.get("val_dice", math.nan))
                if lacking or broken or row["epoch"] != len(rows) + 1:
                    raise ValueError(f"row {len(rows) + 1} is {', '.join(cells.values())}")
                rows.append(row | {"epoch": len(rows) + 1})
    return rows


def history_digest(path: Path, epochs: int) -> str:
    """Of the headings and the first rows of `history.csv`, 16 hexadecimal digits."""
    lines = path.read_bytes().split(b"\n")[: epochs + 1]
    return digest(b"\n".join(lines))


def best_row(history):
    """The first row with the highest validation Dice."""
    return max(history, key=lambda row: row["val_dice"])


def is_complete(history, config):
    """All epochs are done, or `patience` of them brought no better validation Dice."""
    if not history:
        return False
    return (
        len(history) >= config.epochs
        or len(history) - best_row(history)["epoch"] >= config.patience
    )


def remove_parts(folder):
    """Remove what a killed process was writing."""
    for path in [*folder.glob(".part-*"), *folder.glob(".*.part")]:
        remove(path)


def finished_epochs(folder: Path) -> list[dict[str, Any]]:
    """The rows of the epochs that are finished.

    Raises:
        InputError: `last.keras` has gone, so that the run would begin again over what it left; or
            the history ends before it.
    """
    rows, path = read_history(folder / "history.csv"), folder / "last.keras"
    epochs = saved_epoch(path)
    # A run that was killed in its first epoch may have a row of history, and nothing more.
    if not epochs and ((folder / "best.keras").exists() or len(rows) > 1):
        raise InputError(
            f"expected last.keras in {folder}, which has finished epochs, got none; the run cannot "
            f"go on and is left as it is: begin a new one with its network: {_start_from(folder)}",
            "resume",
        )
    if len(rows) < epochs:
        raise InputError(
            f"expected a row for each of {epochs} epochs in {folder / 'history.csv'}, got "
            f"{len(rows)}",
            "resume",
        )
    return rows[:epochs]


def _start_from(folder):
    return f"{command('train')} --start-from {shlex.quote(str(folder))}"


def progress(config):
    """What is done of the run `config.resume`, in words."""
    folder = Path(config.resume)
    if config.folds:
        done = sum(
            (folder / f"fold-{number}" / "test.csv").exists()
            for number in range(1, config.folds + 1)
        )
        return f"{done} of {config.folds} folds are done"
    rows = finished_epochs(folder)
    if is_complete(rows, config):
        return (
            f"complete after {len(rows)} epochs: nothing left to train; to train its network "
            f"further: {_start_from(folder)}"
        )
    return f"{len(rows)} of {config.epochs} epochs are done"

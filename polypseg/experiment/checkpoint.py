"""What a run folder holds of its training after each epoch, and reading it back.

An epoch is finished at one moment: when `last.keras` is replaced. It carries its number, so that a
`history.csv` with one row more, or a `best.keras` that was not yet replaced, are known for what
they are.
"""

import contextlib
import csv
import json
import math
import zipfile
from pathlib import Path

from polypseg.errors import InputError, reading, reason
from polypseg.files import atomic, csv_text, remove, write_text


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


def save_model(model, path, epoch):
    """Save a `.keras` file whole or not at all; `saved_epoch` finds the epoch again."""
    with atomic(path, durable=True) as temporary:
        model.save(temporary)
        with zipfile.ZipFile(temporary, "a") as archive:
            archive.comment = json.dumps({"epoch": epoch}).encode()


def saved_epoch(path):
    """The epoch, from 1, after which a `.keras` file was saved; 0 where there is no such file."""
    if not path.exists():
        return 0
    with (
        reading(path, "a complete file that train.py saved", "resume"),
        zipfile.ZipFile(path) as archive,
    ):
        return int(json.loads(archive.comment)["epoch"])


def write_history(path, rows):
    """Write `history.csv`; nine digits give each float32 back exactly."""
    cells = (
        [f"{value:.9g}" if isinstance(value, float) else value for value in row.values()]
        for row in rows
    )
    write_text(path, csv_text(rows[0], cells))


def read_history(path, epochs):
    """The first `epochs` rows of `history.csv`. Raises `InputError` where there are fewer."""
    rows = []
    if epochs:
        with (
            reading(path, "a history", "resume"),
            open(path, newline="", encoding="utf-8") as file,
        ):
            for row in list(csv.DictReader(file))[:epochs]:
                rows.append({key: float(value) for key, value in row.items()})
                rows[-1]["epoch"] = int(rows[-1]["epoch"])
                if not math.isfinite(rows[-1]["val_dice"]):
                    raise ValueError(f"val_dice is {row['val_dice']}")
    if [row["epoch"] for row in rows] != list(range(1, epochs + 1)):
        raise InputError(
            f"expected a row for each of {epochs} epochs in {path}, got {len(rows)}", "resume"
        )
    return rows


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


def finished_epochs(folder):
    """The rows of the epochs that are finished; what a killed process left half done is removed.

    Raises:
        InputError: `last.keras` has gone, so that the run would begin again over what it left.
    """
    check_last(folder)
    remove_parts(folder)
    return read_history(folder / "history.csv", saved_epoch(folder / "last.keras"))


def check_last(folder):
    """Raise `InputError` where the run got beyond its first epoch and has no `last.keras`.

    A run that was killed in its first epoch may have a row of history, and nothing more.
    """
    path = folder / "history.csv"
    rows = path.read_bytes().count(b"\n") - 1 if path.is_file() else 0
    begun = (folder / "best.keras").exists() or rows > 1
    if begun and not (folder / "last.keras").exists():
        raise InputError(
            f"expected last.keras in {folder}, which has finished epochs, got none; the run cannot "
            "go on and is left as it is: begin a new one",
            "resume",
        )


def progress(config):
    """What is done of the run `config.resume`, in words."""
    folder = Path(config.resume)
    if config.folds:
        done = sum(
            (folder / f"fold-{number}" / "test.csv").exists()
            for number in range(1, config.folds + 1)
        )
        return f"{done} of {config.folds} folds are done"
    check_last(folder)
    epochs = saved_epoch(folder / "last.keras")
    if is_complete(read_history(folder / "history.csv", epochs), config):
        return f"complete after {epochs} epochs: nothing left to train"
    return f"{epochs} of {config.epochs} epochs are done"

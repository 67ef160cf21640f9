"""Save the state of a run after each epoch, and read it back.

An epoch is finished when `last.keras` is replaced. That file contains the number of its epoch. So
after a kill it is known whether `history.csv` has one row too many, and whether `best.keras` was
not replaced yet.
"""

import contextlib
import json
import math
import os
import shlex
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from polypseg.errors import InputError, reading, reason
from polypseg.files import atomic, csv_rows, csv_text, digest, remove, write_text
from polypseg.runtime import command

from .config import TrainConfig

if TYPE_CHECKING:
    import keras

Row = dict[str, float]  # of history.csv, by column; `epoch` is an int
COLUMNS = ("epoch", "lr", "loss", "dice", "iou", "val_loss", "val_dice", "val_iou", "seconds")


class SaveError(InputError):
    """A file of the run could not be written. The files of the epochs before are complete."""


@contextlib.contextmanager
def saving(folder: Path) -> Iterator[None]:
    """Context that turns the errors of a full disk into a `SaveError` of one line."""
    try:
        yield
    except (OSError, RuntimeError) as error:  # h5py raises both
        raise SaveError(
            f"{folder}: expected to save the network and its history, got: {reason(error)}"
        ) from error


class Saved(NamedTuple):
    """What a `.keras` file of a run says about itself.

    Attributes:
        epoch: the epoch, from 1, after which it was saved; 0 if there is no file, or if it was not
            saved by a run.
        run: the run that saved it, see `run.run_id`; None in files of earlier versions.
        history: digest of the history until this epoch, see `history_digest`; None in `best.keras`
            and in files of earlier versions.
        temperature: that of the network; None in `best.keras` until training ends and fits it.
            Earlier versions did not fit one, which is 1.
    """

    epoch: int
    run: str | None = None
    history: str | None = None
    temperature: float | None = 1.0


def save_model(model: "keras.Model", path: Path, saved: Saved) -> None:
    """Save a `.keras` file, completely or not at all, together with `saved` for `read_saved`."""
    with atomic(path, durable=True) as temporary:
        model.save(temporary)
        with zipfile.ZipFile(temporary, "a") as archive:
            archive.comment = json.dumps(saved._asdict()).encode()


def read_saved(path: Path, argument: str = "resume") -> Saved:
    """Read the `Saved` of a file that `save_model` wrote.

    Its epoch is 0 if there is no file at `path`, or if Keras alone saved it.

    Raises:
        InputError: the file is damaged; the error names `argument`.
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
        digests = all(isinstance(value, str | None) for value in (saved.run, saved.history))
        fitted = isinstance(saved.temperature, float | None)
        if type(saved.epoch) is not int or saved.epoch < 1 or not digests or not fitted:
            raise ValueError(f"it says {archive.comment!r}")
        return saved


def saved_epoch(path: Path) -> int:
    """The epoch, from 1, after which a `.keras` file was saved; 0 if there is no such file."""
    return read_saved(path).epoch


def write_history(path: Path, rows: Sequence[Row]) -> None:
    """Write `history.csv`, with nine digits, from which each float32 is read back exactly."""
    cells = (
        [f"{value:.9g}" if isinstance(value, float) else value for value in row.values()]
        for row in rows
    )
    write_text(path, csv_text(rows[0], cells))


def read_history(path: Path, argument: str = "resume") -> list[Row]:
    """Read the rows of `history.csv`, one for each epoch from 1; [] if there is no such file.

    Raises:
        InputError: a row or a column is missing, a value is not a number, or a validation Dice is
            not finite; the error names `argument`.
    """
    if not os.path.lexists(path):
        return []
    rows: list[Row] = []
    with reading(path, "the history of a run", argument):
        for cells in csv_rows(path):
            row = {key: float(value) for key, value in cells.items()}
            missing = [name for name in COLUMNS if name not in row]
            # Other values are NaN if the run was stopped because of them.
            broken = not math.isfinite(row.get("val_dice", math.nan))
            if missing or broken or row["epoch"] != len(rows) + 1:
                raise ValueError(f"row {len(rows) + 1} is {', '.join(cells.values())}")
            rows.append(row | {"epoch": len(rows) + 1})
    return rows


def history_digest(path: Path, epochs: int) -> str:
    """Digest of the header and the first `epochs` rows of `history.csv`, 16 hexadecimal digits."""
    lines = path.read_bytes().split(b"\n")[: epochs + 1]
    return digest(b"\n".join(lines))


def best_row(history: Sequence[Row]) -> Row:
    """The first row with the highest validation Dice."""
    return max(history, key=lambda row: row["val_dice"])


def is_final(path: Path, history: Sequence[Row]) -> bool:
    """Whether `best.keras` is the network of the best epoch, with its temperature."""
    saved = read_saved(path)
    return saved.epoch == best_row(history)["epoch"] and saved.temperature is not None


def is_complete(history: Sequence[Row], config: TrainConfig) -> bool:
    """Whether all epochs are done, or the last `patience` of them were not better than the best."""
    if not history:
        return False
    return (
        len(history) >= config.epochs
        or len(history) - best_row(history)["epoch"] >= config.patience
    )


def remove_parts(folder: Path) -> None:
    """Remove the temporary files of a process that was killed while it saved."""
    for path in [*folder.glob(".part-*"), *folder.glob(".*.part")]:
        remove(path)


def finished_epochs(folder: Path) -> list[Row]:
    """Read the rows of the finished epochs of a run.

    Raises:
        InputError: `last.keras` is missing although epochs are finished, so the run cannot be
            resumed; or `history.csv` has fewer rows than the epoch of `last.keras`.
    """
    rows, path = read_history(folder / "history.csv"), folder / "last.keras"
    epochs = saved_epoch(path)
    # A run that was killed in its first epoch may have one row of history, and no network.
    if not epochs and ((folder / "best.keras").exists() or len(rows) > 1):
        raise InputError(
            f"expected last.keras in {folder}, which has finished epochs, got none; this run "
            f"cannot be resumed: begin a new one with its network: {_start_from(folder)}",
            "resume",
        )
    if len(rows) < epochs:
        raise InputError(
            f"expected a row for each of {epochs} epochs in {folder / 'history.csv'}, got "
            f"{len(rows)}",
            "resume",
        )
    return rows[:epochs]


def _start_from(folder: Path) -> str:
    """The command that begins a new run with the network of this one."""
    return f"{command('train')} --start-from {shlex.quote(str(folder))}"


def describe_progress(config: TrainConfig) -> str:
    """Say in one line how far the run in the folder `config.resume` is.

    Raises:
        InputError: as for `finished_epochs`.
    """
    folder = Path(config.resume or "")
    if names := config.member_names:
        done = sum((folder / name / "test.csv").exists() for name in names)
        return f"{done} of {len(names)} {'folds' if config.folds else 'seeds'} are done"
    rows = finished_epochs(folder)
    if is_complete(rows, config):
        return (
            f"complete after {len(rows)} epochs: nothing left to train; to train its network "
            f"further: {_start_from(folder)}"
        )
    return f"{len(rows)} of {config.epochs} epochs are done"

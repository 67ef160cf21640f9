"""Begin a run folder, and open one: its files are read and checked here."""

import json
import os
import secrets
import shutil
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polypseg.data.preparation import VOLUME_JSON, Preparation
from polypseg.data.splits import SUBSETS, write_folds, write_split
from polypseg.data.verify import Hashes
from polypseg.errors import InputError, Note, reading
from polypseg.files import atomic, digest, file_digest, remove, write_text

from .checkpoint import Row, Saved, best_row, history_digest, read_history, read_saved, saving
from .config import TrainConfig, read_config
from .environment import read_environment, write_environment
from .fingerprints import FILES, read_fingerprints, write_fingerprints
from .run_folder import create_run, find_run

DIGEST = "digest.json"
_RUN = "run"
START = "start.keras"  # the network that the run began with
LISTS = tuple(f"split/{subset}.txt" for subset in SUBSETS)
FOLDS = "folds.csv"  # the lists of a cross-validation


@dataclass(frozen=True)
class Run:
    """A run folder whose files belong together.

    Attributes:
        folder: its path.
        config: the values of `config.json`; a run of an earlier version may lack some.
        history: the rows of `history.csv`, one for each epoch; [] for several runs.
        preparation: how slices of volumes were made, if it was trained on such.
    """

    folder: Path
    config: dict[str, Any]
    history: list[Row]
    preparation: Preparation | None = None

    @property
    def best(self) -> Path:
        """The path of the network of the best epoch."""
        return self.folder / "best.keras"


def begin_run(
    folder: Path,
    config: TrainConfig,
    report: str,
    files: Mapping[str, Hashes],
    splits: Sequence[Mapping[str, Sequence[str]]],
    start: Path | None = None,
    preparation: Preparation | None = None,
) -> None:
    """Write the files of a run folder that do not change later.

    `config.json` is written last: a folder without it is not a run.

    Args:
        folder: an existing folder.
        config: the options of the run.
        report: the report of the check of the data, for `data.txt`.
        files: hashes of image and mask, by stem.
        splits: one split, `{"train": stems, "val": stems, "test": stems}`, or one for each fold of
            a cross-validation.
        start: a `.keras` file that the run begins with; it is copied.
        preparation: how the images were made, if they are slices of volumes.

    Raises:
        SaveError: a file cannot be written.
    """
    with saving(folder):
        write_environment(folder)
        if config.folds:
            write_folds(folder / FOLDS, splits)
        else:
            write_split(folder / "split", splits[0])
        write_text(folder / "data.txt", f"{report}\n")
        write_fingerprints(folder, files)
        names = [*((FOLDS,) if config.folds else LISTS), "data.txt", FILES]
        if start:
            with atomic(folder / START) as temporary:
                shutil.copyfile(start, temporary)
            names.append(START)
        if preparation:
            write_text(folder / VOLUME_JSON, preparation.to_json())
            names.append(VOLUME_JSON)
        text = config.to_json()
        digests = {name: file_digest(folder / name) for name in names}
        digests["config.json"] = digest(text.encode())
        digests[_RUN] = secrets.token_hex(8)  # two runs with the same options and data differ in it
        write_text(folder / DIGEST, json.dumps(digests, indent=2) + "\n")
        write_text(folder / "config.json", text)


def new_run(
    parent: str | Path,
    name: str,
    config: TrainConfig,
    report: str,
    files: Mapping[str, Hashes],
    splits: Sequence[Mapping[str, Sequence[str]]],
    start: Path | None = None,
    preparation: Preparation | None = None,
) -> Path:
    """Make a folder with a free name in `parent`, and begin a run in it, see `begin_run`.

    If that fails, the folder is removed.

    Returns:
        The path of the folder.
    """
    folder = create_run(parent, name)
    try:
        begin_run(folder, config, report, files, splits, start, preparation)
    except BaseException:
        remove(folder)
        raise
    return folder


def run_id(folder: Path) -> str | None:
    """Identifies a run: the digest of its `digest.json`. None for a run of an earlier version."""
    return file_digest(folder / DIGEST) if os.path.lexists(folder / DIGEST) else None


def open_run(path: str | Path, argument: str = "model") -> Run:
    """Open the run folder at `path`, or the only run folder in `path`, and check its files.

    A run of an earlier version has no digests: it is opened with a `Note`.

    Args:
        path: of a run folder, or of a folder with exactly one.
        argument: the argument that errors name.

    Raises:
        InputError: there is no run folder; one of its files is missing, damaged or was changed; or
            a network belongs to another run.
    """
    folder = find_run(path, argument)
    config = read_config(folder / "config.json", argument)
    _check_digests(folder, config, argument)
    try:
        TrainConfig(**config).resolved()
    except InputError as error:
        raise InputError(f"{folder / 'config.json'}: {error}", argument) from error
    read_environment(folder, argument)
    preparation = Preparation.read(folder, argument)
    if config.get("folds"):
        return Run(folder, config, [], preparation)
    if run_id(folder) or os.path.lexists(folder / FILES):  # the first versions had no such file
        _check_lists(folder, argument)
    # Training may go on meanwhile: read in the reverse of the order in which it writes.
    best, last = (read_saved(folder / name, argument) for name in ("best.keras", "last.keras"))
    run = Run(folder, config, read_history(folder / "history.csv", argument), preparation)
    _check_networks(run, best, last, argument)
    return run


def _check_digests(folder: Path, config: dict[str, Any], argument: str) -> None:
    path = folder / DIGEST
    if not os.path.lexists(path):
        warnings.warn(
            f"{folder} was begun by an earlier version, which stored no digests; it is not known "
            "whether its files have been changed since",
            Note,
            stacklevel=1,
        )
        return
    expected = {_RUN, "config.json", "data.txt", FILES, *(() if config.get("folds") else LISTS)}
    expected |= {START} if config.get("start_from") else set()
    with reading(path, "the digests of a run", argument):
        digests = json.loads(path.read_text(encoding="utf-8"))
        # Earlier versions did not store the folds; few runs are of slices of volumes.
        expected |= digests.keys() & {FOLDS, VOLUME_JSON}
        if digests.keys() != expected:
            raise ValueError("digests of other files")
    del digests[_RUN]
    if os.path.lexists(folder / VOLUME_JSON):
        digests.setdefault(VOLUME_JSON, None)
    for name, stored in digests.items():
        with reading(folder / name, "a file of the run as it was written", argument):
            if stored is None:
                raise ValueError("it has been added since the run began")
            if file_digest(folder / name) != stored:
                raise ValueError("it has been changed since the run began")


def _check_lists(folder: Path, argument: str) -> None:
    """Check that each stem in the lists of the split is in `files.csv`, and in one list only."""
    unlisted = read_fingerprints(folder, argument)
    for name in LISTS:
        with reading(folder / name, "the stems of a subset, each in one list", argument):
            for stem in (folder / name).read_text(encoding="utf-8").split("\n"):
                if stem and unlisted.pop(stem, None) is None:
                    raise ValueError(f"{stem} is in two lists, or not in {FILES}")


def _check_networks(run: Run, best: Saved, last: Saved, argument: str) -> None:
    """Check that the networks are of this run, and that the best one is of the best epoch."""
    this_run = run_id(run.folder)
    for saved, path in ((last, run.folder / "last.keras"), (best, run.best)):
        if saved.run != this_run and os.path.exists(path):
            raise InputError(
                f"expected a network of this run, got {path}, which is of another run", argument
            )
        if saved.epoch > len(run.history):
            raise InputError(
                f"expected a network of one of the {len(run.history)} epochs in history.csv, got "
                f"{path}, which is of epoch {saved.epoch}",
                argument,
            )
    history = run.folder / "history.csv"
    if last.history and last.history != history_digest(history, last.epoch):
        raise InputError(
            f"expected the history that was written with last.keras, got {history}, which has been "
            "changed since",
            argument,
        )
    rows = run.history[: last.epoch or len(run.history)]
    if not best.epoch or not rows:
        return
    best_epoch = best_row(rows)["epoch"]
    if best.epoch == best_epoch:
        return
    # A run that is killed before it replaces best.keras has the best network of the epochs before.
    killed_before = best_epoch == len(rows) > 1 and best.epoch == best_row(rows[:-1])["epoch"]
    if not killed_before:
        raise InputError(
            f"expected the network of epoch {best_epoch}, the best one, got {run.best}, which is "
            f"of epoch {best.epoch}",
            argument,
        )

"""A run folder, opened: what later commands go by is read here, and checked."""

import json
import os
import secrets
import shutil
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polypseg.data.splits import SUBSETS, write_folds, write_split
from polypseg.errors import InputError, Note, reading
from polypseg.files import atomic, digest, file_digest, remove, write_text

from .checkpoint import Saved, best_row, history_digest, read_history, read_saved, saving
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
    """A run folder whose files fit together.

    Attributes:
        folder: its path.
        config: the values of `config.json`.
        history: the rows of `history.csv`.
    """

    folder: Path
    config: dict[str, Any]
    history: list[dict[str, Any]]

    @property
    def best(self) -> Path:
        """The network of the best epoch."""
        return self.folder / "best.keras"


def begin_run(
    folder: Path,
    config: TrainConfig,
    found: str,
    files: Mapping[str, tuple[str, str]],
    splits: Sequence[Mapping[str, Sequence[str]]],
    start: Path | None = None,
) -> None:
    """Write what stays as it is in a run folder; `config.json`, which makes it one, comes last.

    Args:
        folder: of the run; it exists.
        config: what is trained.
        found: what the check of the data found, in words.
        files: stem -> hashes of image and mask.
        splits: stems of each subset, `[{"train": ..., "val": ..., "test": ...}]`; one split for
            each fold of a cross-validation.
        start: the `.keras` file that the run begins with, where there is one: it is copied.
    """
    with saving(folder):
        write_environment(folder)
        if config.folds:
            write_folds(folder / FOLDS, splits)
        else:
            write_split(folder / "split", splits[0])
        write_text(folder / "data.txt", f"{found}\n")
        write_fingerprints(folder, files)
        names = [*((FOLDS,) if config.folds else LISTS), "data.txt", FILES]
        if start:
            with atomic(folder / START) as temporary:
                shutil.copyfile(start, temporary)
            names.append(START)
        text = config.to_json()
        digests = {name: file_digest(folder / name) for name in names}
        digests["config.json"] = digest(text.encode())
        digests[_RUN] = secrets.token_hex(8)  # two runs of the same options and data differ in it
        write_text(folder / DIGEST, json.dumps(digests, indent=2) + "\n")
        write_text(folder / "config.json", text)


def new_run(
    parent: str | Path,
    name: str,
    config: TrainConfig,
    found: str,
    files: Mapping[str, tuple[str, str]],
    splits: Sequence[Mapping[str, Sequence[str]]],
    start: Path | None = None,
) -> Path:
    """Begin a run in a folder of a free name; where that fails, none is left."""
    folder = create_run(parent, name)
    try:
        begin_run(folder, config, found, files, splits, start)
    except BaseException:
        remove(folder)
        raise
    return folder


def run_id(folder: Path) -> str | None:
    """What tells a run from others: the digest of its digests. None in earlier versions."""
    return file_digest(folder / DIGEST) if os.path.lexists(folder / DIGEST) else None


def open_run(path: str | Path, argument: str = "model") -> Run:
    """Open the run folder that `path` names, itself or the only one inside it.

    Raises:
        InputError: there is none; a file of it is missing, damaged, or not as the run wrote it; a
            network is of another run.

    A run of an earlier version has no digests: it is used, with a `Note`.
    """
    folder = find_run(path, argument)
    config = read_config(folder / "config.json", argument)
    _check_digests(folder, config, argument)
    try:
        TrainConfig(**config).resolved()
    except InputError as error:
        raise InputError(f"{folder / 'config.json'}: {error}", argument) from error
    read_environment(folder, argument)
    if config.get("folds"):
        return Run(folder, config, [])
    if run_id(folder) or os.path.lexists(folder / FILES):  # early ones had none
        _check_lists(folder, argument)
    # In the order against that of training, which may go on meanwhile.
    best, last = (read_saved(folder / name, argument) for name in ("best.keras", "last.keras"))
    run = Run(folder, config, read_history(folder / "history.csv", argument))
    _check_networks(run, best, last, argument)
    return run


def _check_digests(folder: Path, config: dict[str, Any], argument: str) -> None:
    path = folder / DIGEST
    if not os.path.lexists(path):
        warnings.warn(
            f"{folder} was begun by an earlier version, which kept no digests: whether its files "
            "have been changed since cannot be told",
            Note,
            stacklevel=1,
        )
        return
    needed = {_RUN, "config.json", "data.txt", FILES, *(() if config.get("folds") else LISTS)}
    needed |= {START} if config.get("start_from") else set()
    with reading(path, "the digests of a run", argument):
        digests = json.loads(path.read_text(encoding="utf-8"))
        needed |= digests.keys() & {FOLDS}  # not stored in earlier versions
        if digests.keys() != needed:
            raise ValueError("of other files")
    del digests[_RUN]
    for name, wanted in digests.items():
        with reading(folder / name, "a file of the run as it was written", argument):
            if file_digest(folder / name) != wanted:
                raise ValueError("it has been changed since the run began")


def _check_lists(folder: Path, argument: str) -> None:
    """Each stem of `files.csv` is in one list of the split."""
    known = read_fingerprints(folder, argument)
    for name in LISTS:
        with reading(folder / name, "the stems of a subset, each in one list", argument):
            for stem in (folder / name).read_text(encoding="utf-8").split("\n"):
                if stem and known.pop(stem, None) is None:
                    raise ValueError(f"{stem} is in two lists, or not of the run")


def _check_networks(run: Run, best: Saved, last: Saved, argument: str) -> None:
    """The networks are of this run, and the best one is of the best epoch."""
    own = run_id(run.folder)
    for saved, path in ((last, run.folder / "last.keras"), (best, run.best)):
        if saved.run != own and os.path.exists(path):
            raise InputError(
                f"expected a network of this run, got {path}, which is of another", argument
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
    # Killed between the two files, a run has the best network of the epochs before.
    right = [best_row(part)["epoch"] for part in (rows, rows[:-1]) if part]
    if best.epoch != right[0] and (right[0] != len(rows) or best.epoch != right[-1]):
        raise InputError(
            f"expected the network of epoch {right[0]}, the best one, got {run.best}, which is of "
            f"epoch {best.epoch}",
            argument,
        )

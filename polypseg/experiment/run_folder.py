"""The run folder: all that is needed to repeat a run and to use its model."""

import glob
import os
from pathlib import Path

from polypseg.errors import InputError
from polypseg.outputs import lock_folder


def create_run(parent, name):
    """Make `parent/name`, or `name-2`, `name-3`, ... when taken; return its path."""
    parent = Path(parent)
    number = 1
    while True:
        folder = parent / (name if number == 1 else f"{name}-{number}")
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            if not os.path.isdir(parent):
                raise InputError(
                    f"expected a folder, got {parent}, which is none", "trained_model_path"
                ) from None
            number += 1
        except OSError as error:
            raise InputError(
                f"expected a writable folder, got {parent} ({error.strerror})", "trained_model_path"
            ) from None


def hold_run(folder):
    """A context in which no other process trains in this run folder. Raises `InputError`."""
    return lock_folder(folder, "resume", "a run that no other process is training")


def find_run(path, argument="model"):
    """The run folder that `path` names: itself, or the only one inside it."""
    path = Path(path)
    expected = "a run folder or a model file" if argument == "model" else "a run folder"
    if not os.path.exists(path):
        raise InputError(
            f"expected {expected}, got {path}, which does not exist{similar_run(path)}", argument
        )
    runs = (
        [path]
        if os.path.isfile(path / "config.json")
        else sorted(file.parent for file in path.glob("*/config.json"))
    )
    if len(runs) != 1:
        found = f"{len(runs)} runs ({', '.join(run.name for run in runs)})" if runs else "none"
        raise InputError(
            f"expected a run folder (one with config.json), got {path} with {found} inside",
            argument,
        )
    if argument != "resume" and (runs[0] / "fold-1").is_dir():
        raise InputError(
            f"expected one run, got the cross-validation {runs[0]}; name a fold, as "
            f"{runs[0]}/fold-1",
            argument,
        )
    return runs[0]


def similar_run(path):
    """`; did you mean 'runs/pranet_resnet50'?` where one run beside a missing `path` begins with
    its name, or nothing.
    """
    path = Path(path)
    runs = [file.parent for file in path.parent.glob(f"{glob.escape(path.name)}*/config.json")]
    return f"; did you mean '{runs[0]}'?" if len(runs) == 1 else ""

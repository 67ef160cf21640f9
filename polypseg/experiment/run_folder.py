"""Make, lock and find run folders."""

import contextlib
import glob
import os
from pathlib import Path

from polypseg.errors import InputError
from polypseg.outputs import lock_folder


def create_run(parent: str | Path, name: str) -> Path:
    """Make the folder `parent/name`, or `name-2`, `name-3` and so on if it exists.

    Returns:
        The path of the folder.

    Raises:
        InputError: `parent` is no folder or cannot be written to.
    """
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
                    f"expected a folder, got {parent}, which is not one", "trained_model_path"
                ) from None
            number += 1
        except OSError as error:
            raise InputError(
                f"expected a writable folder, got {parent} ({error.strerror})", "trained_model_path"
            ) from None


def lock_run(folder: Path) -> contextlib.AbstractContextManager[None]:
    """Context in which no other process can train in this run folder.

    Raises:
        InputError: another process is training in it.
    """
    return lock_folder(folder, "resume", "a run that no other process is training")


def find_run(path: str | Path, argument: str = "model") -> Path:
    """The run folder at `path`, or the only run folder in `path`.

    Raises:
        InputError: there is none, there are several, or it is a cross-validation, which only
            `resume` accepts; the error names `argument`.
    """
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
        count = f"{len(runs)} runs ({', '.join(run.name for run in runs)})" if runs else "none"
        raise InputError(
            f"expected a run folder (one with config.json), got {path} with {count} inside",
            argument,
        )
    if argument != "resume" and (runs[0] / "fold-1").is_dir():
        raise InputError(
            f"expected one run, got the cross-validation {runs[0]}; give one of its folds, such as "
            f"{runs[0]}/fold-1",
            argument,
        )
    return runs[0]


def similar_run(path: str | Path) -> str:
    """Suggest a run for a missing path: `"; did you mean 'runs/pranet_resnet50'?"`.

    The suggestion is the only run in the same folder whose name begins like the path's; `""` if
    there is none, or more than one.
    """
    path = Path(path)
    runs = [file.parent for file in path.parent.glob(f"{glob.escape(path.name)}*/config.json")]
    return f"; did you mean '{runs[0]}'?" if len(runs) == 1 else ""

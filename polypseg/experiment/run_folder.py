"""Make, lock and find run folders."""

import contextlib
import glob
import os
import re
from pathlib import Path

from polypseg.errors import InputError
from polypseg.outputs import lock_folder

_MEMBER = re.compile(r"(fold|seed)-\d+")
_WORDS = {"fold": ("the cross-validation", "folds"), "seed": ("the seeds", "runs")}


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
        InputError: there is none, there are several, or it is the folder of a cross-validation or
            of several seeds, which only `resume` accepts; the error names `argument`.
    """
    folder = _only_run(Path(path), argument)
    runs = [] if argument == "resume" else runs_in(folder)
    if runs:
        what, one = _WORDS[runs[0].name.split("-")[0]]
        raise InputError(
            f"expected one run, got {what} {folder}; give one of its {one}, such as {runs[0]}",
            argument,
        )
    return folder


def _only_run(path: Path, argument: str) -> Path:
    expected = "a run folder or a model file" if argument == "model" else "a run folder"
    if not os.path.exists(path):
        raise InputError(
            f"expected {expected}, got {path}, which does not exist{similar_run(path)}", argument
        )
    runs = _runs_at(path)
    if len(runs) != 1:
        count = f"{len(runs)} runs ({', '.join(run.name for run in runs)})" if runs else "none"
        raise InputError(
            f"expected a run folder (one with config.json), got {path} with {count} inside",
            argument,
        )
    return runs[0]


def _runs_at(path: Path) -> list[Path]:
    """The path itself if it is a run folder, else the run folders in it."""
    if os.path.isfile(path / "config.json"):
        return [path]
    return sorted(file.parent for file in path.glob("*/config.json"))


def runs_in(folder: Path) -> list[Path]:
    """The folders of the folds of a cross-validation, or of the runs with several seeds, in order.

    Returns:
        Their paths; [] if the folder contains neither.
    """
    found = [
        path for path in folder.glob("*-*") if _MEMBER.fullmatch(path.name) and os.path.isdir(path)
    ]
    return sorted(found, key=lambda path: int(path.name.split("-")[1]))


def finished_runs(path: str | os.PathLike[str], argument: str) -> list[Path]:
    """The run folders of a cross-validation or of several seeds.

    Args:
        path: its folder, or a folder that contains no other run.
        argument: the argument that errors name.

    Returns:
        Their paths; [] if there is something else at `path`.

    Raises:
        InputError: not all of them are trained.
    """
    found = _runs_at(Path(path)) if os.path.isdir(path) else []
    runs = runs_in(found[0]) if len(found) == 1 else []
    if not runs:
        return []
    kind, _ = runs[0].name.split("-")
    if not os.path.isfile(found[0] / f"{kind}s.json"):
        raise InputError(
            f"expected runs that are all trained, got {found[0]} without {kind}s.json; `resume` "
            f"finishes it in training, and {runs[0]} is one of its runs",
            argument,
        )
    return runs


def similar_run(path: str | Path) -> str:
    """Suggest a run for a missing path: `"; did you mean 'runs/pranet_resnet50'?"`.

    The suggestion is the only run in the same folder whose name begins like the path's; `""` if
    there is none, or more than one.
    """
    path = Path(path)
    runs = [file.parent for file in path.parent.glob(f"{glob.escape(path.name)}*/config.json")]
    return f"; did you mean '{runs[0]}'?" if len(runs) == 1 else ""

"""Record how a run was made: command, commit, versions, machine."""

import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

from polypseg import __version__
from polypseg.errors import reading
from polypseg.files import write_text

PACKAGES = ("keras", "tensorflow", "jax", "torch", "numpy", "opencv-python-headless", "pillow")


def environment() -> dict[str, Any]:
    """The command, commit, versions and machine of this process, ready for JSON.

    `backend` is None unless Keras is loaded; scoring saved maps does not need it.
    """
    keras = sys.modules.get("keras")
    versions = {"polypseg": __version__}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            pass
    return {
        "command": [*Path(sys.argv[0]).name.split(), *sys.argv[1:]],
        "commit": _commit(),
        "backend": keras.backend.backend() if keras else None,
        "python": platform.python_version(),
        "packages": versions,
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
    }


def write_environment(folder: str | Path, epoch: int = 0) -> None:
    """Write `environment.json`; if a run is resumed, add to the list `resumed` in it.

    Args:
        folder: of the run.
        epoch: the epoch after which the run is resumed; 0 for a new run.
    """
    now = environment()
    if epoch and (first := read_environment(Path(folder))):
        first.setdefault("resumed", []).append({"after_epoch": epoch} | now)
        now = first
    write_text(Path(folder) / "environment.json", json.dumps(now, indent=2) + "\n")


def read_environment(folder: Path, argument: str = "resume") -> dict[str, Any]:
    """Read `environment.json`; {} if there is no such file. Raises `InputError`."""
    path = folder / "environment.json"
    if not os.path.lexists(path):
        return {}
    with reading(path, "what training wrote about its environment", argument):
        values = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(values, dict) or not isinstance(values.get("resumed", []), list):
            raise ValueError("not an object, or `resumed` is not a list")
    return values


def _commit() -> str | None:
    """The commit of this checkout, followed by `+changes` if files differ from it."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():  # an installed package may lie in a repository of the user
        return None
    try:
        git = ["git", "-C", str(root)]
        commit = subprocess.run(
            [*git, "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10
        )
        dirty = subprocess.run(
            [*git, "status", "--porcelain", "-uno"], capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    if commit.returncode:
        return None
    return commit.stdout.strip() + ("+changes" if dirty.stdout.strip() else "")


def _processor() -> str | None:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or None

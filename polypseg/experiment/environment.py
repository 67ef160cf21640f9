"""What a run was made with: command, commit, versions, machine."""

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


def environment():
    """What the run was made with: command, commit, versions, machine."""
    keras = sys.modules.get("keras")  # scoring saved maps does without
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
    """Write `environment.json`, or, where a run is resumed, add what is running now under
    `resumed`.
    """
    now = environment()
    if epoch and (first := read_environment(Path(folder))):
        first.setdefault("resumed", []).append({"after_epoch": epoch} | now)
        now = first
    write_text(Path(folder) / "environment.json", json.dumps(now, indent=2) + "\n")


def read_environment(folder: Path, argument: str = "resume") -> dict[str, Any]:
    """The content of `environment.json`; {} where there is none. Raises `InputError`."""
    path = folder / "environment.json"
    if not os.path.lexists(path):
        return {}
    with reading(path, "what training wrote about its environment", argument):
        found = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found, dict) or not isinstance(found.get("resumed", []), list):
            raise ValueError("not an object, or without a list of what resumed it")
    return found


def _commit():
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():  # installed: a repository around it is not ours
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


def _processor():
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or None

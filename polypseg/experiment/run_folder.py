"""The run folder: all that is needed to repeat a run and to use its model."""

import contextlib
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

from polypseg.errors import InputError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

PACKAGES = ("keras", "tensorflow", "jax", "torch", "numpy", "opencv-python-headless", "pillow")


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
            if parent.exists() and not parent.is_dir():
                raise InputError(f"--trained-model-path: expected a folder, got the file {parent}") from None
            number += 1
        except OSError as error:
            raise InputError(f"--trained-model-path: expected a writable folder, got {parent} ({error.strerror})") from None


def check_writable(parent, argument="--trained-model-path"):
    """Raise `InputError` now rather than after the data have been read."""
    folder = Path(parent).absolute()
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(f"{argument}: expected a writable folder, got {parent}")


def find_run(path, argument="--model"):
    """The run folder that `path` names: itself, or the only one inside it."""
    path = Path(path)
    expected = "a run folder or a model file" if argument == "--model" else "a run folder"
    if not path.exists():
        raise InputError(f"{argument}: expected {expected}, got {path}, which does not exist")
    runs = [path] if (path / "config.json").is_file() else sorted(file.parent for file in path.glob("*/config.json"))
    if len(runs) != 1:
        found = f"{len(runs)} runs ({', '.join(run.name for run in runs)})" if runs else "none"
        raise InputError(f"{argument}: expected a run folder (one with config.json), got {path} with {found} inside")
    if argument == "--model" and (runs[0] / "fold-1").is_dir():
        raise InputError(f"{argument}: expected one run, got the cross-validation {runs[0]}; name a fold, as {runs[0]}/fold-1")
    return runs[0]


def write_text(path, text):
    """Write a file whole or not at all."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.part")
    try:
        temporary.write_text(text, encoding="utf-8")
        replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def replace(temporary, path):
    """Rename a file that is complete; it is on the disk first, so that a power cut leaves the old or the new one."""
    descriptor = os.open(temporary, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.replace(temporary, path)


@contextlib.contextmanager
def hold(folder):
    """Keep a second process from training in the same folder; given up with the process, even one that is killed."""
    if fcntl is None:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise InputError(f"--resume: expected a run that no other process is training, got {folder}") from None
    except OSError:  # a network drive without locks
        pass
    try:
        yield
    finally:
        os.close(descriptor)


def environment():
    """What the run was made with: command, commit, versions, machine."""
    keras = sys.modules.get("keras")  # scoring saved maps does without
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            pass
    return {
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "commit": _commit(),
        "backend": keras.backend.backend() if keras else None,
        "python": platform.python_version(),
        "packages": versions,
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
    }


def write_environment(folder, epoch=0):
    """Write `environment.json`, or, where a run is resumed, add what is running now under `resumed`."""
    path = Path(folder) / "environment.json"
    now = environment()
    if epoch and path.exists():
        first = json.loads(path.read_text(encoding="utf-8"))
        first.setdefault("resumed", []).append({"after_epoch": epoch} | now)
        now = first
    write_text(path, json.dumps(now, indent=2) + "\n")


def _commit():
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():  # installed: a repository around it is not ours
        return None
    try:
        git = ["git", "-C", str(root)]
        commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10)
        dirty = subprocess.run([*git, "status", "--porcelain", "-uno"], capture_output=True, text=True, timeout=10)
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

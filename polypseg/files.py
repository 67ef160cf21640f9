"""Files and folders that are written complete or not at all, and locks."""

import contextlib
import os
from pathlib import Path

from polypseg.errors import InputError, reason

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


@contextlib.contextmanager
def writing(path, argument):
    """Turn what the disk refuses into an `InputError` that names the argument."""
    try:
        yield
    except OSError as error:
        raise cannot_write(path, error, argument) from error


def cannot_write(path, error, argument):
    """The `InputError` for an error of the disk."""
    return InputError(
        f"expected a writable place with room on the disk, got {path} ({reason(error)})", argument
    )


def refuse_inputs(outputs, inputs, argument):
    """Raise `InputError` where a file that is to be written is one that is read, by any name."""
    read = {_identity(path) for path in inputs} - {None}
    for path in outputs:
        if _identity(path) in read:
            raise InputError(f"expected other files than are read, got {path}, an input", argument)


def _identity(path):
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino


def check_writable(parent, argument="trained_model_path"):
    """Raise `InputError` now rather than after the data have been read."""
    folder = Path(parent).absolute()
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(f"expected a writable folder, got {parent}", argument)


def part_path(path, suffix=None):
    """A name beside `path` for what is not complete; no other process has it.

    It keeps the suffix, which some libraries go by, and does not grow with the name.
    """
    path = Path(path)
    return path.with_name(f".part-{os.urandom(6).hex()}{path.suffix if suffix is None else suffix}")


@contextlib.contextmanager
def atomic(path, suffix=None, durable=False):
    """Yields a path to write to; the file takes its place at `path` when the context ends well.

    Args:
        path: an older file there stays until then.
        suffix: of the temporary file, where it is to be another than that of `path`.
        durable: also a power cut leaves the old file or the new one.
    """
    temporary = part_path(path, suffix)
    try:
        yield temporary
        (_replace if durable else os.replace)(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path, text):
    """Write a text file that is there complete or not at all."""
    with atomic(path, durable=True) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _replace(temporary, path):
    """Rename a file that is complete; it is on the disk first, so that a power cut leaves the old
    or the new one.
    """
    descriptor = os.open(temporary, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.replace(temporary, path)


@contextlib.contextmanager
def hold(folder):
    """Keep a second process from training in the same folder; given up with the process, even one
    that is killed.
    """
    if fcntl is None:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise InputError(
            f"expected a run that no other process is training, got {folder}", "resume"
        ) from None
    except OSError:  # a network drive without locks
        pass
    try:
        yield
    finally:
        os.close(descriptor)

"""Files that are written complete or not at all."""

import contextlib
import csv
import hashlib
import io
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from polypseg.errors import InputError, reason


@contextlib.contextmanager
def writing(path: Path, argument: str) -> Iterator[None]:
    """Turn what the disk refuses into an `InputError` that names the argument."""
    try:
        yield
    except OSError as error:
        raise cannot_write(path, error, argument) from error


def cannot_write(path: Path, error: BaseException, argument: str) -> InputError:
    """The `InputError` for an error of the disk."""
    return InputError(
        f"expected a writable place with room on the disk, got {path} ({reason(error)})", argument
    )


def check_writable(parent: str | Path, argument: str) -> None:
    """Raise `InputError` now rather than after the data have been read."""
    folder = Path(parent).absolute()
    with writing(folder, argument):  # a name that is too long
        while not _is_there(folder) and folder != folder.parent:
            folder = folder.parent
    if not os.path.isdir(folder) or not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(f"expected a writable folder, got {parent}", argument)


def _is_there(path: Path) -> bool:
    """Whether something has this name, be it a link to nothing."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def part_path(path: Path, suffix: str | None = None) -> Path:
    """A name beside `path` for what is not complete; no other process has it.

    It keeps the suffix, which some libraries go by, and does not grow with the name.
    """
    suffix = path.suffix if suffix is None else suffix
    return path.with_name(f".part-{name_key(path)}-{os.urandom(4).hex()}{suffix}")


def name_key(path: Path) -> str:
    """Twelve digits for a file's name, letter case aside, as some disks have it."""
    name = os.fsencode(path.name.casefold())
    return hashlib.blake2b(name, digest_size=6).hexdigest()


@contextlib.contextmanager
def atomic(
    path: str | os.PathLike[str], suffix: str | None = None, durable: bool = False
) -> Iterator[Path]:
    """Yields a path to write to; the file takes its place at `path` when the context ends well.

    Args:
        path: an older file there stays until then.
        suffix: of the temporary file, where it is to be another than that of `path`.
        durable: also a power cut leaves the old file or the new one.
    """
    temporary = part_path(Path(path), suffix)
    try:
        yield temporary
        (_replace if durable else os.replace)(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write a UTF-8 file that is there complete or not at all."""
    with atomic(path, durable=True) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="surrogateescape", newline="")


def digest(data: bytes) -> str:
    """16 hexadecimal digits (BLAKE2b) that tell contents apart."""
    return hashlib.blake2b(data, digest_size=8).hexdigest()


def file_digest(path: str | Path) -> str:
    """`digest` of a file's content, which is not held in memory."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=8)).hexdigest()


def csv_text(heads: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    """A table as CSV: a line of headings, then a line for each row."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(heads)
    writer.writerows(rows)
    return text.getvalue()


def _replace(temporary: Path, path: str | os.PathLike[str]) -> None:
    """Rename a file that is complete; it is on the disk first, so that a power cut leaves the old
    or the new one.
    """
    descriptor = os.open(temporary, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.replace(temporary, path)


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there and can be removed."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()

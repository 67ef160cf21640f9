"""Files that are written completely or not at all."""

import contextlib
import csv
import errno
import hashlib
import io
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from polypseg.errors import InputError, reason

# What errors of TensorFlow and OpenVINO say if a file cannot be written.
_FULL = (os.strerror(errno.ENOSPC), os.strerror(errno.EDQUOT), "iostream error")

# Apostrophes are part of it, so that a name that begins with one and a formula is read back, too.
_FORMULA = re.compile("'*[=+\\-@\\t\\r\\n＝＋－＠]")


@contextlib.contextmanager
def writing(path: Path, argument: str) -> Iterator[None]:
    """Turn an `OSError` while `path` is written into an `InputError` that names the argument.

    An error of another class that speaks of a full disk is one, too: compiled code raises those.
    """
    try:
        yield
    except OSError as error:
        raise cannot_write(path, error, argument) from error
    except Exception as error:
        for full in _FULL:
            if full in str(error):
                raise cannot_write(path, OSError(None, full), argument) from error
        raise


def cannot_write(path: Path, error: BaseException, argument: str) -> InputError:
    """The `InputError` to raise when `path` cannot be written because of `error`."""
    return InputError(
        f"expected a writable place with room on the disk, got {path} ({reason(error)})", argument
    )


def check_writable(parent: str | Path, argument: str) -> None:
    """Raise `InputError` if no folder or file can be made in `parent`, which may not exist yet.

    With this check, a long command fails at its start and not when it writes its results.
    """
    folder = Path(parent).absolute()
    with writing(folder, argument):  # `_is_there` raises for a name that is too long
        while not _is_there(folder) and folder != folder.parent:
            folder = folder.parent
    if not os.path.isdir(folder) or not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(f"expected a writable folder, got {parent}", argument)


def _is_there(path: Path) -> bool:
    """Whether the path exists. A broken link counts, too."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def part_path(path: Path, suffix: str | None = None) -> Path:
    """A unique path in the folder of `path` for a file that is still being written.

    It has the suffix of `path`, because some libraries choose the format by the suffix. Its length
    does not depend on the length of the file's name.

    Args:
        path: where the complete file will be.
        suffix: suffix to use instead of the suffix of `path`.
    """
    suffix = path.suffix if suffix is None else suffix
    return path.with_name(f".part-{name_key(path)}-{os.urandom(4).hex()}{suffix}")


def name_key(path: Path) -> str:
    """A hash of a file's name, 12 hexadecimal digits. Letter case is ignored, as on some disks."""
    name = os.fsencode(path.name.casefold())
    return hashlib.blake2b(name, digest_size=6).hexdigest()


@contextlib.contextmanager
def atomic(
    path: str | os.PathLike[str], suffix: str | None = None, durable: bool = False
) -> Iterator[Path]:
    """Context that yields a temporary path; its file is renamed to `path` at the end.

    If the context raises, the temporary file is removed and `path` is not changed.

    Args:
        path: the file to write. An older file there is replaced at the end.
        suffix: suffix of the temporary file; default: the suffix of `path`.
        durable: whether even a power failure leaves either the old or the new file.

    Raises:
        OSError: the file cannot be written or renamed.

    >>> with atomic("a.txt") as temporary:  # doctest: +SKIP
    ...     temporary.write_text("complete")
    """
    temporary = part_path(Path(path), suffix)
    try:
        yield temporary
        (_replace if durable else os.replace)(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Context that yields a temporary folder; it becomes `path` at the end.

    If the context raises, the temporary folder is removed and `path` is not changed.

    Args:
        path: the folder to write, or a link to it. A folder that exists remains, since it may be a
            mount point or the working directory: its content is replaced at the end, part by part.
            If the process is killed meanwhile, the old content is left in a folder `.part-*` in it.

    Raises:
        OSError: the folder cannot be made or renamed.
    """
    path = Path(os.path.realpath(path))
    exists = os.path.isdir(path)
    temporary = part_path(path / path.name if exists else path, "")
    temporary.mkdir(parents=True)
    try:
        yield temporary
        if exists:
            _replace_content(path, temporary)
        else:
            os.replace(temporary, path)
    finally:
        remove(temporary)


def _replace_content(folder: Path, new: Path) -> None:
    """Replace what is in `folder` by what is in `new`, a folder in it; all of it or nothing."""
    old = part_path(folder / folder.name, "")
    moves = [(path, old / path.name) for path in folder.iterdir() if path != new]
    moves += [(path, folder / path.name) for path in new.iterdir()]
    old.mkdir()
    try:
        for source, target in moves:
            os.rename(source, target)
    except BaseException:
        for source, target in reversed(moves):
            if not os.path.lexists(source):  # it was moved
                os.rename(target, source)
        old.rmdir()
        raise
    remove(old)


def write_text(path: str | Path, text: str) -> None:
    """Write a UTF-8 file, completely or not at all. Raises OSError."""
    with atomic(path, durable=True) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="surrogateescape", newline="")


def digest(data: bytes) -> str:
    """BLAKE2b hash of the data, 16 hexadecimal digits."""
    return hashlib.blake2b(data, digest_size=8).hexdigest()


def file_digest(path: str | Path) -> str:
    """`digest` of a file, which is read in pieces. Raises OSError."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=8)).hexdigest()


def csv_text(heads: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    """A table as CSV text for `csv_rows`: a line of headings, then one line per row.

    A spreadsheet would run a text that begins with `=`, `+`, `-`, `@` or a control character as a
    formula. Such a text gets an apostrophe before it, unless it is a number.
    """
    text = io.StringIO()
    plain = csv.writer(text, lineterminator="\n")
    quoted = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)
    for row in ([_as_text(cell) for cell in row] for row in (heads, *rows)):
        # Before Python 3.13, a carriage return alone is not a reason for quotes.
        (quoted if any("\r" in str(cell) for cell in row) else plain).writerow(row)
    return text.getvalue()


def csv_rows(path: str | Path) -> list[dict[str, str]]:
    """Read a table that `csv_text` made, with the texts as they were before.

    Raises:
        OSError: the file cannot be read.
        ValueError, csv.Error: a row does not have a cell for each heading.
    """
    with open(path, newline="", encoding="utf-8", errors="surrogateescape") as file:
        heads, *rows = list(csv.reader(file, strict=True)) or [[]]
    rows = [row for row in rows if row]  # without empty lines
    for row in rows:
        if len(row) != len(heads):
            raise ValueError(f"expected {len(heads)} cells in a row, got {','.join(row)}")
    return [dict(zip(heads, map(from_spreadsheet, row), strict=True)) for row in rows]


def from_spreadsheet(text: str) -> str:
    """The text without the apostrophe that `csv_text` adds to some."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text


def _as_text(cell: Any) -> Any:
    if not isinstance(cell, str) or not _FORMULA.match(cell):
        return cell
    try:
        float(cell)
    except ValueError:
        return f"'{cell}"
    return cell


def _replace(temporary: Path, path: str | os.PathLike[str]) -> None:
    """Rename a complete file, after its content has reached the disk.

    This way, a power failure leaves either the old or the new file.
    """
    descriptor = os.open(temporary, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.replace(temporary, path)


def remove(path: Path) -> None:
    """Remove a file or a folder if possible. Errors are ignored."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()

"""Claim the outputs of a command before it starts its work.

An output is refused if it is an input, if it exists already, or if another process writes it.
"""

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from polypseg.errors import InputError, expect
from polypseg.files import cannot_write, name_key, remove, writing

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


class _Target(NamedTuple):
    argument: str
    given: Path

    @property
    def path(self) -> Path:
        return Path(os.path.abspath(self.given))  # absolute: `.` has no name


@contextlib.contextmanager
def claim(
    targets: Mapping[str, Iterable[Path]],
    inputs: Iterable[Path] = (),
    overwrite: bool = False,
    folder: Path | None = None,
) -> Iterator[None]:
    """Context in which no other command can claim the same outputs.

    The folders of the outputs are made; those that are still empty at the end are removed.
    Temporary files of a command that was killed while it wrote the same outputs are removed.

    Args:
        targets: argument -> the files or folders that it makes the command write.
        inputs: files that the command reads.
        overwrite: whether targets that exist may be replaced.
        folder: a folder that contains all targets. If it is given, the folder is locked instead of
            each target. This is faster for many targets.

    Raises:
        InputError: two targets have the same name (letter case is ignored); a target is an input
            (links are followed), exists already, is claimed by another process, or cannot be
            written.

    >>> with claim({"out": [Path("a.png")]}, inputs=[Path("b.png")]):  # doctest: +SKIP
    ...     write_png("a.png", image)
    """
    claimed = [_Target(argument, path) for argument, paths in targets.items() for path in paths]
    _refuse_duplicates(claimed)
    _refuse_inputs(claimed, inputs)
    argument = claimed[0].argument
    with contextlib.ExitStack() as stack:
        if folder:
            made = _make_folders(Path(os.path.abspath(folder)), folder, argument)
            expected = "a folder that no other process writes to"
            stack.enter_context(lock_folder(folder, argument, expected))
            stack.callback(_remove_empty, made)  # runs before the folder is unlocked
        for target in claimed:
            if not folder:
                made = _make_folders(target.path.parent, target.given, target.argument)
                stack.enter_context(_lock_file(target, made))
            if _is_file(target) and not overwrite:
                raise InputError(
                    f"expected a new path (or `overwrite`), got {target.given}, which exists",
                    target.argument,
                )
        _remove_parts(claimed)
        yield


def _is_file(target: _Target) -> bool:
    """Whether the target exists and is no folder. Raises `InputError` for an impossible path."""
    try:
        os.lstat(target.path)
        return not os.path.isdir(target.path)
    except FileNotFoundError:
        return False
    except OSError as error:  # a name that is too long
        raise cannot_write(target.given, error, target.argument) from error


def _refuse_duplicates(claimed: list[_Target]) -> None:
    names: dict[str, _Target] = {}
    for target in claimed:
        other = names.setdefault(str(target.path).casefold(), target)
        expected = f"a file other than {other.given}"
        expect(other is target, target.argument, expected, target.given)


def _refuse_inputs(claimed: list[_Target], inputs: Iterable[Path]) -> None:
    read = {_identity(path) for path in inputs} - {None}
    for target in claimed:
        if _identity(target.path) in read:
            raise InputError(
                f"expected a path that is not an input, got {target.given}",
                target.argument,
            )


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino


def _make_folders(folder: Path, given: Path, argument: str) -> list[Path]:
    """Make a folder and its parents; return those that did not exist, the innermost first."""
    made = [path for path in (folder, *folder.parents) if not os.path.exists(path)]
    with writing(given, argument):
        folder.mkdir(parents=True, exist_ok=True)
    return made


def _remove_empty(made: list[Path]) -> None:
    with contextlib.suppress(OSError):  # not empty
        for folder in made:
            folder.rmdir()


def _remove_parts(claimed: list[_Target]) -> None:
    mine: dict[Path, set[str]] = {}
    for target in claimed:
        for folder in (target.path.parent, target.path):  # see `atomic_folder`
            mine.setdefault(folder, set()).add(name_key(target.path))
    for folder, keys in mine.items():
        for part in folder.glob(".part-*"):
            if part.name.split("-")[1] in keys:
                remove(part)


@contextlib.contextmanager
def lock_folder(folder: str | Path, argument: str, expected: str) -> Iterator[None]:
    """Context in which no other process can lock the same folder.

    The system releases the lock when the process ends, even if it is killed. On Windows nothing is
    locked.

    Args:
        folder: the folder, which must exist.
        argument: name of the argument that gave the folder.
        expected: what the error message calls a folder that no other process has locked.

    Raises:
        InputError: the folder is locked by another process, or cannot be opened.
    """
    if fcntl is None:
        yield
        return
    with writing(Path(folder), argument):
        descriptor = os.open(folder, os.O_RDONLY)
    try:
        if not _try_lock(descriptor) or _identity(Path(folder)) != _identity_of(descriptor):
            raise InputError(f"expected {expected}, got {folder}", argument)
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _lock_file(target: _Target, made: list[Path]) -> Iterator[None]:
    """Lock one target, which may not exist yet, through a lock file beside it.

    At the end, the lock file is removed, and so are the folders in `made` that are empty.
    """
    if fcntl is None:
        yield
        return
    lock = target.path.with_name(f".lock-{name_key(target.path)}")
    while True:
        with writing(target.given, target.argument):
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        ours = _try_lock(descriptor)
        if not ours or _identity(lock) == _identity_of(descriptor):
            break
        os.close(descriptor)  # another process has just removed this lock file: make a new one
    try:
        if not ours:
            raise InputError(
                f"expected a path that no other process writes to, got {target.given}",
                target.argument,
            )
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)
            _remove_empty(made)
    finally:
        os.close(descriptor)


def _identity_of(descriptor: int) -> tuple[int, int]:
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino


def _try_lock(descriptor: int) -> bool:
    """Try to lock a file. False if another process has locked it; True on a drive without locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True

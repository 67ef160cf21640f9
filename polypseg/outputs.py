"""What a command is going to write, claimed before its work: no input, nothing that is there, and
nothing that another process writes.
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
        return Path(os.path.abspath(self.given))  # `.` has no name beside it


@contextlib.contextmanager
def claim(
    targets: Mapping[str, Iterable[Path]],
    inputs: Iterable[Path] = (),
    overwrite: bool = False,
    folder: Path | None = None,
) -> Iterator[None]:
    """Hold what a command is going to write, from before its work until its end.

    Meanwhile no other command can claim any of it. What a killed command left half written is
    removed.

    Args:
        targets: argument -> the files, or folders, that it names.
        inputs: files that are read.
        overwrite: targets that exist are to be replaced.
        folder: where all targets lie, if they are many: it is made, and locked in their place.

    Raises:
        InputError: two targets have one name, letter case aside; a target is an input, by any name,
            exists already, is written by another process, or cannot be written.
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
            stack.callback(_remove_empty, made)  # while it is held
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
    """Whether something is there that is no folder. Raises `InputError` where nothing can be."""
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
        expected = f"another file than {other.given}"
        expect(other is target, target.argument, expected, target.given)


def _refuse_inputs(claimed: list[_Target], inputs: Iterable[Path]) -> None:
    read = {_identity(path) for path in inputs} - {None}
    for target in claimed:
        if _identity(target.path) in read:
            raise InputError(
                f"expected other files than are read, got {target.given}, an input",
                target.argument,
            )


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino


def _make_folders(folder: Path, given: Path, argument: str) -> list[Path]:
    """Make a folder and those above it; return those that were not there, the lowest first."""
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
        mine.setdefault(target.path.parent, set()).add(name_key(target.path))
    for folder, keys in mine.items():
        for part in folder.glob(".part-*"):
            if part.name.split("-")[1] in keys:
                remove(part)


@contextlib.contextmanager
def lock_folder(folder: str | Path, argument: str, expected: str) -> Iterator[None]:
    """Keep other processes from writing in a folder; given up with the process, even one that is
    killed. Raises `InputError`.
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

    At the end the lock file is removed, and those of the folders `made` that are empty.
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
        os.close(descriptor)  # of another process that has just removed it: it keeps nobody out
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
    """Whether the lock is ours; a network drive may have none."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True

"""What a command is going to write, claimed before its work: no input, nothing that is there, and
nothing that another process writes.
"""

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from polypseg.errors import InputError, expect
from polypseg.files import cannot_write, name_key, remove, writing

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


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
    owned = [
        (argument, Path(os.path.abspath(path)))  # `.` has no name beside it
        for argument, paths in targets.items()
        for path in paths
    ]
    _refuse_twins(owned)
    _refuse_inputs(owned, inputs)
    first = owned[0][0]
    with contextlib.ExitStack() as stack:
        for argument, path in [(first, folder.absolute() / "x")] if folder else owned:
            with writing(path, argument):
                stack.enter_context(_parents(path))
        if folder:
            stack.enter_context(hold(folder, first, "a folder that no other process writes to"))
        for argument, path in owned:
            if not folder:
                stack.enter_context(_locked(path, argument))
            if _is_file(path, argument) and not overwrite:
                raise InputError(
                    f"expected a new path (or --overwrite), got {path}, which exists", argument
                )
        _remove_parts(owned)
        yield


def _is_file(path: Path, argument: str) -> bool:
    """Whether something is there that is no folder. Raises `InputError` where nothing can be."""
    try:
        os.lstat(path)
        return not os.path.isdir(path)
    except FileNotFoundError:
        return False
    except OSError as error:  # a name that is too long
        raise cannot_write(path, error, argument) from error


def _refuse_twins(owned: list[tuple[str, Path]]) -> None:
    names: dict[str, Path] = {}
    for argument, path in owned:
        other = names.setdefault(str(path).casefold(), path)
        expect(other is path, argument, f"another file than {other}", path)


def _refuse_inputs(owned: list[tuple[str, Path]], inputs: Iterable[Path]) -> None:
    read = {_identity(path) for path in inputs} - {None}
    for argument, path in owned:
        if _identity(path) in read:
            raise InputError(f"expected other files than are read, got {path}, an input", argument)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino


@contextlib.contextmanager
def _parents(path: Path) -> Iterator[None]:
    """Make the folders above `path`; those that are empty at the end go again."""
    made = [folder for folder in path.parents if not os.path.exists(folder)]
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # not empty
            for folder in made:
                folder.rmdir()


def _remove_parts(owned: list[tuple[str, Path]]) -> None:
    mine: dict[Path, set[str]] = {}
    for _, path in owned:
        mine.setdefault(path.parent, set()).add(name_key(path))
    for folder, keys in mine.items():
        for part in folder.glob(".part-*"):
            if part.name.split("-")[1] in keys:
                remove(part)


@contextlib.contextmanager
def hold(folder: str | Path, argument: str, expected: str) -> Iterator[None]:
    """Keep other processes from writing in a folder; given up with the process, even one that is
    killed. Raises `InputError`.
    """
    if fcntl is None:
        yield
        return
    with writing(Path(folder), argument):
        descriptor = os.open(folder, os.O_RDONLY)
    try:
        if not _lock(descriptor):
            raise InputError(f"expected {expected}, got {folder}", argument)
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _locked(path: Path, argument: str) -> Iterator[None]:
    """`hold` for a file, which may not be there yet: by a file beside it, gone at the end."""
    if fcntl is None:
        yield
        return
    lock = path.with_name(f".lock-{name_key(path)}")
    while True:
        with writing(path, argument):
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        ours = _lock(descriptor)
        if not ours or _identity(lock) == _identity_of(descriptor):
            break
        os.close(descriptor)  # of another process that has just removed it: it keeps nobody out
    try:
        if not ours:
            raise InputError(
                f"expected a path that no other process writes to, got {path}", argument
            )
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def _identity_of(descriptor: int) -> tuple[int, int]:
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino


def _lock(descriptor: int) -> bool:
    """Whether the lock is ours; a network drive may have none."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True

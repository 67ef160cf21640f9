"""The rows, what breaks something before them, and what is checked of every one of them."""

import contextlib
import errno
import fnmatch
import importlib
import os
import re
import shlex
import shutil
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from polypseg import __main__
from polypseg.console.run import run

NOISE = np.random.default_rng(0).bytes(4000)
SCRIPTS = {"image": "infer_image.py", "video": "infer_video.py"}  # the others have the command's


class Room(NamedTuple):
    """The folder of one row, the current one while it runs: `room / "in" / "a.png"`."""

    folder: Path
    patch: pytest.MonkeyPatch
    after: contextlib.ExitStack

    def __truediv__(self, name):
        return self.folder / name


class Row(NamedTuple):
    arguments: str
    says: str
    holds: Callable[[Room], object] | None
    prepare: tuple[Callable[[Room], object], ...]
    new: str


def fault(arguments, says, *prepare, new="", known=""):
    """A row that ends with exit code 2 and one line.

    Args:
        arguments: as typed in a shell; they take the place of those of the same name in the
            table's base. `HERE` is the folder's path.
        says: how the line begins behind `error: `; `...` stands for anything.
        prepare: functions of the `Room`, called in turn before the command.
        new: patterns of the paths that may be there afterwards and were not before.
        known: why it does not behave yet; the row fails as soon as it does.
    """
    return _row(Row(arguments, says, None, prepare, new), known)


def right(arguments, holds, *prepare, known=""):
    """A row that ends with exit code 0 and nothing on stderr, and after which `holds(room)`."""
    return _row(Row(arguments, "", holds, prepare, "*"), known)


def _row(row, known):
    marks = [pytest.mark.xfail(strict=True, reason=known)] if known else []
    return pytest.param(row, marks=marks, id=f"{row.arguments[:50]} {row.says[:40]}".strip())


def check(command, base, row, room, capfd, caplog):
    """Run a row and check all that is checked of every row.

    Args:
        command: of `polypseg`; "" for `polypseg` itself.
        base: a list of options, each with its values, `"--out out"`.
    """
    for prepare in row.prepare:
        prepare(room)
    before = snapshot(room.folder)
    given = shlex.split(row.arguments.replace("HERE", str(room.folder)))
    options = {word.partition("=")[0] for word in given}
    given = shlex.split(" ".join(o for o in base if o.split()[0] not in options)) + given
    program = SCRIPTS.get(command, f"{command}.py") if command else "polypseg"
    capfd.readouterr()
    caplog.clear()
    code, warned = call(command, program, given, room)
    lines = capfd.readouterr().err.splitlines() + warned
    # TensorFlow logs a warning where one process trains often; tifffile's have a null handler.
    names = ("tensorflow", "tifffile")
    logged = [r for r in caplog.records if r.levelname != "INFO" and r.name not in names]
    lines += [record.getMessage() for record in logged]
    after = snapshot(room.folder)

    if row.holds:
        assert (code, lines) == (0, []), f"{code}: {lines}"
        assert row.holds(room)
    else:
        assert (code, len(lines)) == (2, 1), f"{code}: {lines}"
        pattern = ".*".join(map(re.escape, row.says.split("...")))
        assert re.match(rf"{re.escape(program)}[^:]*: error: {pattern}", lines[0]), lines[0]
    for path, content in before.items():
        assert after.get(path) == content, f"{path} is not what it was"
    for path in after.keys() - before.keys():
        assert any(fnmatch.fnmatch(path, pattern) for pattern in row.new.split()), f"{path} is new"
        assert ".part" not in path


def call(command, program, arguments, room):
    """Exit code, and the warnings that Python would print, of a command in this process."""
    module = importlib.import_module(f"polypseg.commands.{command}") if command else __main__
    room.patch.setattr(sys, "argv", [program, *arguments])
    room.patch.setenv("KERAS_BACKEND", os.environ.get("KERAS_BACKEND", "tensorflow"))
    room.patch.chdir(room.folder)
    code = 0
    with warnings.catch_warnings(record=True) as caught:
        warnings.resetwarnings()
        for kind in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
            warnings.simplefilter("ignore", kind)
        try:
            run(module.main)
        except SystemExit as stop:
            code = stop.code or 0
    return code, [str(warning.message) for warning in caught]


def snapshot(folder):
    """`{path below the folder: bytes, target of a link or kind}`."""
    found, folders = {}, [str(folder)]
    while folders:  # twice a row: with os, because pathlib takes twice as long
        with contextlib.suppress(PermissionError), os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_symlink():
                    content = f"-> {os.readlink(entry.path)}"
                elif entry.is_file():
                    content = "unreadable"
                    if os.access(entry.path, os.R_OK):
                        with open(entry.path, "rb") as file:
                            content = file.read()
                elif entry.is_dir():
                    content = "a folder"
                    folders.append(entry.path)
                else:
                    content = "another thing"
                found[os.path.relpath(entry.path, folder)] = content
    return found


# What breaks something before the command: functions of the `Room`.


def put(name, content=b""):
    """A file with that content, bytes or text."""

    def prepare(room):
        (room / name).parent.mkdir(parents=True, exist_ok=True)
        (room / name).write_bytes(content.encode() if isinstance(content, str) else content)

    return prepare


def half(name, new=None, keep=0.5):
    """The first half of a file, in its place or as `new`."""

    def prepare(room):
        data = (room / name).read_bytes()
        (room / (new or name)).write_bytes(data[: round(len(data) * keep)])

    return prepare


def edit(name, change):
    """A text file, changed."""
    return lambda room: (room / name).write_text(change((room / name).read_text()))


def copy(name, new):
    return lambda room: shutil.copy(room / name, room / new)


def move(name, new):
    return lambda room: os.rename(room / name, os.path.join(room.folder, new))


def gone(name):
    return lambda room: (shutil.rmtree if (room / name).is_dir() else os.unlink)(room / name)


def folder(name):
    """A folder, also in place of a file."""

    def prepare(room):
        (room / name).unlink(missing_ok=True)
        (room / name).mkdir(parents=True)

    return prepare


def link(name, target):
    """A symbolic link, also in place of a file; to itself or to nothing, too."""

    def prepare(room):
        (room / name).parent.mkdir(parents=True, exist_ok=True)
        (room / name).unlink(missing_ok=True)
        (room / name).symlink_to(target)

    return prepare


def hard_link(name, target):
    def prepare(room):
        (room / name).parent.mkdir(parents=True, exist_ok=True)
        os.link(room / target, room / name)

    return prepare


def image(name, size=(9, 7), mode="RGB", level=0, **options):
    """An image of one colour, (width, height)."""

    def prepare(room):
        (room / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new(mode, size, level).save(room / name, **options)

    return prepare


def coloured(name, *colours):
    """A mask like those of `painted`, with a stripe of each colour on black."""

    def prepare(room):
        values = np.zeros((32, 36, 3), np.uint8)
        for index, colour in enumerate(colours):
            width = 24 // len(colours)
            values[4:28, width * index : width * (index + 1)] = colour
        Image.fromarray(values).save(room / name)

    return prepare


def painted(name, *levels, kind=np.uint8, mode=None, orientation=None):
    """An image of 36 x 32 pixels, as those of the data set, with a stripe of each level on 0.

    Args:
        name: of the file.
        levels: from left to right; the last third stays 0.
        kind: of the levels.
        mode: of Pillow, "P" for a palette in which a level is an index.
        orientation: in the EXIF data.
    """

    def prepare(room):
        values = np.zeros((32, 36), kind)
        for index, level in enumerate(levels):
            width = 24 // len(levels)
            values[4:28, width * index : width * (index + 1)] = level
        found = Image.fromarray(values)
        if mode == "P":
            found = Image.fromarray(values, "P")
            found.putpalette(np.random.default_rng(0).integers(0, 256, 768).tolist())
        exif = Image.Exif()
        exif[0x0112] = orientation or 1
        found.save(room / name, **({"exif": exif} if orientation else {}))

    return prepare


def frames(name):
    """An image file of two images."""
    return image(name, save_all=True, append_images=[Image.new("RGB", (9, 7), "red")])


def array(name, values):
    """A `.npy` file."""
    return lambda room: np.save(room / name, values)


def no_room(module, function, pattern="*"):
    """A disk that is full for that function where the name of a path matches the pattern."""

    def prepare(room):
        real = getattr(module, function)

        def refuse(*arguments, **options):
            paths = [Path(a) for a in arguments if isinstance(a, str | os.PathLike)]
            if any(fnmatch.fnmatch(path.name, pattern) for path in paths):
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(*arguments, **options)

        room.patch.setattr(module, function, refuse)

    return prepare


def environment(**variables):
    return lambda room: [room.patch.setenv(*variable) for variable in variables.items()]


def unreadable(name):
    """A file or a folder that nobody may read."""

    def prepare(room):
        (room / name).chmod(0)
        room.after.callback((room / name).chmod, 0o700)
        if os.access(room / name, os.R_OK):
            pytest.skip("root may read everything")

    return prepare

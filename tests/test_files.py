"""Files are complete or missing, whatever their name, and with two writers at once."""

import contextlib
import csv
import errno
import hashlib
import multiprocessing
import os
import re
from pathlib import Path

import numpy as np
import pytest

from polypseg.errors import InputError
from polypseg.files import (
    atomic,
    atomic_folder,
    csv_rows,
    csv_text,
    file_digest,
    part_path,
    write_text,
    writing,
)


def test_a_file_is_replaced_only_when_it_is_complete(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), atomic(path) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["a.txt"]
    with atomic(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new" and os.listdir(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("name", ["a.keras", "x" * 250 + ".png", "大" * 80 + ".mp4"])
def test_a_temporary_name_is_short_and_its_own(name, tmp_path):
    one, two = part_path(tmp_path / name), part_path(tmp_path / name)
    assert one != two and one.parent == tmp_path and one.suffix == Path(name).suffix
    write_text(tmp_path / name, "text")
    assert os.listdir(tmp_path) == [name]


def _write(path, letter):
    for _ in range(50):
        write_text(path, letter * 100_000)


@pytest.mark.parametrize("before", [None, "empty", "full", "link"])
def test_a_folder_is_replaced_only_when_it_is_complete(before, tmp_path):
    path, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "kept").touch()
    if before == "link":
        path.symlink_to(elsewhere)
    elif before:
        path.mkdir()
        if before == "full":
            (path / "old").touch()
    there = sorted(map(str, tmp_path.rglob("*")))
    with pytest.raises(RuntimeError):
        with atomic_folder(path) as folder:
            (folder / "new").touch()
            raise RuntimeError
    assert sorted(map(str, tmp_path.rglob("*"))) == there
    with atomic_folder(path) as folder:
        (folder / "new").touch()
        assert not (path / "new").exists()
    assert os.listdir(path) == ["new"] and path.is_symlink() == (before == "link")
    assert sorted(os.listdir(tmp_path)) == ["elsewhere", "out"]
    assert os.listdir(elsewhere) == (["new"] if before == "link" else ["kept"])


def test_a_folder_that_exists_remains(tmp_path):
    """It may be a mount point, or a shell's working directory, and has its own permissions."""
    path = tmp_path / "out"
    path.mkdir(mode=0o750)
    before = path.stat()
    (path / "old").touch()
    with contextlib.chdir(path), atomic_folder(".") as folder:
        (folder / "new").touch()
        assert os.listdir(tmp_path) == ["out"]  # the disk that is mounted there has the room
    assert os.listdir(path) == ["new"]
    assert (path.stat().st_ino, path.stat().st_mode) == (before.st_ino, before.st_mode)


@pytest.mark.parametrize("fails", range(1, 5))
def test_a_folder_whose_content_cannot_be_replaced_is_as_before(fails, tmp_path, monkeypatch):
    """Two parts are moved out, then two are moved in; one of these moves fails."""
    for name in ("a", "b"):
        (tmp_path / name).write_text("old")
    rename, calls = os.rename, []

    def failing(source, target):
        calls.append(source)
        if len(calls) == fails:
            raise OSError(errno.EBUSY, "busy")
        rename(source, target)

    with pytest.raises(OSError, match="busy"):
        with atomic_folder(tmp_path) as folder:
            for name in ("a", "c"):
                (folder / name).write_text("new")
            monkeypatch.setattr(os, "rename", failing)
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]
    assert {path.read_text() for path in tmp_path.iterdir()} == {"old"}


def test_two_writers_of_one_file_leave_one_of_both(tmp_path):
    path = tmp_path / "a.txt"
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write, args=(path, letter)) for letter in "ab"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    assert path.read_text() in ("a" * 100_000, "b" * 100_000)
    assert os.listdir(tmp_path) == ["a.txt"]


def test_the_disk_is_named_with_the_argument(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(
        InputError, match=r"^out: expected a writable place .* \(Not a directory\)$"
    ):
        with writing(tmp_path / "file" / "a.txt", "out"):
            write_text(tmp_path / "file" / "a.txt", "text")


@pytest.mark.parametrize(
    "text",
    [
        "a/variables; No space left on device",  # TensorFlow's, of the class for too little memory
        "basic_ios::clear: iostream error",  # OpenVINO's
    ],
)
def test_a_full_disk_is_one_whatever_the_class_of_the_error(text, tmp_path):
    with pytest.raises(InputError, match=r"^out: expected a writable place .*, got .*a \("):
        with writing(tmp_path / "a", "out"):
            raise RuntimeError(text)
    with pytest.raises(RuntimeError, match="another"), writing(tmp_path / "a", "out"):
        raise RuntimeError("another")


def test_a_table_comes_back_whatever_is_in_it(tmp_path):
    random = np.random.default_rng(3)
    letters = list("abc,\"\n\r é日;='")
    rows = [["".join(random.choice(letters, 5)) for _ in range(3)] for _ in range(80)]
    write_text(tmp_path / "a.csv", csv_text(["a", "b", "c"], rows))
    assert csv_rows(tmp_path / "a.csv") == [dict(zip("abc", row, strict=True)) for row in rows]
    with open(tmp_path / "a.csv", newline="", encoding="utf-8") as file:
        read = list(csv.reader(file, strict=True))
    assert all(
        cell.lstrip("'=") == known.lstrip("'=")
        for cell, known in zip(sum(read[1:], []), sum(rows, []))
    )


@pytest.mark.parametrize(
    "name", ["=1+1", "+x", "-x", "@x", "\tx", "\r=x", "＝x", "'=x", "''-x", "--5", "=", "-1-2"]
)
def test_a_spreadsheet_runs_no_name(name, tmp_path):
    write_text(tmp_path / "a.csv", csv_text(["stem", "dice"], [[name, "-0.5"], ["'x", -1e-9]]))
    with open(tmp_path / "a.csv", newline="", encoding="utf-8") as file:
        _, (cell, number), (plain, small) = csv.reader(file)
    assert cell == f"'{name}" and plain == "'x"
    assert (float(number), float(small)) == (-0.5, -1e-9)
    # The expression of docs/commands/image.md, for names that begin with none of the rarer letters.
    if name.lstrip("'")[0] in "=+-@":
        assert re.sub(r"^'(?='*[=+@-])", "", cell) == name
    assert csv_rows(tmp_path / "a.csv") == [
        {"stem": name, "dice": "-0.5"},
        {"stem": "'x", "dice": "-1e-09"},
    ]


@pytest.mark.parametrize("number", ["-5", "+1", "-0.25", "-1e-05", "-inf"])
def test_a_number_remains_one(number):
    assert csv_text(["a"], [[number]]) == f"a\n{number}\n"


@pytest.mark.parametrize("text", ["a,b\n1\n", "a,b\n1,2,3\n"])
def test_a_row_has_a_cell_for_each_heading(text, tmp_path):
    write_text(tmp_path / "a.csv", text)
    with pytest.raises(ValueError, match="expected 2 cells in a row, got 1"):
        csv_rows(tmp_path / "a.csv")


def test_a_digest_is_blake2bs(tmp_path):
    content = np.random.default_rng(0).bytes(300_001)
    (tmp_path / "a").write_bytes(content)
    assert file_digest(tmp_path / "a") == hashlib.blake2b(content, digest_size=8).hexdigest()


def test_a_name_that_is_not_utf8_is_written_as_it_is(tmp_path):
    name = os.fsdecode(b"a\xff.png")
    write_text(tmp_path / "a.csv", name)
    assert (tmp_path / "a.csv").read_bytes() == b"a\xff.png"

"""Files are complete or missing, whatever their name, and with two writers at once."""

import csv
import hashlib
import io
import multiprocessing
import os
from pathlib import Path

import numpy as np
import pytest

from polypseg.errors import InputError
from polypseg.files import atomic, csv_text, file_digest, part_path, write_text, writing


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


def test_a_table_comes_back_whatever_is_in_it():
    random = np.random.default_rng(3)
    letters = list('abc,"\n é日;')
    rows = [["".join(random.choice(letters, 5)) for _ in range(3)] for _ in range(40)]
    text = csv_text(["a", "b", "c"], rows)
    assert list(csv.reader(io.StringIO(text, newline=""))) == [["a", "b", "c"], *rows]


def test_a_digest_is_blake2bs(tmp_path):
    content = np.random.default_rng(0).bytes(300_001)
    (tmp_path / "a").write_bytes(content)
    assert file_digest(tmp_path / "a") == hashlib.blake2b(content, digest_size=8).hexdigest()


def test_a_name_that_is_not_utf8_is_written_as_it_is(tmp_path):
    name = os.fsdecode(b"a\xff.png")
    write_text(tmp_path / "a.csv", name)
    assert (tmp_path / "a.csv").read_bytes() == b"a\xff.png"

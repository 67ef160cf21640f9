"""Outputs are claimed: under any name, against other processes, and after a kill."""

import multiprocessing
import os

import pytest

from polypseg.errors import InputError
from polypseg.files import part_path
from polypseg.outputs import claim


def test_an_input_is_known_by_any_name(tmp_path):
    (tmp_path / "a").write_text("read")
    (tmp_path / "b").symlink_to("a")
    os.link(tmp_path / "a", tmp_path / "c")
    for name in ("a", "b", "c", "../" + tmp_path.name + "/a"):
        targets = {"out": [tmp_path / "d", tmp_path / name]}
        with pytest.raises(InputError, match="out: expected a path that is not an input"):
            with claim(targets, [tmp_path / "none", tmp_path / "a"], overwrite=True):
                pass
    assert sorted(os.listdir(tmp_path)) == ["a", "b", "c"]
    with claim({"out": [tmp_path / "d"]}, [tmp_path / "a", tmp_path / "none"]):
        pass


@pytest.mark.parametrize("one, two", [("a.png", "A.PNG"), ("x/../a.png", "a.png")])
def test_two_results_of_one_name_are_refused(one, two, tmp_path):
    with pytest.raises(InputError, match="masks_out: expected a file other than"):
        with claim({"out": [tmp_path / one], "masks_out": [tmp_path / two]}):
            pass


def test_what_exists_needs_overwrite_and_the_argument_is_named(tmp_path):
    (tmp_path / "b").symlink_to("nowhere")
    targets = {"out": [tmp_path / "a"], "masks_out": [tmp_path / "b"]}
    with pytest.raises(InputError, match=r"masks_out: expected a new path \(or `overwrite`\)"):
        with claim(targets):
            pass
    with claim(targets, overwrite=True):
        pass
    assert os.listdir(tmp_path) == ["b"]


def test_folders_are_made_and_go_again_when_nothing_came(tmp_path):
    with claim({"out": [tmp_path / "p" / "q" / "a"]}):
        assert (tmp_path / "p" / "q").is_dir()
    assert os.listdir(tmp_path) == []
    with claim({"out": [tmp_path / "p" / "q" / "a"]}):
        (tmp_path / "p" / "q" / "a").touch()
    assert os.listdir(tmp_path / "p" / "q") == ["a"]


def test_a_file_in_place_of_a_folder(tmp_path):
    (tmp_path / "file").touch()
    for options in ({}, {"folder": tmp_path / "file"}):
        with pytest.raises(InputError, match="^out: expected a writable place"):
            with claim({"out": [tmp_path / "file" / "a"]}, **options):
                pass


def test_what_a_killed_command_left_is_removed_and_nothing_else(tmp_path):
    left = part_path(tmp_path / "a.mp4")
    left.touch()
    folder = part_path(tmp_path / "masks")
    (folder / "x").mkdir(parents=True)
    other = part_path(tmp_path / "b.mp4")
    other.touch()
    (tmp_path / f".lock-{left.name.split('-')[1]}").touch()
    with claim({"out": [tmp_path / "a.mp4"], "masks_out": [tmp_path / "masks"]}):
        assert not left.exists() and not folder.exists() and other.exists()
    assert os.listdir(tmp_path) == [other.name]


@pytest.mark.parametrize("many", [False, True])
def test_a_second_claim_is_refused_until_the_first_has_ended(many, tmp_path):
    targets = {"out": [tmp_path / "o" / "a.png"]}
    options = {"folder": tmp_path / "o"} if many else {}
    with claim(targets, **options):
        with pytest.raises(InputError, match="out: expected a .* that no other process writes to"):
            with claim(targets, overwrite=True, **options):
                pass
    with claim(targets, **options):
        pass


def _append(path, barrier, added, refused):
    barrier.wait()
    # All go on until enough claims were refused, however the processes are scheduled.
    while added.value < 200 or refused.value < 50:
        try:
            with claim({"out": [path]}, overwrite=True):
                value = int(path.read_text()) if path.exists() else 0
                path.write_text(str(value + 1))
                count = added
        except InputError:
            count = refused
        with count:
            count.value += 1


def test_claims_of_four_processes_never_overlap(tmp_path):
    """Each adds one to a number. If two held the claim at once, additions would be lost."""
    context = multiprocessing.get_context("spawn")
    path, added, refused = tmp_path / "n", context.Value("i", 0), context.Value("i", 0)
    arguments = path, context.Barrier(4), added, refused
    processes = [context.Process(target=_append, args=arguments) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert int(path.read_text()) == added.value
    assert [name for name in os.listdir(tmp_path) if name.startswith(".")] == []


@pytest.mark.parametrize("many", [False, True])
def test_a_name_that_no_disk_takes_is_refused_before_the_work(many, tmp_path):
    targets = {"out": [tmp_path / ("x" * 252 + ".png")]}
    options = {"folder": tmp_path / "o"} if many else {}
    with pytest.raises(InputError, match="out: expected a writable .*File name too long"):
        with claim(targets, **options):
            pass
    assert os.listdir(tmp_path) == []


def _use(folder, barrier, results):
    barrier.wait()
    for _ in range(200):
        try:
            with claim({"out": [folder / "x"]}, folder=folder):
                (folder / "x").write_text("x")
                (folder / "x").unlink()  # the folder is empty now and is removed
                results.put(1)
        except InputError:
            pass


def test_a_claimed_folder_is_never_taken_away(tmp_path):
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(4), context.SimpleQueue()
    processes = [
        context.Process(target=_use, args=(tmp_path / "p" / "o", barrier, results))
        for _ in range(4)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert not results.empty()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []

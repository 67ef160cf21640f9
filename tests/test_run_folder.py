"""A run folder is opened by one reader, which believes nothing that it can check."""

import json
import os
import shutil
import zipfile

import numpy as np
import pytest

from polypseg.commands.train import parse
from polypseg.data.splits import write_split
from polypseg.errors import InputError, Note
from polypseg.experiment.checkpoint import (
    Saved,
    finished_epochs,
    history_digest,
    read_saved,
    write_history,
)
from polypseg.experiment.config import TrainConfig
from polypseg.experiment.run import DIGEST, begin_run, new_run, open_run, run_id

DICE = (0.2, 0.6, 0.4)  # of validation: the second epoch is the best
SPLIT = {"train": ["a", "b", "c"], "val": ["d"], "test": ["e", "f"]}


def network(path, epoch):
    """A file that says of itself what a network's does."""
    history = history_digest(path.parent / "history.csv", epoch)
    saved = Saved(epoch, run_id(path.parent), history if path.stem == "last" else None)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x", os.urandom(8))
        archive.comment = json.dumps(saved._asdict()).encode()


def row(epoch, dice):
    names = ("lr", "dice", "iou", "loss", "val_dice", "val_iou", "val_loss", "seconds")
    return {"epoch": epoch} | dict.fromkeys(names, 0.1 + epoch / 7) | {"val_dice": dice}


def make(folder, seed=1, **options):
    """A run of three epochs."""
    folder.mkdir(parents=True)
    config = TrainConfig(data_path="d", **options).resolved()
    stems = [stem for part in SPLIT.values() for stem in part]
    random = np.random.default_rng(seed)
    files = {stem: (random.bytes(8).hex(), random.bytes(8).hex()) for stem in stems}
    folds = config.folds is not None
    begin_run(folder, config, "checked 6 pairs", files, [SPLIT] * (config.folds or 1))
    if not folds:
        write_history(folder / "history.csv", [row(i, d) for i, d in enumerate(DICE, 1)])
        network(folder / "best.keras", 2)
        network(folder / "last.keras", 3)
    return folder


@pytest.fixture
def run(tmp_path):
    return make(tmp_path / "run")


def edit(name, old, new):
    def change(folder):
        text = (folder / name).read_text(encoding="utf-8")
        assert old in text
        (folder / name).write_text(text.replace(old, new), encoding="utf-8")

    return change


def text(name, content):
    return lambda folder: (folder / name).write_text(content)


def gone(name):
    return lambda folder: (folder / name).unlink()


def swap(one, two):
    def change(folder):
        os.rename(folder / one, folder / "x")
        os.rename(folder / two, folder / one)
        os.rename(folder / "x", folder / two)

    return change


def copied(source, target):
    return lambda folder: shutil.copy(folder / source, folder / target)


def dangling(name):
    def change(folder):
        (folder / name).unlink()
        (folder / name).symlink_to("nowhere")

    return change


def comment(name, content):
    def change(folder):
        with zipfile.ZipFile(folder / name, "a") as archive:
            archive.comment = content

    return change


def of_another_run(name):
    def change(folder):
        other = make(folder.parent / "other")  # of the same options and data
        shutil.copy(other / name, folder / name)

    return change


def history_column(lacking):
    def change(folder):
        path = folder / "history.csv"
        lines = [line.split(",") for line in path.read_text().splitlines()]
        index = lines[0].index(lacking)
        path.write_text(
            "".join(",".join(cells[:index] + cells[index + 1 :]) + "\n" for cells in lines)
        )

    return change


CONFIGS = ("[]", "5", "null", "{}", '"x"', "", "{", "[" * 100_000, '{"epochs": 1e999}', "\0")
CHANGED = "it has been changed since the run began"
DAMAGE = {
    **{
        f"config {content[:9]}": (text("config.json", content), "config.json")
        for content in CONFIGS
    },
    "config gone": (gone("config.json"), "with none inside"),
    "config a link to nothing": (dangling("config.json"), "with none inside"),
    "loss edited": (edit("config.json", "structure", "dice"), CHANGED),
    "input size edited": (edit("config.json", "352", "320"), CHANGED),
    "unknown key": (edit("config.json", '"seed"', '"seedd"'), "did you mean 'seed'"),
    "a value of another type": (edit("config.json", '"seed": 12', '"seed": "12"'), "'seed'"),
    "train and val swapped": (swap("split/train.txt", "split/val.txt"), CHANGED),
    "no test.txt": (gone("split/test.txt"), "No such file"),
    "test.txt empty": (text("split/test.txt", ""), CHANGED),
    "test.txt a link to nothing": (dangling("split/test.txt"), "No such file"),
    "a stem more": (edit("split/test.txt", "e\n", "e\ng\n"), CHANGED),
    "files.csv gone": (gone("files.csv"), "No such file"),
    "files.csv edited": (edit("files.csv", "stem", "stam"), CHANGED),
    "data.txt edited": (edit("data.txt", "6", "7"), CHANGED),
    "digests empty": (text(DIGEST, "{}"), "of other files"),
    "digests of a list": (text(DIGEST, "[1]"), "digest.json"),
    "digests no JSON": (text(DIGEST, "x"), "digest.json"),
    "digests edited": (edit(DIGEST, '.txt": "', '.txt": "0'), CHANGED),
    "environment a list": (text("environment.json", "[]"), "environment.json"),
    "environment resumed": (text("environment.json", '{"resumed": 3}'), "environment.json"),
    "environment no JSON": (text("environment.json", "{"), "environment.json"),
    "environment a link": (dangling("environment.json"), "environment.json"),
    **{
        f"history without {name}": (history_column(name), "history.csv")
        for name in ("epoch", "val_dice", "loss", "lr")
    },
    "history inf": (edit("history.csv", "0.6", "inf"), "history.csv"),
    "history nan": (edit("history.csv", "0.6", "nan"), "history.csv"),
    "history words": (edit("history.csv", "0.6", "good"), "history.csv"),
    "history empty": (text("history.csv", ""), "last.keras"),
    "history binary": (lambda f: (f / "history.csv").write_bytes(b"\xff\0"), "history.csv"),
    "history a cell less": (edit("history.csv", "0.6,", ""), "history.csv"),
    "history a cell more": (edit("history.csv", "0.6,", "0.6,1,"), "history.csv"),
    "history without its second epoch": (edit("history.csv", "\n2,", "\n3,"), "history.csv"),
    "history a link to nothing": (dangling("history.csv"), "history.csv"),
    "history a folder": (
        lambda folder: (gone("history.csv")(folder), (folder / "history.csv").mkdir()),
        "history.csv",
    ),
    "history of another loss": (edit("history.csv", "0.242", "0.142"), "which has been changed"),
    "another best epoch": (edit("history.csv", "0.4", "0.9"), "history.csv, which has been"),
    "last copied over best": (copied("last.keras", "best.keras"), "of epoch 2, the best one"),
    "best of another run": (of_another_run("best.keras"), "best.keras, which is of another"),
    "last of another run": (of_another_run("last.keras"), "last.keras, which is of another"),
    "best truncated": (lambda f: (f / "best.keras").write_bytes(b"PK\3\4"), "best.keras"),
    "best empty": (text("best.keras", ""), "best.keras"),
    **{
        f"comment {content!r}": (comment("best.keras", content), "best.keras")
        for content in (
            b"",
            b"[]",
            b"{}",
            b"null",
            b'{"epoch": "2"}',
            b'{"epoch": 2.0}',
            b'{"epoch": -1}',
            b'{"epoch": true}',
            b'{"epoch": 2, "run": 3}',
            b'{"epoch": 2, "run": null}',
            b'{"epoch": 99}',
            b"\xff",
        )
    },
}


def test_an_untouched_run_opens(run):
    found = open_run(run)
    assert found.config["epochs"] == 40 and found.best == run / "best.keras"
    assert [row["val_dice"] for row in found.history] == list(DICE)
    assert open_run(run.parent, "resume").folder == run, "the only run inside"
    assert parse(["--resume", str(run), "--data-path", "moved"]).data_path == "moved"


@pytest.mark.parametrize("argument", ["model", "resume"])
@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_one_line(damage, argument, run):
    change, words = DAMAGE[damage]
    change(run)
    with pytest.raises(InputError) as caught:
        open_run(run, argument)
    assert caught.value.argument == argument
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_a_network_alone_can_be_kept(run):
    """`last.keras` is three times as large, and needed for resuming alone."""
    (run / "last.keras").unlink()
    assert open_run(run).best.is_file()
    with pytest.raises(InputError, match="expected last.keras in .* --start-from"):
        finished_epochs(run)


@pytest.mark.parametrize("best", [0, 1, 2])
def test_moments_of_a_kill_are_no_damage(best, tmp_path):
    """Killed after history.csv, after last.keras or before best.keras of the second epoch."""
    run = make(tmp_path / "run")
    network(run / "last.keras", 2)
    network(run / "best.keras", best or 1)
    if not best:
        (run / "best.keras").unlink()
    assert len(open_run(run).history) == 3
    assert len(finished_epochs(run)) == 2


def test_a_run_of_an_earlier_version_is_used_with_a_note(run):
    (run / DIGEST).unlink()
    for name, epoch in (("best.keras", 2), ("last.keras", 3)):
        comment(name, json.dumps({"epoch": epoch}).encode())(run)
    with pytest.warns(Note, match="earlier version"):
        assert open_run(run).best.is_file()
    (run / "split" / "test.txt").unlink()
    with pytest.warns(Note), pytest.raises(InputError, match="test.txt"):
        open_run(run)


def test_lists_that_share_a_stem_are_refused_in_an_earlier_run(run):
    (run / DIGEST).unlink()
    write_split(run / "split", SPLIT | {"test": ["a", "e"]})
    with pytest.warns(Note), pytest.raises(InputError, match="a is in two lists"):
        open_run(run)


def test_a_cross_validation_is_opened_to_be_resumed(tmp_path):
    folder = make(tmp_path / "folds", folds=3)
    assert open_run(folder, "resume").config["folds"] == 3
    edit("config.json", '"folds": 3', '"folds": 2')(folder)
    with pytest.raises(InputError, match=CHANGED):
        open_run(folder, "resume")


def test_more_epochs_are_a_new_run(run):
    with pytest.raises(InputError, match="--start-from .*run --epochs 60"):
        parse(["--resume", str(run), "--epochs", "60"])


def test_what_training_writes_meanwhile_is_no_damage(run, monkeypatch):
    """Between the reading of two files the run finishes an epoch, which is the best one."""
    from polypseg.experiment import run as module

    def read(path, argument):
        found = read_saved(path, argument)
        if path.name == "last.keras":
            rows = [row(i, d) for i, d in enumerate((*DICE, 0.9), 1)]
            write_history(run / "history.csv", rows)
            network(run / "last.keras", 4)
            network(run / "best.keras", 4)
        return found

    monkeypatch.setattr(module, "read_saved", read)
    assert len(open_run(run).history) == 4


def test_a_run_that_cannot_be_begun_leaves_nothing(tmp_path, monkeypatch):
    from polypseg.experiment import run as module

    def full(path, text):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "write_text", full)
    config = TrainConfig(data_path="d").resolved()
    with pytest.raises(InputError, match="No space left on device"):
        new_run(tmp_path, "run", config, "checked", {"a": ("0", "1")}, [SPLIT])
    assert os.listdir(tmp_path) == []


def test_a_loss_that_is_not_finite_does_not_close_the_run(run):
    """It was stopped for it, and its best network is good."""
    path = run / "history.csv"
    rows = [row(index, dice) for index, dice in enumerate(DICE, 1)]
    rows[2]["val_loss"] = float("nan")
    write_history(path, rows)
    network(run / "last.keras", 3)
    assert np.isnan(open_run(run).history[2]["val_loss"])

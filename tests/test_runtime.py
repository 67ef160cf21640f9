"""What the process runs on: who may change its memory settings."""

import ctypes
import importlib
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from polypseg import Predictor
from polypseg.commands import train
from polypseg.data.images import write_png
from polypseg.runtime import load_tensorflow, quiet

BEFORE = Path(__file__).resolve().parent / "data" / "before_rooms"


class Reached(Exception):
    """The command is about to load its network."""


@pytest.fixture
def mallopt(monkeypatch):
    """The arguments of each call of the C library's mallopt, which is not made."""
    calls, load = [], ctypes.CDLL

    class Libc:
        def mallopt(self, parameter, value):
            calls.append((parameter, value))

    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(
        ctypes,
        "CDLL",
        lambda name, *args, **kwargs: (
            Libc() if name == "libc.so.6" else load(name, *args, **kwargs)
        ),
    )
    return calls


def test_the_library_leaves_the_memory_settings_of_its_caller_alone(mallopt):
    load_tensorflow()
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    assert Predictor.load(BEFORE / "attention_unet.keras")(image).shape == (40, 50)
    assert mallopt == []


@pytest.mark.parametrize(
    "command, words",
    [
        ("train", "--data-path . --data-split 0.2 --trained-model-path ."),
        ("test", "--model a.keras --data-path . --subset all"),
        ("image", "--model a.keras --image images"),
        ("video", "--model a.keras --video a.mp4"),
    ],
)
def test_a_command_keeps_freed_memory_before_its_network_is_loaded(
    command, words, mallopt, tmp_path, monkeypatch
):
    def reached(*args, **kwargs):
        raise Reached

    for folder, shape in (("images", (9, 9, 3)), ("masks", (9, 9))):
        (tmp_path / folder).mkdir()
        write_png(tmp_path / folder / "a.png", np.zeros(shape, np.uint8))
    (tmp_path / "a.keras").write_bytes((BEFORE / "attention_unet.keras").read_bytes())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [command, *words.split()])
    monkeypatch.setattr(Predictor, "load", reached)
    monkeypatch.setattr(train, "load_tensorflow", reached)
    monkeypatch.setattr("polypseg.inference.video.VideoReader.__init__", reached)
    with pytest.raises(Reached):
        importlib.import_module(f"polypseg.commands.{command}").main()
    # The numbers of M_TRIM_THRESHOLD and M_MMAP_MAX in malloc.h.
    assert mallopt == [(-1, 2**31 - 1), (-4, 0)]


def test_text_of_compiled_code_is_hidden_without_a_temporary_folder(monkeypatch, capfd):
    """As in a container whose disk is full or read-only."""

    def full():
        raise FileNotFoundError("No usable temporary directory found")

    for change in (lambda: None, lambda: monkeypatch.setattr(tempfile, "TemporaryFile", full)):
        change()
        with quiet():
            os.write(2, b"noise")
        os.write(2, b"text")
        assert capfd.readouterr().err == "text"

"""How errors are shown: as one line or a traceback, with which exit code, on which terminal."""

import dataclasses
import errno
import importlib.util
import io
import os
import pickle
import re
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from polypseg import runtime
from polypseg.console.parser import given_options
from polypseg.console.run import (
    is_out_of_memory,
    last_words,
    one_line,
    run,
    say,
    tolerate_encoding,
    warn,
)
from polypseg.errors import InputError, InputErrors, expect, of_argument, reading, reason
from polypseg.options import REQUIRED, option

ROOT = Path(__file__).resolve().parent.parent
SAYS = "from polypseg.console.run import run, say; run(lambda: say('done'))"


def outcome(capsys, error, monkeypatch, name="train.py"):
    """Exit code and stderr of a command that raises `error`."""
    monkeypatch.setattr(sys, "argv", [name])

    def main():
        raise error

    with pytest.raises(SystemExit) as stop:
        run(main)
    return stop.value.code, capsys.readouterr().err


def test_an_input_error_names_the_option(capsys, monkeypatch):
    error = InputError("expected a multiple of 32, got 100", "input_size")
    assert str(error) == "input_size: expected a multiple of 32, got 100"
    assert outcome(capsys, error, monkeypatch) == (
        2,
        "train.py: error: --input-size: expected a multiple of 32, got 100\n",
    )
    assert outcome(capsys, InputError("a\nb\x1b[31m", "FILE"), monkeypatch, "polypseg convert") == (
        2,
        "polypseg convert: error: FILE: a\\nb\\x1b[31m\n",
    )


def test_several_mistakes_are_a_line_each(capsys, monkeypatch):
    mistakes = [InputError("expected a, got b", "out"), InputError("expected `out`, got\nd")]
    error = pickle.loads(pickle.dumps(InputErrors(mistakes)))
    assert str(error) == "out: expected a, got b (and 1 more)"
    assert outcome(capsys, error, monkeypatch) == (
        2,
        "train.py: error: --out: expected a, got b\ntrain.py: error: expected --out, got\\nd\n",
    )


@pytest.mark.parametrize(
    "error", [ValueError("x"), OSError(2, "no"), RuntimeError("y"), KeyError("z")]
)
def test_everything_else_keeps_its_traceback(error, capsys, monkeypatch):
    code, text = outcome(capsys, error, monkeypatch)
    assert code == 1
    assert text.startswith("Traceback (most recent call last)")
    assert text.rstrip().splitlines()[-1].startswith("This is an error in polypseg")


def real_errors_without_memory():
    with pytest.raises(MemoryError) as numpy:
        np.empty(2**62, np.uint8)
    yield numpy.value
    yield cv2.error("(-4:Insufficient memory) Failed to allocate 9 bytes in OutOfMemoryError")
    import tensorflow as tf

    yield tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")
    yield RuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 12 bytes")
    wrapped = RuntimeError("while it loaded")
    wrapped.__cause__ = MemoryError()
    yield wrapped


def test_a_lack_of_memory_suggests_smaller_numbers(capsys, monkeypatch):
    for error in real_errors_without_memory():
        assert is_out_of_memory(error), repr(error)
        code, text = outcome(capsys, error, monkeypatch)
        assert (code, text.count("\n")) == (2, 1)
        assert "out of memory; try a smaller --batch-size or --input-size" in text
    assert not is_out_of_memory(ValueError("memory"))
    import tensorflow as tf

    full_disk = tf.errors.ResourceExhaustedError(None, None, "a/b; No space left on device")
    assert not is_out_of_memory(full_disk)


@pytest.mark.parametrize(
    "encoding, expected",
    [
        ("ascii", rb"\u5927\u8178.mp4 \xe9"),
        ("cp1252", rb"\u5927\u8178.mp4 " + b"\xe9"),
        ("utf-8", b"\xe5\xa4\xa7\xe8\x85\xb8.mp4 \xc3\xa9"),
    ],
)
def test_any_terminal_shows_any_name(encoding, expected, monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(raw, encoding))
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding))
    monkeypatch.setattr(sys, "argv", ["infer_video.py"])
    tolerate_encoding()
    warn("大腸.mp4 é")
    assert raw.getvalue() == b"infer_video.py: " + expected + b"\n"


def test_one_line_escapes_what_moves_the_cursor():
    assert one_line("a\r\n\tb\x00\u2028c\x9b") == "a\\r\\n\\tb\\x00\\u2028c\\x9b"
    assert one_line("polyp é 大 - x") == "polyp é 大 - x"


def test_an_input_error_survives_another_process():
    error = pickle.loads(pickle.dumps(InputError("expected x", "data_path")))
    assert (error.message, error.argument) == ("expected x", "data_path")
    assert isinstance(error, ValueError)


def test_helpers(tmp_path):
    with pytest.raises(InputError, match=r"^lr: expected more than 0, got nothing$"):
        expect(False, "lr", "more than 0")
    with pytest.raises(InputError, match="^split_dir: expected a list$"), of_argument("split_dir"):
        raise InputError("expected a list")
    with pytest.raises(InputError, match="^model: x$"), of_argument("split_dir"):
        raise InputError("x", "model")
    path = tmp_path / "a.json"
    with pytest.raises(InputError, match=r"^config: expected JSON, got .*a.json \(No such file"):
        with reading(path, "JSON", "config"):
            path.read_text()
    with pytest.raises(MemoryError), reading(path, "JSON"):
        raise MemoryError
    assert reason(ValueError("a\n  b" + 200 * "c")) == ("a b" + 200 * "c")[:160]
    assert reason(KeyError()) == "KeyError"


@pytest.mark.parametrize(
    "environment", [{"PYTHONIOENCODING": "cp1252"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}]
)
def test_a_japanese_name_on_a_poor_terminal(environment, tmp_path):
    folder = tmp_path / "画像"
    folder.mkdir()
    (folder / "大腸\n.png").write_bytes(b"no image")
    result = subprocess.run(
        [sys.executable, ROOT / "test.py", "--predictions", folder, "--masks", folder],
        capture_output=True,
        env=os.environ | environment,
    )
    assert result.returncode == 2
    assert result.stderr.count(b"\n") == 1 and b"Traceback" not in result.stderr


def test_a_closed_pipe_is_no_error():
    program = (
        "from polypseg.console.run import run; run(lambda: [print(9**999) for _ in range(9999)])"
    )
    command = f"'{sys.executable}' -c '{program}' | head -c 9; exit ${{PIPESTATUS[0]}}"
    result = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (141, "") and len(result.stdout) == 9


def test_a_backend_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "bogus")
    with pytest.raises(InputError, match="^KERAS_BACKEND: expected tensorflow, jax, torch, got bo"):
        runtime.check_backend()
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"got torch without its package \(pip install torch\)"):
        runtime.check_backend()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    runtime.check_backend()


def test_jax_without_a_gpu_is_no_error(monkeypatch):
    import keras

    def list_devices(kind):
        raise RuntimeError("Unknown backend gpu")

    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    monkeypatch.setattr(keras.distribution, "list_devices", list_devices)
    assert runtime.has_gpu() is False


def test_arguments_in_a_message_are_shown_as_they_are_typed(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["a.py"])

    def main():
        raise InputError("expected `split_dir`, `overwrite` or `FILE 1`, got `", "data_path")

    with pytest.raises(SystemExit):
        run(main)
    line = "a.py: error: --data-path: expected --split-dir, --overwrite or `FILE 1`, got `\n"
    assert capsys.readouterr().err == line


@dataclasses.dataclass(frozen=True, kw_only=True)
class Everything:
    """Each kind of option."""

    name: str = option(REQUIRED, "one", "its help, 100 %", "NAME", "--title")
    count: int = option(3, "one", "how many", "N", below=100)
    share: float | None = option(None, "two", "of it", "F")
    flag: bool = option(False, "two", "a switch")
    several_of: list[float] | None = option(None, "one", "many", "F")
    file: str = option(REQUIRED, "two", "a file", "FILE", positional=True)


def test_options_come_from_the_fields_of_a_dataclass(capsys):
    words = ["f", "--title=a", "--several_of", "1", "2.5", "--several-of", "3", "--flag"]
    given = given_options(Everything, "", [*words, "--count", "7", "--share", "0.5"])
    assert Everything(**given) == Everything(
        file="f", name="a", count=7, share=0.5, flag=True, several_of=[1, 2.5, 3]
    )
    assert given_options(Everything, "", ["f", "--name", "a"]) == {"file": "f", "name": "a"}
    with pytest.raises(SystemExit):
        given_options(Everything, "What it does.", ["--help"])
    shown = " ".join(capsys.readouterr().out.split())
    for words in ("What it does.", "its help, 100 %", "how many (default: 3)", "--title NAME"):
        assert words in shown
    assert shown.index("one:") < shown.index("many") < shown.index("two:")


@pytest.mark.parametrize(
    "words, message",
    [
        (["f"], "the following arguments are required: --name"),
        (["f", "--name", ""], "--name: expected a value, got an empty one"),
        (["f", "--name", "a", "--count", "100"], "--count: expected a number below 100, got 100"),
        (["f", "--name", "a", "--count", "x"], "--count: invalid int value: 'x'"),
        (["f", "--name", "a", "--counts", "1"], "unknown argument --counts 1; did you mean"),
    ],
)
def test_mistakes_in_options(words, message):
    with pytest.raises(InputError, match=re.escape(message)):
        given_options(Everything, "", words)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("arguments", [["train.py", "--help"], ["-m", "polypseg"], ["-c", SAYS]])
def test_a_full_disk_behind_stdout_is_told_in_one_line(arguments, tmp_path):
    with open("/dev/full", "w") as full:
        result = subprocess.run(
            [sys.executable, *arguments], stdout=full, stderr=subprocess.PIPE, text=True, cwd=ROOT
        )
    assert result.returncode == 2
    expected = (
        r"\S+: error: expected a standard output with room on the disk, got an error "
        r"\(No space left on device\)\n"
    )
    assert re.fullmatch(expected, result.stderr)


def test_the_work_goes_on_if_its_lines_cannot_be_printed(monkeypatch, capsys):
    class Full(io.StringIO):
        def flush(self):
            raise OSError(errno.ENOSPC, "No space left on device")

    done = []
    monkeypatch.setattr("polypseg.console.run._discard_stdout", lambda: done.append("discarded"))
    monkeypatch.setattr(sys, "stdout", Full())

    def main():
        say("epoch 1")
        done.append("epoch 1")
        say("epoch 2")
        done.append("epoch 2")

    with pytest.raises(SystemExit) as stop:
        run(main)
    assert (stop.value.code, done) == (2, ["epoch 1", "epoch 2", "discarded"])
    assert capsys.readouterr().err.count("\n") == 1


def test_what_is_printed_has_lines_but_no_other_control_characters(capsys):
    say("written: a\x1b]0;title\x07\tb.png\nnote: é 大")
    assert capsys.readouterr().out == "written: a\\x1b]0;title\\x07\\tb.png\nnote: é 大\n"


@pytest.mark.parametrize("end", ["os.abort()", "os._exit(0)", "os.kill(os.getpid(), 9)"])
def test_last_words_are_printed_where_compiled_code_ends_the_process(end, tmp_path):
    program = (
        "import os, sys; sys.argv = ['train.py']; from polypseg.console.run import last_words\n"
        f"with last_words('error: it\\nended'): {end}"
    )
    with open(tmp_path / "log", "w+") as log:
        ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, stderr=log)
        deadline = time.monotonic() + 20  # another process prints it, a little later
        while not (said := (tmp_path / "log").read_text()) and time.monotonic() < deadline:
            time.sleep(0.02)
    assert said == "train.py: error: it\\nended\n"
    assert ended.returncode == {"os.abort()": -6, "os._exit(0)": 0}.get(end, -9)


def test_last_words_are_not_printed_after_an_exception(capfd):
    with last_words("error: ended"):
        pass
    with pytest.raises(KeyError), last_words("error: ended"):
        raise KeyError
    assert capfd.readouterr() == ("", "")

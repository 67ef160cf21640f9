"""`docs/help/` shows what `--help` says; `python tests/test_help.py` writes it anew."""

import contextlib
import importlib
import io
import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from polypseg.__main__ import COMMANDS  # noqa: E402

FOLDER = ROOT / "docs" / "help"


def help_of(name):
    """What `polypseg NAME --help` prints, in 80 columns."""
    words, columns = sys.argv, os.environ.get("COLUMNS")
    sys.argv, os.environ["COLUMNS"] = [f"polypseg {name}"], "80"
    text = io.StringIO()
    try:
        with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
            importlib.import_module(f"polypseg.commands.{name}").parse(["--help"])
    finally:
        sys.argv = words
        os.environ.pop("COLUMNS")
        if columns:
            os.environ["COLUMNS"] = columns
    return text.getvalue()


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_in_docs_is_the_commands_own(name):
    written = (FOLDER / f"{name}.txt").read_text(encoding="utf-8")
    assert written.split() == help_of(name).split(), "run: python tests/test_help.py"
    assert len(written) > 300


def test_each_command_has_its_help_in_docs():
    assert {path.stem for path in FOLDER.iterdir()} == set(COMMANDS)


if __name__ == "__main__":
    for command in COMMANDS:
        (FOLDER / f"{command}.txt").write_text(help_of(command), encoding="utf-8")

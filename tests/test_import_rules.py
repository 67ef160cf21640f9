"""Imports go one way, under one name; and the light modules stay light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LEAVES = {"pranet", "attention_unet", "losses", "metrics", "data"}
SCRIPTS = {"train", "test", "infer_image", "infer_video", "export", "convert"}
ROOMS = ("commands", "training", "scoring", "inference", "experiment", "drawing", "console")
TENSORFLOW = {
    "data/augment.py", "data/pipeline.py", "layers/batch_norm.py", "polypseg/runtime.py",
    "polypseg/inference/export_formats.py", "polypseg/inference/keras_engines.py",
    "polypseg/training/devices.py", "polypseg/training/optimizer.py", "polypseg/training/train.py",
}
SOURCES = sorted(
    path.relative_to(ROOT) for folder in (*LEAVES, "layers", "polypseg", "benchmarks", "tests")
    for path in (ROOT / folder).rglob("*.py")
)


def imported(path):
    """Full names of the modules that a file imports, at its top or inside functions."""
    package = list(path.parent.parts)
    if package[0] in LEAVES | {"layers"}:
        package.insert(0, "polypseg")
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*base, *filter(None, [node.module])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", SOURCES, ids=str)
def test_no_file_imports_a_bare_leaf(path):
    names = {name.split(".")[0] for name in imported(path)}
    assert not names & (LEAVES | SCRIPTS | {"layers", "engine"})


def test_tensorflow_is_imported_only_where_it_is_the_point():
    users = {
        str(path) for path in SOURCES if path.parts[0] not in ("tests", "benchmarks")
        and any(name.split(".")[0] == "tensorflow" for name in imported(path))
    }
    assert users <= TENSORFLOW


@pytest.mark.parametrize("script", sorted(SCRIPTS))
def test_help_imports_nothing_heavy(script):
    program = (
        "import runpy, sys\n"
        f"sys.argv = ['{script}.py', '--help']\n"
        "try:\n    runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "except SystemExit as stop:\n    assert not stop.code\n"
        "heavy = {'numpy', 'cv2', 'keras', 'tensorflow', 'matplotlib', 'PIL', 'av'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "--out" in result.stdout or script == "train"

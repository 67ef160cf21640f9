"""Imports go one way: scripts, engine, leaves, layers; and the light modules stay light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LEAVES = {"pranet", "attention_unet", "losses", "metrics", "data"}
OURS = LEAVES | {"layers", "engine"}
MAY_IMPORT = {"engine": LEAVES, "layers": set(), **{leaf: {"layers"} for leaf in LEAVES}}
TENSORFLOW = {
    "data/augment.py", "data/pipeline.py", "engine/devices.py", "engine/export_formats.py", "engine/keras_engines.py",
    "engine/optimizer.py", "engine/startup.py", "engine/training.py", "layers/batch_norm.py",
}


def imported(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module.split(".")[0]


@pytest.mark.parametrize("package", sorted(OURS))
def test_packages_import_downwards_only(package):
    files = list((ROOT / package).glob("*.py"))
    assert files
    for path in files:
        wrong = set(imported(path)) & OURS - MAY_IMPORT[package]
        assert not wrong, f"{path.relative_to(ROOT)} imports {wrong}"


def test_tensorflow_is_imported_only_where_it_is_the_point():
    users = {
        str(path.relative_to(ROOT))
        for package in OURS for path in (ROOT / package).glob("*.py") if "tensorflow" in imported(path)
    }
    assert users <= TENSORFLOW


@pytest.mark.parametrize("script", ["train.py", "test.py", "infer_image.py", "infer_video.py", "export.py"])
def test_help_imports_nothing_heavy(script):
    program = (
        "import runpy, sys\n"
        f"sys.argv = ['{script}', '--help']\n"
        "try:\n    runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "except SystemExit as stop:\n    assert not stop.code\n"
        "heavy = {'numpy', 'cv2', 'keras', 'tensorflow', 'matplotlib', 'PIL', 'av'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "--model" in result.stdout

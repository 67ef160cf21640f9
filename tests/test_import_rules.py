"""Imports go one way, under one name; and the light modules stay light."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from polypseg.experiment.registry import NETWORKS

ROOT = Path(__file__).resolve().parent.parent
LEAVES = {*NETWORKS, "losses", "metrics", "data"}
SCRIPTS = {
    *("train", "test", "infer_image", "infer_video", "infer_volume", "prepare_data"),
    *("export", "convert"),
}
FLOOR = {"errors", "files", "options", "outputs", "runtime"}
BELOW = LEAVES | {"layers"} | FLOOR
MAY_IMPORT = {
    "__main__": {"commands", "console"} | FLOOR,
    "commands": {"console", "training", "scoring", "inference", "drawing", "experiment"} | BELOW,
    "training": {"scoring", "inference", "drawing", "experiment"} | BELOW,
    "scoring": {"inference", "drawing", "experiment"} | BELOW,
    "inference": {"drawing", "experiment"} | BELOW,
    "drawing": BELOW,
    "experiment": BELOW,
    "console": FLOOR,
    **{leaf: {"layers"} | FLOOR for leaf in LEAVES},
    "layers": FLOOR,
    "outputs": {"errors", "files"},
    "files": {"errors"},
    "runtime": {"errors"},
    "errors": set(),
    "options": set(),
}
TENSORFLOW = {
    "data/augment.py",
    "data/augment_slices.py",
    "data/pipeline.py",
    "layers/batch_norm.py",
    "polypseg/runtime.py",
    "polypseg/inference/formats/savedmodel.py",
    "polypseg/inference/formats/tflite.py",
    "polypseg/training/build.py",
    "polypseg/training/devices.py",
    "polypseg/training/optimizer.py",
    "polypseg/training/train.py",
}
SOURCES = sorted(
    path.relative_to(ROOT)
    for folder in (*LEAVES, "layers", "polypseg", "benchmarks", "tests")
    for path in (ROOT / folder).rglob("*.py")
)


PACKAGE = [path for path in SOURCES if path.parts[0] not in ("tests", "benchmarks")]


def module(path):
    """The full name of a file: `polypseg.data.images`."""
    parts = path.with_suffix("").parts
    parts = parts if parts[0] == "polypseg" else ("polypseg", *parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(path):
    """Full names of what a file imports, at its top or inside functions."""
    package = module(path).split(".")
    package = package if path.name == "__init__.py" else package[:-1]
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*base, *filter(None, [node.module])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


BY_STRING = {"polypseg/__main__.py", "polypseg/experiment/registry.py", "pranet/convert.py"}


def test_imports_by_string_are_few():
    """`importlib.import_module("polypseg...")` and the like escape the rules: they are listed."""
    users = set()
    for path in PACKAGE:
        for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
            called = isinstance(node, ast.Call) and getattr(node.func, "attr", "")
            if called in ("import_module", "run_module", "__import__"):
                text = ast.unparse(node.args[0]).lstrip("f'\"")
                users |= {str(path)} if text.startswith("polypseg") else set()
    users -= {"polypseg/runtime.py"}  # `alias`, of a leaf by itself
    assert users <= BY_STRING


def room(name):
    """`data` of `polypseg.data.images`; None for what is not ours, and for `polypseg` itself."""
    parts = name.split(".")
    return (
        parts[1]
        if parts[0] == "polypseg" and len(parts) > 1 and parts[1] != "__version__"
        else None
    )


@pytest.mark.parametrize("name", sorted(MAY_IMPORT))
def test_imports_go_one_way(name):
    files = [path for path in PACKAGE if room(module(path)) == name]
    assert files
    for path in files:
        wrong = {room(other) for other in imported(path)} - MAY_IMPORT[name] - {name, None}
        assert not wrong, f"{path} imports {sorted(wrong)}"


def test_every_room_has_a_rule():
    assert {room(module(path)) for path in PACKAGE} - {None} == set(MAY_IMPORT)


def test_no_circle():
    modules = {module(path): path for path in PACKAGE}
    needs = {}
    for name, path in modules.items():
        # Of `from polypseg.data import images` the module is polypseg.data.images, of a name in it
        # polypseg.data.
        found = {
            other if other in modules else other.rpartition(".")[0] for other in imported(path)
        }
        needs[name] = (found & modules.keys()) - {name, "polypseg"}
    TopologicalSorter(needs).prepare()  # raises CycleError


@pytest.mark.parametrize("path", SOURCES, ids=str)
def test_no_file_imports_a_bare_leaf(path):
    names = {name.split(".")[0] for name in imported(path)}
    assert not names & (LEAVES | SCRIPTS | {"layers", "engine"})


def test_tensorflow_is_imported_only_where_it_is_the_point():
    users = {
        str(path)
        for path in PACKAGE
        if any(name.split(".")[0] == "tensorflow" for name in imported(path))
    }
    assert users <= TENSORFLOW


def test_what_keras_keeps_to_itself_is_used_in_one_file():
    """Of other objects than `self`, and of Keras's base classes."""
    users = set()
    for path in PACKAGE:
        tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        of_others = [
            node.attr
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute)
            and node.attr.startswith("_")
            and not node.attr.startswith("__")
            and not (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"))
        ]
        if set(of_others) - {"_asdict", "_replace", "_exit"} or "keras.src" in {
            name[:9] for name in imported(path)
        }:
            users.add(str(path))
    assert users <= {"polypseg/training/optimizer.py"}


@pytest.mark.parametrize("script", sorted(SCRIPTS))
def test_help_imports_nothing_heavy(script):
    program = (
        "import runpy, sys\n"
        f"sys.argv = ['{script}.py', '--help']\n"
        "try:\n    runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "except SystemExit as stop:\n    assert not stop.code\n"
        "heavy = {'numpy', 'cv2', 'keras', 'tensorflow', 'matplotlib', 'PIL', 'av'} & "
        "set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    assert "--out" in result.stdout or script == "train"

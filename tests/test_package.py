"""The files that make this a package agree with each other and with the folders."""

import ast
import hashlib
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import polypseg
from polypseg import __main__ as entry

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT, SETUPTOOLS = PYPROJECT["project"], PYPROJECT["tool"]["setuptools"]
EXTRAS = PROJECT["optional-dependencies"]
OTHERS = ("polypseg", "benchmarks", "tests")
LEAVES = sorted({file.parent.name for file in ROOT.glob("*/__init__.py")} - set(OTHERS))
# Of the text that the Apache Software Foundation publishes, the appendix left as it is.
APACHE = "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"


def requirements(name):
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith(("#", "-r "))]


@pytest.mark.parametrize(
    "name, expected",
    [
        ("requirements.txt", PROJECT["dependencies"]),
        ("requirements-export.txt", EXTRAS["export"]),
        ("requirements-ct.txt", EXTRAS["ct"]),
        (
            "requirements-dev.txt",
            [line for line in EXTRAS["dev"] if not line.startswith("polypseg[")],
        ),
    ],
)
def test_requirements_files_say_what_pyproject_says(name, expected):
    assert requirements(name) == expected


def test_development_includes_what_exports_and_volumes_need():
    assert "polypseg[export,ct]" in EXTRAS["dev"]
    included = re.findall(r"^-r (.*)$", (ROOT / "requirements-dev.txt").read_text(), flags=re.M)
    assert included == ["requirements.txt", "requirements-export.txt", "requirements-ct.txt"]


def test_keras_has_an_upper_bound():
    (keras,) = [line for line in PROJECT["dependencies"] if line.startswith("keras")]
    assert re.fullmatch(r"keras>=3\.\d+,<3\.\d+", keras)


def packages(root):
    """Each folder below `root` that holds Python files, as a wheel names it: with or without
    an `__init__.py`, since a forgotten one must not hide a folder.
    """
    found = set()
    for folder, prefix in [("polypseg", ()), *((leaf, ("polypseg",)) for leaf in LEAVES)]:
        files = (root / folder).rglob("*.py")
        found |= {(*prefix, *file.parent.relative_to(root).parts) for file in files}
    return sorted(".".join(parts) for parts in found)


def test_every_folder_of_the_package_is_listed():
    assert sorted(SETUPTOOLS["packages"]) == packages(ROOT)
    assert SETUPTOOLS["package-dir"] == {f"polypseg.{leaf}": leaf for leaf in LEAVES}


def test_a_new_folder_is_found(tmp_path):
    for file in ("polypseg/__init__.py", "polypseg/a/b/new.py", "data/__init__.py", "data/c/d.py"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    assert packages(tmp_path) == ["polypseg", "polypseg.a.b", "polypseg.data", "polypseg.data.c"]


def test_every_file_beside_the_code_is_listed():
    found = {
        path.relative_to(ROOT)
        for folder in ("polypseg", *LEAVES)
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and path.suffix != ".py" and "__pycache__" not in path.parts
    }
    listed = {
        Path(*package.split("."), name)
        for package, names in SETUPTOOLS["package-data"].items()
        for name in names
    }
    assert found == listed


def test_versions_agree():
    citation = re.search(r"^version: (.*)$", (ROOT / "CITATION.cff").read_text(), flags=re.M)[1]
    newest = re.search(r"^## \[([\d.]+)\]", (ROOT / "CHANGELOG.md").read_text(), flags=re.M)[1]
    assert polypseg.__version__ == citation == newest
    assert PROJECT["dynamic"] == ["version"]
    assert SETUPTOOLS["dynamic"]["version"] == {"attr": "polypseg.__version__"}


def test_version_is_a_literal():
    """So setuptools reads it without importing the package."""
    tree = ast.parse((ROOT / "polypseg" / "__init__.py").read_text(encoding="utf-8"))
    (value,) = [
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__version__"
    ]
    assert ast.literal_eval(value) == polypseg.__version__


def test_licence():
    assert hashlib.sha256((ROOT / "LICENSE").read_bytes()).hexdigest() == APACHE
    assert "Copyright 2026 the polypseg authors" in (ROOT / "NOTICE").read_text(encoding="utf-8")
    assert PROJECT["license"] == "Apache-2.0"
    assert PROJECT["license-files"] == ["LICENSE", "NOTICE"]
    assert "\nlicense: Apache-2.0\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")


def test_entry_point():
    assert PROJECT["scripts"] == {"polypseg": "polypseg.__main__:main"}
    assert callable(entry.main)
    for name in entry.COMMANDS:
        assert (ROOT / "polypseg" / "commands" / f"{name}.py").is_file()


def test_what_the_package_exports_is_there_and_costs_nothing_before():
    program = (
        "import sys, polypseg\n"
        "heavy = {'numpy', 'keras', 'tensorflow'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "assert all(callable(getattr(polypseg, name)) for name in polypseg.__all__)\n"
        "assert set(polypseg.__all__) == {'PraNet', 'AttentionUNet', 'Predictor', 'TrainConfig', "
        "'train', 'evaluate'}\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr

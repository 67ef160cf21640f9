"""The files that make this a package agree with each other and with the folders."""

import re
import tomllib
from pathlib import Path

import pytest

import polypseg

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT, SETUPTOOLS = PYPROJECT["project"], PYPROJECT["tool"]["setuptools"]
EXTRAS = PROJECT["optional-dependencies"]


def requirements(name):
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith(("#", "-r "))]


@pytest.mark.parametrize(
    "name, expected",
    [
        ("requirements.txt", PROJECT["dependencies"]),
        ("requirements-export.txt", EXTRAS["export"]),
        (
            "requirements-dev.txt",
            [line for line in EXTRAS["dev"] if not line.startswith("polypseg[")],
        ),
    ],
)
def test_requirements_files_say_what_pyproject_says(name, expected):
    assert requirements(name) == expected


def test_every_folder_of_the_package_is_listed():
    folders = {path.parent.relative_to(ROOT) for path in ROOT.glob("polypseg/**/__init__.py")}
    expected = {".".join(folder.parts) for folder in folders}
    leaves = {"attention_unet", "data", "layers", "losses", "metrics", "pranet"}
    for leaf in leaves:
        folders = {path.parent.relative_to(ROOT) for path in ROOT.glob(f"{leaf}/**/__init__.py")}
        expected |= {".".join(("polypseg", *folder.parts)) for folder in folders}
    assert sorted(SETUPTOOLS["packages"]) == sorted(expected)
    assert SETUPTOOLS["package-dir"] == {f"polypseg.{leaf}": leaf for leaf in leaves}


def test_every_file_beside_the_code_is_listed():
    found = {
        path.relative_to(ROOT)
        for folder in ("polypseg", *SETUPTOOLS["package-dir"].values())
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
    newest = re.search(r"^## ([\d.]+)", (ROOT / "CHANGELOG.md").read_text(), flags=re.M)[1]
    assert polypseg.__version__ == citation == newest
    assert "version" in PROJECT["dynamic"]


def test_licence():
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in text and "the polypseg authors" in text
    assert PROJECT["license"] == "Apache-2.0"


def test_what_the_package_exports_is_there_and_costs_nothing_before():
    import subprocess
    import sys

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

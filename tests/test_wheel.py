"""The wheel and the editable installation, used beside modules of somebody else of the same
names.
"""

import os
import shutil
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"][
    "setuptools"
]
# Where what polypseg requires is installed.
FOLDERS = [Path(path).resolve() for path in sys.path]
REQUIRED = [path for path in FOLDERS if path.name in ("site-packages", "dist-packages")]
pytestmark = pytest.mark.slow


def execute(*command, cwd):
    left_out = ("PYTHONPATH", "PYTHONSAFEPATH", "PYTHONHOME")
    environment = {name: value for name, value in os.environ.items() if name not in left_out}
    result = subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        capture_output=True,
        text=True,
        env=environment | {"CUDA_VISIBLE_DEVICES": ""},
    )
    assert result.returncode == 0, f"{command}: {result.stdout[-1000:]} {result.stderr[-3000:]}"
    return result.stdout


def copy_sources(target):
    """What a build needs and no more: what an earlier build left behind would go into the wheel."""
    target.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, target)
    for name in ("polypseg", *SETUPTOOLS["package-dir"].values()):
        shutil.copytree(ROOT / name, target / name, ignore=shutil.ignore_patterns("__pycache__"))
    return target


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("build")
    build = (sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir")
    execute(*build, folder / "dist", copy_sources(folder / "source"), cwd=folder)
    (wheel,) = (folder / "dist").glob("polypseg-*-py3-none-any.whl")
    return wheel


@pytest.fixture(params=["wheel", "editable"])
def installed(request, tmp_path):
    """The kind of installation, its `bin` folder, and the folder that our files have to be in.

    The environment is new and has our package only; what that requires is found where the tests
    found it.
    """
    venv.create(tmp_path / "env", with_pip=True, symlinks=True)
    binaries = tmp_path / "env" / "bin"
    python = binaries / "python"
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = Path(execute(python, "-c", where, cwd=tmp_path).strip())
    # Python 3.11 puts a setuptools there that is too old.
    execute(python, "-m", "pip", "uninstall", "--yes", "setuptools", cwd=tmp_path)
    (site / "required.pth").write_text("\n".join(map(str, REQUIRED)))
    pip = (python, "-m", "pip", "install", "--no-deps", "--ignore-installed")
    if request.param == "wheel":
        execute(*pip, request.getfixturevalue("wheel"), cwd=tmp_path)
        return "wheel", binaries, site
    source = copy_sources(tmp_path / "source")
    execute(*pip, "--no-build-isolation", "--editable", source, cwd=tmp_path)
    return "editable", binaries, source


@pytest.fixture
def hostile(tmp_path):
    """A user's folder: modules of these names, which are not ours."""
    for name in ("data/__init__.py", "layers/__init__.py", "losses/__init__.py", "metrics.py"):
        file = tmp_path / "user" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("raise ImportError('of somebody else')\n")
    return tmp_path / "user"


def test_the_wheel_holds_the_package_and_nothing_else(wheel):
    expected = {"LICENSE", "NOTICE"}
    for package in SETUPTOOLS["packages"]:
        parts = package.split(".")
        leaf = SETUPTOOLS["package-dir"].get(".".join(parts[:2]))
        folder = ROOT.joinpath(leaf, *parts[2:]) if leaf else ROOT.joinpath(*parts)
        names = [file.name for file in folder.glob("*.py")]
        names += SETUPTOOLS["package-data"].get(package, [])
        expected |= {"/".join([*parts, name]) for name in names}
    described = {"METADATA", "RECORD", "WHEEL", "entry_points.txt", "top_level.txt"}
    found = set()
    for name in zipfile.ZipFile(wheel).namelist():
        top, _, rest = name.partition("/")
        if top.endswith(".dist-info"):
            if rest not in described:
                found.add(rest.removeprefix("licenses/"))
        else:
            found.add(name)
    assert found == expected


def test_import_train_score_infer_export(installed, hostile):
    kind, binaries, ours = installed
    program = (
        "from polypseg import PraNet, AttentionUNet, Predictor, TrainConfig, train, evaluate\n"
        "import sys\n"
        "print(*sys.path, sep='\\n', end='\\n--\\n')\n"
        "for name, module in list(sys.modules.items()):\n"
        "    if name.partition('.')[0] == 'polypseg':\n"
        "        print(module.__file__)\n"
    )
    search, files = execute(binaries / "python", "-c", program, cwd=hostile).split("--\n")
    files = files.splitlines()
    assert len(files) > 20
    assert all(Path(file).is_relative_to(ours) for file in files), files
    if kind == "wheel":
        search = [Path(path).resolve() for path in search.splitlines() if path]
        assert not [path for path in search if path.is_relative_to(ROOT) and path not in REQUIRED]

    usage = execute(binaries / "polypseg", "--help", cwd=hostile)
    assert "train" in usage and "convert" in usage

    def run(line):
        program, *arguments = line.split()
        execute(binaries / program, *arguments, cwd=hostile)

    run("python -m polypseg.data.synthetic --out d --count 12 --size 40")
    run(
        "polypseg train --data-path d --model attention_unet --input-size 32 --epochs 1 "
        "--batch-size 4"
    )
    run("polypseg test --model runs/attention_unet --out scores")
    assert (hostile / "scores" / "report.html").is_file()
    run("polypseg export --model runs/attention_unet --format onnx --out other.onnx")
    assert (hostile / "runs" / "attention_unet" / "best.onnx").is_file()
    for model in ("runs/attention_unet", "other.onnx"):
        out = f"masks-of-{Path(model).name}"
        run(f"polypseg image --model {model} --image d/images --out {out}")
        assert len(list((hostile / out / "masks").glob("*.png"))) == 12

"""The wheel and the editable installation, used beside modules of somebody else of the same
names.
"""

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.slow


def execute(*command, cwd, **environment):
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in ("PYTHONPATH", "PYTHONSAFEPATH")
    }
    result = subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        capture_output=True,
        text=True,
        env=kept | {"CUDA_VISIBLE_DEVICES": ""} | environment,
    )
    assert result.returncode == 0, f"{command}: {result.stdout[-1000:]} {result.stderr[-3000:]}"
    return result.stdout


@pytest.fixture(scope="module", params=["wheel", "editable"])
def installed(request, tmp_path_factory):
    """Its `bin` folder: a new environment with our package; what it requires is the test
    environment's.
    """
    folder = tmp_path_factory.mktemp(request.param)
    venv.create(folder / "env", with_pip=True, symlinks=True)
    binaries = folder / "env" / "bin"
    site = execute(
        binaries / "python",
        "-c",
        "import sysconfig; print(sysconfig.get_path('purelib'))",
        cwd=folder,
    )
    (Path(site.strip()) / "required.pth").write_text(sysconfig.get_path("purelib") + "\n")
    execute(
        binaries / "pip", "uninstall", "--yes", "--quiet", "setuptools", cwd=folder
    )  # Python 3.11's is too old
    pip = (
        binaries / "python",
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
    )
    if request.param == "editable":
        execute(*pip, "--editable", ROOT, cwd=folder)
        return "editable", binaries
    execute(
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "--outdir",
        folder / "dist",
        ROOT,
        cwd=folder,
    )
    (wheel,) = (folder / "dist").glob("polypseg-*.whl")
    execute(*pip, wheel, cwd=folder)
    return "wheel", binaries


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """A user's folder: modules of these names, which are not ours."""
    folder = tmp_path_factory.mktemp("user")
    for name in ("data", "layers", "losses"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text("raise ImportError('of somebody else')\n")
    (folder / "metrics.py").write_text("raise ImportError('of somebody else')\n")
    return folder


def test_import_train_score_infer_export(installed, hostile, tmp_path):
    kind, binaries = installed
    python, command = binaries / "python", binaries / "polypseg"
    where = execute(
        python,
        "-c",
        "from polypseg import PraNet, AttentionUNet, Predictor, TrainConfig, train, evaluate\n"
        "import polypseg, polypseg.data.images, polypseg.metrics, sys\n"
        f"assert not [path for path in sys.path if path.startswith({str(ROOT)!r}) and "
        "'site-packages' not in path]\n"
        "print(polypseg.__file__, polypseg.data.images.__file__, polypseg.metrics.__file__, "
        "sep='\\n')",
        cwd=hostile,
    ).splitlines()
    if kind == "wheel":
        assert all(Path(path).is_relative_to(binaries.parent) for path in where)
    else:
        assert where == [
            str(ROOT / name)
            for name in ("polypseg/__init__.py", "data/images.py", "metrics/__init__.py")
        ]

    assert "train" in execute(command, "--help", cwd=hostile)
    out = tmp_path / "work"
    execute(
        python,
        "-m",
        "polypseg.data.synthetic",
        "--out",
        out / "drawn",
        "--count",
        20,
        "--size",
        40,
        cwd=hostile,
    )
    execute(
        command,
        "train",
        "--data-path",
        out / "drawn",
        "--model",
        "attention_unet",
        "--input-size",
        32,
        "--epochs",
        1,
        "--batch-size",
        4,
        "--trained-model-path",
        out / "runs",
        cwd=hostile,
    )
    run = out / "runs" / "attention_unet"
    execute(command, "test", "--model", run, "--out", out / "scores", cwd=hostile)
    assert (out / "scores" / "report.html").is_file()
    execute(command, "export", "--model", run, "--format", "onnx", cwd=hostile)
    for model in (run, run / "best.onnx"):
        execute(
            command,
            "image",
            "--model",
            model,
            "--image",
            out / "drawn" / "images",
            "--out",
            out / model.name,
            cwd=hostile,
        )
        assert len(list((out / model.name / "masks").glob("*.png"))) == 20

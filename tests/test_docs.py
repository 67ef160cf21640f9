"""The pages of docs/ that show code: it runs as it stands there."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("polypseg", "pranet", "attention_unet", "layers", "losses", "metrics", "data")


def blocks(page, language):
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.M | re.S)


def run(command, folder, **environment):
    result = subprocess.run(
        command,
        cwd=folder,
        capture_output=True,
        text=True,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": ""} | environment,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    return result.stdout


def test_python_page_beside_modules_of_the_same_names(tmp_path):
    for name in ("data", "layers", "losses"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise ImportError('of somebody else')")
    (tmp_path / "metrics.py").write_text("raise ImportError('of somebody else')")
    pytest.importorskip("nibabel")
    code = blocks("python.md", "python")
    assert len(code) >= 7
    (tmp_path / "page.py").write_text("\n".join(code))
    output = run([sys.executable, "page.py"], tmp_path, PYTHONPATH=str(ROOT))
    assert re.search(
        r"^runs/attention_unet: validation Dice 0\.\d{3} in epoch [12]$", output, flags=re.M
    )
    assert re.search(r"^mean Dice 0\.\d{3} on 24 images$", output, flags=re.M)


def test_the_recipe_that_joins_masks(tmp_path):
    random = np.random.default_rng(0)
    files = {}
    for name in ("1_mask", "1_mask_1", "1_mask_2", "11_mask"):
        files[name] = random.integers(0, 2, (9, 7), np.uint8) * 255
    for folder, names in (("images", ("1", "11")), ("masks", files)):
        (tmp_path / "my-data" / folder).mkdir(parents=True)
        for name in names:
            Image.fromarray(files.get(name, np.zeros((9, 7), np.uint8))).save(
                tmp_path / "my-data" / folder / f"{name}.png"
            )
    (code,) = blocks("commands/train.md", "python")
    run([sys.executable, "-c", code], tmp_path)
    joined = {p.stem: np.array(Image.open(p)) for p in (tmp_path / "my-data/joined").iterdir()}
    np.testing.assert_array_equal(joined["11"], files["11_mask"])
    union = files["1_mask"] | files["1_mask_1"] | files["1_mask_2"]
    np.testing.assert_array_equal(joined["1"], union)


def test_a_new_network_is_a_folder_and_one_line(tmp_path):
    for name in FOLDERS:
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for script in ROOT.glob("*.py"):
        shutil.copy(script, tmp_path)
    before = {
        path: path.read_text(errors="ignore") for path in tmp_path.rglob("*") if path.is_file()
    }

    page = (ROOT / "docs" / "add_a_model.md").read_text(encoding="utf-8")
    for name, code in re.findall(
        r"`(tinynet/\w+\.py)`.*?^```python\n(.*?)^```$", page, flags=re.M | re.S
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(code)
    (change,) = blocks("add_a_model.md", "diff")
    context, added = change.splitlines()
    registry = tmp_path / "polypseg" / "experiment" / "registry.py"
    text = registry.read_text()
    assert context[0] == " " and added[0] == "+" and text.count(context[1:]) == 1
    registry.write_text(text.replace(context[1:], f"{context[1:]}\n{added[1:]}"))

    after = {
        path: path.read_text(errors="ignore") for path in tmp_path.rglob("*") if path.is_file()
    }
    assert {path.relative_to(tmp_path).parts[0] for path in after.keys() - before.keys()} == {
        "tinynet"
    }
    assert [path for path in before if after[path] != before[path]] == [registry]

    (commands,) = blocks("add_a_model.md", "bash")
    for line in commands.splitlines():
        assert line.startswith("python ")
        run([sys.executable, *line.split()[1:]], tmp_path)
    assert (tmp_path / "scores" / "report.html").is_file()
    assert len(list((tmp_path / "masks" / "masks").glob("*.png"))) == 24

"""`polypseg` is the one import name; its lazy names and the bare leaves cause no surprises."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def execute(program):
    result = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    assert result.returncode == 0, result.stderr[-2000:]
    return result.stdout.split()


def test_a_script_of_the_checkout_is_no_module_of_the_package():
    assert execute(
        "import importlib.util, polypseg\n"
        "for name in ('train', 'test', 'export', 'polypseg'):\n"
        "    assert importlib.util.find_spec('polypseg.' + name) is None, name\n"
        "from polypseg import train\n"
        "print(train.__module__, train.__name__)\n"
    ) == ["polypseg.training.train", "train"]


def test_the_cause_of_a_failed_import_is_told():
    program = (
        "import sys\n"
        "class Broken:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'polypseg.inference.formats':\n"
        "            raise AttributeError('numpy has no attribute x')\n"
        "sys.meta_path.insert(0, Broken())\n"
        "try:\n    from polypseg import Predictor\n"
        "except ImportError as error:\n    assert 'numpy has no attribute x' in str(error), error\n"
        "else:\n    raise SystemExit('imported')\n"
    )
    execute(program)


def test_completion_offers_the_names():
    assert {"PraNet", "train"} <= set(execute("import polypseg; print(*dir(polypseg))"))


@pytest.mark.parametrize(
    "module, name",
    [
        ("pranet.model", "PraNet"),
        ("attention_unet.model", "AttentionUNet"),
        ("layers.blocks", "ConvBN"),
    ],
)
def test_a_bare_leaf_is_the_very_same(module, name):
    """A second class would replace the first one where Keras loads a file."""
    assert execute(
        f"from {module} import {name} as bare\n"
        f"from polypseg.{module} import {name} as ours\n"
        "import keras\n"
        f"registered = keras.saving.get_registered_object('polypseg>{name}')\n"
        "print(bare is ours, registered is ours)\n"
    ) == ["True", "True"]

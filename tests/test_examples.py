"""The examples in the docstrings of networks, layers, losses and metrics."""

import doctest
import importlib
from pathlib import Path

import keras
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
MODULES = sorted(
    f"polypseg.{leaf}.{path.stem}"
    for leaf in ("attention_unet", "layers", "losses", "metrics", "pranet")
    for path in (ROOT / leaf).glob("*.py")
    if ">>> " in path.read_text(encoding="utf-8")
)


@pytest.mark.parametrize("module", MODULES)
def test_examples(module):
    result = doctest.testmod(importlib.import_module(module), extraglobs={"keras": keras, "np": np})
    assert result.attempted and not result.failed

"""Puts the repository root on sys.path, so that tests import the packages as users do."""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as the commands do

# JAX on a processor compiles for longer than these tests compute.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")

LONG = ("test_networks", "test_resume", "test_train", "test_devices", "test_seeds", "test_readme")
LONG += ("test_convert", "test_export", "test_folds", "test_recipe")


def pytest_collection_modifyitems(items):
    """The long files first: two processes take a file each, and the short ones fill up the end."""
    items.sort(key=lambda item: LONG.index(item.path.stem) if item.path.stem in LONG else len(LONG))

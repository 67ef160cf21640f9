"""Puts the repository root on sys.path, so that tests import the packages as users do."""

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as the commands do

# JAX on a processor compiles for longer than these tests compute.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")

LONG = ("test_networks", "test_resume", "test_train", "test_devices", "test_seeds", "test_readme")
LONG += ("test_convert", "test_export", "test_folds", "test_recipe")


def pytest_collection_modifyitems(items):
    """The long files first: two processes take a file each, and the short ones fill up the end."""
    items.sort(key=lambda item: LONG.index(item.path.stem) if item.path.stem in LONG else len(LONG))


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """Data folder of 20 drawn images, 40 by 44 pixels. Tests of several files train on it."""
    from polypseg.data.synthetic import write_dataset

    folder = tmp_path_factory.mktemp("data")
    write_dataset(folder, 20, size=(40, 44), seed=1)
    return folder

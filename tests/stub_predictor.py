"""Run a script with a predictor that costs nothing: the probability is the red channel / 255.

`python stub_predictor.py SCRIPT [ARGUMENTS]`; the environment's STUB_SECONDS is added to each call.
"""

import os
import runpy
import sys
import time
from pathlib import Path
from unittest import mock

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from in_process import run_script

from polypseg.inference.predictor import Predictor

ROOT = Path(__file__).resolve().parent.parent


class Stub:
    input_size, threshold, maps, engine = 32, 0.5, ("global map", "answer"), "stub"
    window = preparation = None

    @property
    def origin(self):
        return {}

    @property
    def digest(self):
        return os.environ.get("STUB_DIGEST", "stub")

    def __call__(self, images):
        time.sleep(float(os.environ.get("STUB_SECONDS", 0)))
        return [image[..., 0].astype(np.float32) / np.float32(255) for image in images]

    def all_maps(self, images):
        """The global map is the blue channel / 255."""
        return [image[..., [2, 0]].astype(np.float32) / np.float32(255) for image in images]


def run_with_stub(script, *arguments, **options):
    """The script in this process, with `Stub` in place of a network."""
    load = staticmethod(lambda path, input_size=None, engine="auto": Stub())
    with mock.patch.object(Predictor, "load", load):
        return run_script(ROOT / script, "--model", "stub", *arguments, **options)


if __name__ == "__main__":
    Predictor.load = staticmethod(lambda path, input_size=None, engine="auto": Stub())
    sys.argv = sys.argv[1:]
    runpy.run_path(sys.argv[0], run_name="__main__")

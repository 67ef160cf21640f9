"""TensorFlow Lite, run by LiteRT."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from polypseg.runtime import cores

from .base import KEY, ExportedEngine, Format, load_package, logits_of, readable, signature


def write_network(serving: Any, path: Path, precision: str, description: str) -> None:
    import tensorflow as tf

    options = {}
    if precision == "float16":
        options = {
            "optimizations": [tf.lite.Optimize.DEFAULT],
            "target_spec": {"supported_types": [tf.float16]},
        }
    serving.export(
        str(path), format="litert", verbose=False, input_signature=signature(serving), **options
    )
    with zipfile.ZipFile(path, "a") as attached:  # TFLite's format for files attached to a model
        attached.writestr(f"{KEY}.json", description)


class LiteRTEngine(ExportedEngine):
    name = "LiteRT"
    kind = "tflite"

    def __init__(self, path: Path):
        litert = load_package("ai_edge_litert.interpreter", "ai-edge-litert", path)
        with readable(path):
            with zipfile.ZipFile(path) as attached:
                self.describe(attached.read(f"{KEY}.json"), path)
            self._interpreter = litert.Interpreter(str(path), num_threads=cores())
            self._interpreter.allocate_tensors()
            (takes,), (gives, *_) = (
                self._interpreter.get_input_details(),
                self._interpreter.get_output_details(),
            )
            self.check_shapes(takes["shape"].tolist(), gives["shape"].tolist())
        self._input, self._output = takes["index"], gives["index"]

    def logits(self, batch: np.ndarray) -> np.ndarray:
        out = []
        for image in batch:
            self._interpreter.set_tensor(self._input, image[None])
            self._interpreter.invoke()
            out.append(self._interpreter.get_tensor(self._output))
        return logits_of(np.concatenate(out))


FORMAT = Format(
    suffix=".tflite",
    write=write_network,
    open=LiteRTEngine,
    packages={"ai_edge_litert": "ai-edge-litert"},
    runs_with=("ai_edge_litert",),
    one_image=True,
)

"""TensorFlow's SavedModel, a folder."""

from pathlib import Path
from typing import Any

import numpy as np

from polypseg.runtime import expect_process, load_tensorflow

from .base import KEY, ExportedEngine, Format, logits_of, readable

SIDECAR = Path("assets.extra") / f"{KEY}.json"  # TensorFlow reserves this folder for users


def write_network(serving: Any, path: Path, precision: str, description: str) -> None:
    serving.export(path, format="tf_saved_model", verbose=False)
    (path / SIDECAR).parent.mkdir(exist_ok=True)
    (path / SIDECAR).write_text(description, encoding="utf-8")


class SavedModelEngine(ExportedEngine):
    name = "TensorFlow SavedModel"
    kind = "savedmodel"

    def __init__(self, path: Path):
        expect_process("Keras or TensorFlow")
        load_tensorflow()
        import tensorflow as tf

        sidecar = path / SIDECAR
        self.describe(sidecar.read_bytes() if sidecar.is_file() else None, path)
        with readable(path):
            self._loaded = tf.saved_model.load(path)  # keep it, because it owns the weights
            signature = self._loaded.signatures["serving_default"]
            takes, gives = signature.structured_input_signature[1], signature.structured_outputs
            self.check_shapes(takes["image"].shape, gives["probability"].shape)

    def logits(self, batch: np.ndarray) -> np.ndarray:
        expect_process("Keras or TensorFlow")
        return logits_of(self._loaded.serve(batch)["probability"].numpy())


FORMAT = Format(
    suffix="", write=write_network, open=SavedModelEngine, marker="saved_model.pb", float16=False
)

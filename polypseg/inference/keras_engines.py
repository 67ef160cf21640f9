"""Engines that need Keras: a `.keras` file under any backend, a SavedModel under TensorFlow."""

import os

import numpy as np

from polypseg.errors import InputError
from .engines import SIDECAR, ExportedEngine, logits_of, readable
from polypseg.runtime import load_tensorflow


class KerasEngine:
    """A Keras model that returns logits, the last channel being the answer."""

    threshold = 0.5

    def __init__(self, path):
        if not path.is_file():
            raise InputError(f"--model: expected a run folder or a .keras file, got {path}, which does not exist")
        self.model = load_model(path)
        self.input_size = getattr(self.model, "input_size", None)
        if not self.input_size:
            raise InputError(f"--model: expected a network that was saved with an input size, got {path}, which has none")
        self.maps = self.model.maps
        self.name = "Keras"

    def logits(self, batch):
        return np.asarray(self.model.predict_on_batch(batch), np.float32)


class SavedModelEngine(ExportedEngine):
    name = "TensorFlow SavedModel"

    def __init__(self, path):
        load_tensorflow()
        import tensorflow as tf

        sidecar = path / SIDECAR
        self.describe(sidecar.read_text(encoding="utf-8") if sidecar.is_file() else None, path)
        with readable(path):
            self._loaded = tf.saved_model.load(path)  # kept: it owns the weights

    def logits(self, batch):
        return logits_of(self._loaded.serve(batch)["probability"].numpy())


def load_model(path):
    """The Keras model of a `.keras` file, without its optimiser. Raises `InputError`."""
    if os.environ.get("KERAS_BACKEND", "tensorflow") == "tensorflow":
        load_tensorflow()
    import keras

    import polypseg.attention_unet.model  # noqa: F401  registers its classes
    import polypseg.pranet.model  # noqa: F401

    try:
        model = keras.saving.load_model(path, compile=False)
    except Exception as error:
        reason = str(error).strip().splitlines()[0][:160]
        raise InputError(f"--model: expected a .keras file of this toolkit, got {path} ({reason})") from error
    if keras.backend.backend() == "tensorflow" and not _has_gpu():
        model.jit_compile = False  # XLA compiles for long, and its convolutions are slow on a processor
    return model


def _has_gpu():
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU"))

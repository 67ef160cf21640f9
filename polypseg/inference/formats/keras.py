"""The `.keras` file that training writes, run by any of Keras's backends."""

import os
from pathlib import Path
from typing import Any

import numpy as np

from polypseg.errors import InputError, expect, reading
from polypseg.experiment.registry import load_networks
from polypseg.runtime import check_backend, expect_process, has_gpu, load_tensorflow


class KerasEngine:
    """Runs a Keras model that returns logits. Their last channel is the final prediction.

    Attributes:
        temperature: of the network, by which its logits are divided.
    """

    threshold = 0.5
    name = "Keras"
    kind = "keras"

    def __init__(self, path: Path):
        if not path.is_file():
            raise InputError(
                f"expected a run folder or a .keras file, got {path}, which does not exist", "model"
            )
        expect_process("Keras or TensorFlow")
        self.model = load_model(path)
        self.input_size: int = getattr(self.model, "input_size", None) or 0
        if not self.input_size:
            raise InputError(
                f"expected a network that was saved with an input size, got {path}, which has none",
                "model",
            )
        self.maps: tuple[str, ...] = self.model.maps
        self.temperature = temperature_of(self.model)

    def resize(self, input_size: int) -> None:
        """Run at another size, a multiple of the network's stride. Raises `InputError`."""
        stride = getattr(self.model, "stride", 1)
        possible = input_size >= stride and input_size % stride == 0
        expect(possible, "input_size", f"a multiple of {stride} for this network", input_size)
        self.input_size = input_size

    def logits(self, batch: np.ndarray) -> np.ndarray:
        expect_process("Keras or TensorFlow")
        logits = np.asarray(self.model.predict_on_batch(batch), np.float32)
        return logits if self.temperature == 1 else logits / np.float32(self.temperature)


def temperature_of(model: Any) -> float:
    """The temperature of a Keras model; 1.0 for a network that has none. Raises `InputError`."""
    value = getattr(model, "temperature", 1.0)
    good = isinstance(value, float) and 0 < value < float("inf")
    expect(good, "model", "a network with a temperature above 0", value)
    return value


def tempered(model: Any, logits: Any) -> Any:
    """The logits, outputs of a Keras model, divided by its temperature."""
    import keras

    temperature = temperature_of(model)
    if temperature == 1:
        return logits
    return keras.layers.Rescaling(1 / temperature, dtype="float32", name="tempered")(logits)


def load_model(path: Path) -> Any:
    """The Keras model of a `.keras` file, without its optimiser. Raises `InputError`."""
    check_backend()
    if os.environ.get("KERAS_BACKEND", "tensorflow") == "tensorflow":
        load_tensorflow()
    import keras

    load_networks()
    with reading(path, "a .keras file of this toolkit", "model"):
        model = keras.saving.load_model(path, compile=False)
    if keras.backend.backend() == "tensorflow" and not has_gpu():
        # XLA takes long to compile, and its convolutions are slow on a CPU.
        model.jit_compile = False
    return model

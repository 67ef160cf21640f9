"""The one arrow from pixels to probability."""

from pathlib import Path

import cv2
import numpy as np

from data.images import resize_image

from .arguments import UserError
from .run import find_run


class Predictor:
    """A trained network that takes pictures of any size.

    Args:
        model: a Keras model that returns logits, the last channel being the answer.
        input_size: height and width at which it runs; default `model.input_size`.
        threshold: on probabilities, kept for those who cut maps.

    Attributes:
        maps: names of the network's channels, the answer last.
        engine: what runs it, for the user.
    """

    engine = "Keras"

    def __init__(self, model, input_size=None, threshold=0.5):
        self.model = model
        self.input_size = input_size or model.input_size
        self.threshold = threshold
        self.maps = model.maps
        if not self.input_size:
            raise ValueError("expected an input size, since the model file has none, got input_size=None")

    @classmethod
    def load(cls, path, input_size=None):
        """From a run folder or a `.keras` file. Raises `UserError`."""
        path = Path(path)
        if path.suffix != ".keras":
            path = find_run(path) / "best.keras"
        if not path.is_file():
            raise UserError(f"--model: expected a run folder or a .keras file, got {path}, which does not exist")
        return cls(load_model(path), input_size)

    def __call__(self, images):
        """Probabilities for a list of `(H, W, 3)` uint8 RGB pictures.

        All go through the network as one batch. The logits, not the probabilities,
        are resized to each picture's size.

        Returns:
            A list of `(H, W)` float32 arrays in [0, 1].
        """
        return self._predict(images, slice(-1, None))

    def all_maps(self, images):
        """As a call, but `(H, W, S)`: all maps, in the order of `maps`. ValueError if there is only one."""
        if len(self.maps) == 1:
            raise ValueError("expected a network with side maps, got the answer only")
        return self._predict(images, slice(None))

    def _predict(self, images, channels):
        size = (self.input_size, self.input_size)
        batch = np.stack([resize_image(image, size) for image in images]).astype(np.float32)
        logits = np.asarray(self.model.predict_on_batch(batch))[..., channels].astype(np.float32)
        return [
            _sigmoid(cv2.resize(answer, image.shape[1::-1], interpolation=cv2.INTER_LINEAR))
            for answer, image in zip(logits, images)
        ]


def _sigmoid(logits):
    return 1.0 / (1.0 + np.exp(-np.clip(logits, -80.0, 80.0)))


def load_model(path):
    """The Keras model of a `.keras` file, without its optimiser. Raises `UserError`."""
    import keras

    import attention_unet  # noqa: F401  registers its classes
    import pranet  # noqa: F401

    try:
        return keras.saving.load_model(path, compile=False)
    except Exception as error:
        reason = str(error).strip().splitlines()[0][:160]
        raise UserError(f"--model: expected a .keras file of this toolkit, got {path} ({reason})") from error

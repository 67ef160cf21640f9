"""A network that is built and saved at once, in place of `train.py`'s: `tiny.py ARGUMENTS OF train.py`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import keras

from layers import BatchNorm


@keras.saving.register_keras_serializable(package="polypseg_tests")
class Tiny(keras.Model):
    """Two convolutions with what has state: batch norm and dropout."""

    maps = ("answer",)

    def __init__(self, input_size=32, **kwargs):
        image = keras.Input((None, None, 3))
        x = keras.layers.Rescaling(1 / 255)(image)
        x = keras.layers.Conv2D(6, 5, padding="same", activation="relu")(x)
        x = BatchNorm()(x)
        x = keras.layers.Dropout(0.2)(x)
        x = keras.layers.Conv2D(1, 5, padding="same")(x)
        super().__init__(image, keras.layers.Activation("linear", dtype="float32")(x), **kwargs)
        self.input_size = input_size

    def get_config(self):
        return {"name": self.name, "input_size": self.input_size}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        return cls(**config)


def build(config):
    return Tiny(config.input_size)


if __name__ == "__main__":
    import engine.training
    import train
    from engine.arguments import run

    engine.training.build_network = build
    run(train.main)

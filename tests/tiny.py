"""A network that is built and saved at once, in place of `train.py`'s: `tiny.py ARGUMENTS OF
train.py`.
"""

import dataclasses
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import keras

from polypseg.commands import train
from polypseg.console.run import run
from polypseg.experiment.registry import NETWORKS
from polypseg.layers import BatchNorm


@keras.saving.register_keras_serializable(package="polypseg_tests")
class Tiny(keras.Model):
    """Two convolutions with what has state, batch norm and dropout, unless `stateless`."""

    maps = ("answer",)

    def __init__(self, input_size=32, filters=6, stateless=False, temperature=1.0, **kwargs):
        image = keras.Input((None, None, 3))
        x = keras.layers.Rescaling(1 / 255)(image)
        x = keras.layers.Conv2D(filters, 5, padding="same", activation="relu")(x)
        if not stateless:
            x = BatchNorm()(x)
            x = keras.layers.Dropout(0.2)(x)
        x = keras.layers.Conv2D(1, 5, padding="same")(x)
        super().__init__(
            image, keras.layers.Activation("linear", dtype="float32", name="logits")(x), **kwargs
        )
        self.input_size, self.filters, self.stateless = input_size, filters, stateless

        self.temperature = temperature

    def get_config(self):
        names = ("name", "input_size", "filters", "stateless", "temperature")
        return {name: getattr(self, name) for name in names}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        return cls(**config)


def install(setitem=dict.__setitem__, export=False, **options):
    """Let every `--model` stand for `Tiny(input_size, **options)`.

    Unless `export`, training writes no `best.onnx`, which takes longer than the training.
    """

    def arguments(config):
        return {"input_size": config.input_size} | options

    for name, network in NETWORKS.items():
        setitem(
            NETWORKS, name, dataclasses.replace(network, load=lambda: Tiny, arguments=arguments)
        )
    if not export:
        from polypseg.training import train as training

        setitem(vars(training), "write_fast_file", lambda folder, progress: None)


if __name__ == "__main__":
    install()
    run(train.main)

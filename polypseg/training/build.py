"""The compiled network of a run: new, or as it was saved."""

import warnings

import keras
import tensorflow as tf

from polypseg.errors import InputError, expect, reading
from polypseg.experiment.registry import NETWORKS, load_networks
from polypseg.experiment.trained import start_path
from polypseg.losses import SegmentationLoss
from polypseg.metrics.streaming import MeanDice, MeanIoU

from .optimizer import Adam
from .schedule import learning_rate


def build_model(config, steps, devices=1):
    """A new network, compiled as it is trained; `steps` is the length of an epoch."""
    network = NETWORKS[config.model].build(config)
    start = start_path(config)
    if start:
        _take_weights(network, start)
    model = _compile(config, network, _optimizer(config, steps), devices)
    # Left to the first step, TensorFlow would trace that step twice.
    model.optimizer.build(model.trainable_variables)
    return model


def _take_weights(network, path):
    """Set the weights to those of a saved network of the same kind. Raises `InputError`."""
    load_networks()
    with reading(path, "a .keras file of this toolkit", "start_from"):
        saved = keras.saving.load_model(path, compile=False)
    own, others = ([variable.shape for variable in of.weights] for of in (network, saved))
    if type(saved) is not type(network) or own != others:
        raise InputError(
            f"expected the weights of a {type(network).__name__} as the options describe it, got "
            f"{path}, a {type(saved).__name__} whose weights do not fit",
            "start_from",
        )
    network.set_weights(saved.get_weights())


def saved_model(config, path, devices):
    """The network and its optimiser as they were saved."""
    load_networks()
    with (
        reading(path, "a complete file that train.py saved", "resume"),
        warnings.catch_warnings(record=True) as caught,
    ):
        warnings.simplefilter("always")
        model = keras.saving.load_model(path)
    for warning in caught:  # Keras would go on with a new optimiser, and the rate would start over
        if "loading for optimizer" in str(warning.message):
            raise InputError(
                "expected an optimiser that fits the network, got that of another "
                f"version in {path}: go on with the version that began the run, or begin a new one",
                "resume",
            )
    return _compile(config, model, model.optimizer, devices)


def _compile(config, model, optimizer, devices):
    model.compile(
        optimizer=optimizer,
        loss=SegmentationLoss(config.loss, map_weights=config.map_weights),
        weighted_metrics=[MeanDice(name="dice"), MeanIoU(name="iou")],
        jit_compile=_jit_compile(devices),
    )
    return model


def _optimizer(config, steps):
    every = config.accumulate
    total = config.epochs * steps
    expect(every <= total, "accumulate", f"at most the {total} steps of the run", every)
    return Adam(
        learning_rate(config, steps),
        clipvalue=config.clip_value or None,
        use_ema=config.ema > 0,
        ema_momentum=config.ema
        ** (1 / every),  # Keras averages at every step, also between two updates
        gradient_accumulation_steps=every if every > 1 else None,
    )


def _jit_compile(devices):
    """XLA everywhere but in TensorFlow on a CPU, whose convolutions it slows down several times, or
    on several devices.
    """
    if keras.backend.backend() != "tensorflow":
        return "auto"
    return "auto" if devices == 1 and tf.config.list_physical_devices("GPU") else False

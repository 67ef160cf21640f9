"""Build the compiled network of a run, or load it as it was saved."""

import warnings
from pathlib import Path

import keras
import tensorflow as tf

from polypseg.errors import InputError, expect, reading
from polypseg.experiment.config import TrainConfig
from polypseg.experiment.registry import NETWORKS, load_networks
from polypseg.experiment.trained import start_path
from polypseg.losses import SegmentationLoss
from polypseg.metrics.streaming import FalseAlarms, MeanDice, MeanIoU

from .optimizer import SGD, Adam
from .schedule import learning_rate


def build_model(
    config: TrainConfig, steps: int, devices: int = 1, negatives: bool = False
) -> keras.Model:
    """Build and compile a new network.

    Args:
        config: the options of the run.
        steps: number of steps in an epoch.
        devices: number of devices that train it together.
        negatives: whether images without foreground are validated on.

    Raises:
        InputError: the weights to start with cannot be read or do not fit, or `accumulate` is more
            than the steps of the run.
    """
    network = NETWORKS[config.model].build(config)
    start = start_path(config)
    if start:
        _set_weights(network, start)
    model = _compile(config, network, _optimizer(config, steps), devices, negatives)
    # If the first step built the optimiser, TensorFlow would trace that step twice.
    model.optimizer.build(model.trainable_variables)
    return model


def _set_weights(network: keras.Model, path: Path) -> None:
    """Set the weights to those of a saved network of the same kind. Raises `InputError`."""
    load_networks()
    with reading(path, "a .keras file of this toolkit", "start_from"):
        saved = keras.saving.load_model(path, compile=False)
    shapes, saved_shapes = (
        [variable.shape for variable in model.weights] for model in (network, saved)
    )
    if type(saved) is not type(network) or shapes != saved_shapes:
        raise InputError(
            f"expected the weights of a {type(network).__name__} as the options describe it, got "
            f"{path}, a {type(saved).__name__} whose weights do not fit",
            "start_from",
        )
    network.set_weights(saved.get_weights())


def saved_model(
    config: TrainConfig, path: Path, devices: int, negatives: bool = False
) -> keras.Model:
    """Load the network and the optimiser of a run that is resumed, and compile them.

    Args:
        config: the options of the run.
        path: its `last.keras`.
        devices: number of devices that train the network together.
        negatives: whether images without foreground are validated on.

    Raises:
        InputError: the file is damaged, or its optimiser does not fit.
    """
    load_networks()
    with (
        reading(path, "a complete file that train.py saved", "resume"),
        warnings.catch_warnings(record=True) as caught,
    ):
        warnings.simplefilter("always")
        model = keras.saving.load_model(path)
    for warning in caught:
        # Keras would continue with a new optimiser, and the learning rate would start again.
        if "loading for optimizer" in str(warning.message):
            raise InputError(
                f"expected an optimiser that fits the network, got {path}, which another version "
                "saved: resume with the version that began the run, or begin a new one",
                "resume",
            )
    return _compile(config, model, model.optimizer, devices, negatives)


def _compile(
    config: TrainConfig,
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    devices: int,
    negatives: bool,
) -> keras.Model:
    metrics = [MeanDice(empty=config.empty), MeanIoU(empty=config.empty)]
    if negatives and config.empty == "skip":
        metrics.append(FalseAlarms())
    model.compile(
        optimizer=optimizer,
        loss=SegmentationLoss(
            config.loss or NETWORKS[config.model].loss,
            map_weights=config.map_weights,
            map_sums=config.map_sums,
        ),
        weighted_metrics=metrics,
        jit_compile=_jit_compile(devices),
    )
    return model


def _optimizer(config: TrainConfig, steps: int) -> Adam | SGD:
    every = config.accumulate
    total = config.epochs * steps
    expect(every <= total, "accumulate", f"at most the {total} steps of the run", every)
    options = {
        "learning_rate": learning_rate(config, steps),
        "weight_decay": config.weight_decay or None,
        "clipvalue": config.clip_value or None,
        "use_ema": config.ema > 0,
        # Keras averages at every step, also at those without an update.
        "ema_momentum": config.ema ** (1 / every),
        "gradient_accumulation_steps": every if every > 1 else None,
    }
    return SGD(momentum=0.9, **options) if config.optimizer == "sgd" else Adam(**options)


def _jit_compile(devices: int) -> str | bool:
    """Whether Keras compiles with XLA.

    Under TensorFlow it does only on one GPU: on a CPU XLA makes convolutions several times slower,
    and it does not work on several devices.
    """
    if keras.backend.backend() != "tensorflow":
        return "auto"
    return "auto" if devices == 1 and tf.config.list_physical_devices("GPU") else False

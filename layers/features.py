"""Build backbones and load their weights."""

import importlib
import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import keras
import numpy as np

from polypseg.errors import InputError, reason

from .backbones import BACKBONES, STRIDES
from .batch_norm import BatchNorm
from .blocks import Normalize


def build_backbone(
    name: str, weights: str | Path | None = None, strides: Sequence[int] = (8, 16, 32)
) -> keras.Model:
    """Build a backbone that normalises its input images itself.

    Args:
        name: a name in `BACKBONES`.
        weights: None for random weights, `"imagenet"`, or the path of a `.h5` file. Keras downloads
            ImageNet weights once, for the backbones of `keras.applications`; a file must contain
            the weights of the network there, without its top. For the other backbones, a file must
            come from `convert.py`.
        strides: strides of the features, two or more of `STRIDES`. The backbone ends with the last
            one.

    Returns:
        a model from RGB `(B, H, W, 3)` in 0..255 to a list of the features at `strides`.

    Raises:
        ValueError: an unknown name.
        InputError: weights that cannot be downloaded or do not fit.
    """
    if name not in BACKBONES:
        raise ValueError(
            f"expected backbone to be one of {', '.join(BACKBONES)}, got backbone={name}"
        )
    spec = BACKBONES[name]
    taps = [spec.taps[STRIDES.index(stride)] for stride in strides]
    module, function = spec.constructor.split(":")
    build = getattr(importlib.import_module(module), function)
    if spec.downloads:
        network = _with_our_batch_norm(_imagenet_network(name, build, weights))
    else:
        if weights == "imagenet":
            raise InputError(
                f"expected a file of {name} weights, got imagenet, which Keras does not have for "
                f"{name}; make a file with convert.py, or give none for random weights"
            )
        network = build()
        _load_weights(network, weights, f"weights that convert.py made of {spec.checkpoint}")
    features = keras.Model(
        network.input, [network.get_layer(tap).output for tap in taps], name="features"
    )
    image = keras.Input((None, None, 3), name="image")
    normalized = Normalize(**spec.normalize, name="normalize")(image)
    return keras.Model(image, features(normalized), name=name)


def _imagenet_network(
    name: str, build: Callable[..., keras.Model], weights: str | Path | None
) -> keras.Model:
    if weights == "imagenet":
        try:
            with warnings.catch_warnings():
                # Keras warns that MobileNetV2's weights are for 224 px. Without the top, they fit
                # any size.
                warnings.filterwarnings("ignore", "`input_shape` is undefined", UserWarning)
                return build(input_shape=(None, None, 3), include_top=False, weights="imagenet")
        except Exception as error:
            raise InputError(
                f"expected ImageNet weights for {name} to be downloaded, got an error "
                f"({reason(error)}); give the path of a file, or none for random weights"
            ) from error
    network = build(input_shape=(None, None, 3), include_top=False, weights=None)
    _load_weights(
        network, weights, f"weights of keras.applications.{build.__name__} without its top"
    )
    return network


def _load_weights(network: keras.Model, weights: str | Path | None, what: str) -> None:
    """Load a file of weights, unless it is None.

    Args:
        network: the network that gets the weights.
        weights: path of the file.
        what: description of the expected weights, for error messages.

    Raises:
        InputError: the file does not exist, does not fit, or lacks some weights.
    """
    if weights is None:
        return
    if not os.path.isfile(weights):
        raise InputError(f"expected a file of {what}, got {weights}")
    if str(weights).endswith(".keras"):
        raise InputError(
            f"expected a file of {what}, got {weights}, a complete network; use `start_from`"
        )
    for variable in network.weights:  # NaN stays in the weights that the file lacks
        variable.assign(np.full(variable.shape, np.nan, "float32"))
    try:
        with warnings.catch_warnings():
            # Keras warns of weights that the file lacks; the error below reports them.
            warnings.simplefilter("ignore")
            network.load_weights(weights)
    except Exception as error:
        raise InputError(f"expected {what}, got {weights}, which does not fit") from error
    missing = [v.path for v in network.weights if np.isnan(keras.ops.convert_to_numpy(v)).any()]
    if missing:
        raise InputError(
            f"expected {what}, got {weights}, which lacks {len(missing)} of "
            f"{len(network.weights)} arrays, among them {missing[0]}"
        )


def _with_our_batch_norm(network: keras.Model) -> keras.Model:
    """Copy a network with our `BatchNorm` layers. Biases of convolutions before them stay fixed.

    `BatchNorm` trains faster and has a momentum of 0.9. Keras's MobileNetV2 has 0.999. With that,
    the moving statistics change too slowly for a short run from random weights. Keras's ResNet50
    has biases before its batch norms. They have no effect in training, because the batch norm
    subtracts the mean of the batch. But computing their gradients took a tenth of each step.
    """

    def clone(layer: keras.layers.Layer) -> keras.layers.Layer:
        if not isinstance(layer, keras.layers.BatchNormalization):
            return layer.__class__.from_config(layer.get_config())
        return BatchNorm(name=layer.name, epsilon=layer.epsilon)

    copy: keras.Model = keras.models.clone_model(network, clone_function=clone)
    copy.set_weights(network.get_weights())
    layer_of_output = {id(layer.output): layer for layer in copy.layers}
    for layer in copy.layers:
        if isinstance(layer, BatchNorm):
            bias = getattr(layer_of_output[id(layer.input)], "bias", None)
            if bias is not None:
                bias.trainable = False
    return copy

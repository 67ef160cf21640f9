"""The state dict of the authors' PraNet: its keys in their order, and our variable for each key.

A state dict is `{key: NumPy array}`. Convolution kernels are OIHW there and HWIO here; all other
arrays are the same. Two kinds of keys have no effect on the output of the authors' network and no
variable here: the 1000-class `resnet.fc` and the `num_batches_tracked` of batch norms. A converted
PraNet keeps their arrays in its file. For a network trained here, `state_dict` gives zeros.
"""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import keras
import numpy as np
from keras import ops

from polypseg.layers import ConvBN
from polypseg.layers.features import build_backbone
from polypseg.layers.res2net import BLOCKS, Res2NetBlock

from .model import PraNet

SIZE = 352  # pixels; the input size of the authors in training and testing
MAX_LISTED = 12  # an error lists at most this number of keys of each kind


def pranet_from(state: Mapping[str, np.ndarray]) -> PraNet:
    """Build a PraNet-Res2Net50 with the weights of a state dict of the authors' PraNet.

    Raises:
        ValueError: keys are missing or unknown, or arrays have another shape or are not finite.
    """
    model = PraNet("res2net50", input_size=SIZE)
    model.official_unused = _assign(_pranet_keys(model), state)
    return model


def backbone_from(state: Mapping[str, np.ndarray]) -> keras.Model:
    """Build a backbone like `build_backbone("res2net50")` with the weights of a state dict of the
    authors' Res2Net50-v1b-26w-4s.

    The ImageNet classifier, `fc.weight` and `fc.bias`, is ignored.

    Raises:
        ValueError: keys are missing or unknown, or arrays have another shape or are not finite.
    """
    backbone = build_backbone("res2net50")
    keys = {
        key: variable for key, variable in _backbone_keys(backbone).items() if key not in CLASSIFIER
    }
    _assign(keys, {key: array for key, array in state.items() if key not in CLASSIFIER})
    return backbone


def state_dict(model: PraNet) -> dict[str, np.ndarray]:
    """The state dict of a PraNet-Res2Net50, with the authors' keys in their order.

    Raises:
        ValueError: the network has another backbone, or a number of channels other than 32.
    """
    state = {}
    for key, variable in _pranet_keys(model).items():
        if isinstance(variable, Unused):
            state[key] = model.official_unused.get(key, np.zeros(variable.shape, variable.dtype))
        else:
            array = ops.convert_to_numpy(variable.value)
            state[key] = (array.transpose(3, 2, 0, 1) if array.ndim == 4 else array).copy(order="C")
    return state


class Unused:
    """Placeholder for a key that has no variable, because it has no effect on the output."""

    def __init__(self, shape: tuple[int, ...] = (), dtype: str = "int64"):
        self.shape = shape
        self.dtype = dtype


Keys: TypeAlias = dict[str, keras.Variable | Unused]

CLASSIFIER = {"fc.weight": Unused((1000, 2048), "float32"), "fc.bias": Unused((1000,), "float32")}


def _backbone_keys(backbone: keras.Model, prefix: str = "") -> Keys:
    """The keys of a Res2Net50, in the authors' order; `prefix` comes before each."""
    layer = backbone.get_layer("features").get_layer
    keys: Keys = {}
    for number, stem in enumerate(("stem1", "stem2", "stem3")):
        norm = f"conv1.{3 * number + 1}" if number < 2 else "bn1"
        keys |= _conv(f"conv1.{3 * number}", layer(stem).conv) | _norm(norm, layer(stem).norm)
    for stage, blocks in enumerate(BLOCKS, 1):
        for block in range(blocks):
            keys |= _block(f"layer{stage}.{block}", layer(f"stage{stage}_block{block + 1}"))
    return {prefix + key: variable for key, variable in (keys | CLASSIFIER).items()}


def _pranet_keys(model: PraNet) -> Keys:
    config = getattr(model, "config", {})
    if config.get("backbone") != "res2net50" or config.get("channels") != 32:
        raise ValueError(
            "expected a PraNet with the res2net50 backbone and 32 channels, like the authors', "
            f"got {type(model).__name__} {config}"
        )
    keys = _backbone_keys(model.get_layer("res2net50"), "resnet.")
    for level in (2, 3, 4):
        rfb = model.get_layer(f"rfb{level}")
        for number, branch in enumerate(rfb.branches):
            for position, layer in enumerate(branch):
                keys |= _conv_bn(f"rfb{level}_1.branch{number}.{position}", layer)
        keys |= _conv_bn(f"rfb{level}_1.conv_cat", rfb.fuse) | _conv_bn(
            f"rfb{level}_1.conv_res", rfb.shortcut
        )
    decoder = model.get_layer("partial_decoder")
    for number, layer in enumerate(
        (decoder.up1, decoder.up2, decoder.up3, decoder.up4, decoder.up5), 1
    ):
        keys |= _conv_bn(f"agg1.conv_upsample{number}", layer)
    keys |= _conv_bn("agg1.conv_concat2", decoder.concat2) | _conv_bn(
        "agg1.conv_concat3", decoder.concat3
    )
    keys |= _conv_bn("agg1.conv4", decoder.head) | _conv("agg1.conv5", decoder.logits)
    for level in (4, 3, 2):
        reverse = model.get_layer(f"reverse{level}")
        for number, layer in enumerate((reverse.reduce, *reverse.inner, reverse.out), 1):
            keys |= _conv_bn(f"ra{level}_conv{number}", layer)
    return keys


def _assign(keys: Keys, state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Assign a state dict to the variables and return the arrays of the unused keys.

    Raises:
        ValueError: the state dict does not fit. In this case, nothing is assigned.
    """
    faults = {
        "missing": [key for key in keys if key not in state],
        "unknown": [key for key in state if key not in keys],
        "of another shape": [
            f"{key} {state[key].shape} instead of {_shape(value)}"
            for key, value in keys.items()
            if key in state and state[key].shape != _shape(value)
        ],
        "not finite": [
            key
            for key, array in state.items()
            if array.dtype.kind == "f" and not np.isfinite(array).all()
        ],
    }
    if any(faults.values()):
        listed = "; ".join(
            f"{len(found)} {kind}: {_shortened(found)}" for kind, found in faults.items() if found
        )
        raise ValueError(f"expected the {len(keys)} keys of the authors' network, got {listed}")
    unused = {}
    for key, variable in keys.items():
        array = state[key]
        if isinstance(variable, Unused):
            unused[key] = array.astype(variable.dtype)
        else:
            variable.assign(array.transpose(2, 3, 1, 0) if array.ndim == 4 else array)
    return unused


def _shape(variable: keras.Variable | Unused) -> tuple[int, ...]:
    """The shape of an array in the authors' layout."""
    shape = tuple(variable.shape)
    return (shape[3], shape[2], *shape[:2]) if len(shape) == 4 else shape


def _shortened(found: Sequence[str]) -> str:
    more = f" and {len(found) - MAX_LISTED} more" if len(found) > MAX_LISTED else ""
    return ", ".join(found[:MAX_LISTED]) + more


def _conv(key: str, conv: keras.layers.Conv2D) -> Keys:
    return {f"{key}.weight": conv.kernel} | ({f"{key}.bias": conv.bias} if conv.use_bias else {})


def _norm(key: str, norm: keras.layers.BatchNormalization) -> Keys:
    return {
        f"{key}.weight": norm.gamma,
        f"{key}.bias": norm.beta,
        f"{key}.running_mean": norm.moving_mean,
        f"{key}.running_var": norm.moving_variance,
        f"{key}.num_batches_tracked": Unused(),
    }


def _conv_bn(key: str, layer: ConvBN) -> Keys:
    return _conv(f"{key}.conv", layer.conv) | _norm(f"{key}.bn", layer.norm)


def _block(key: str, block: Res2NetBlock) -> Keys:
    keys = _conv(f"{key}.conv1", block.reduce.conv) | _norm(f"{key}.bn1", block.reduce.norm)
    for number, scale in enumerate(block.scales):
        keys |= _conv(f"{key}.convs.{number}", scale.conv)
    for number, scale in enumerate(block.scales):
        keys |= _norm(f"{key}.bns.{number}", scale.norm)
    keys |= _conv(f"{key}.conv3", block.expand.conv) | _norm(f"{key}.bn3", block.expand.norm)
    if block.first:
        keys |= _conv(f"{key}.downsample.1", block.shortcut.conv) | _norm(
            f"{key}.downsample.2", block.shortcut.norm
        )
    return keys

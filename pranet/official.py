"""The state dict of the authors' PraNet: its keys in their order, and our variable for each key.

Two kinds of keys have no effect on the output of the authors' network and no variable here: the
1000-class `resnet.fc` and the `num_batches_tracked` of batch norms. A converted PraNet keeps their
arrays in its file. For a network trained here, `state_dict` gives zeros.
"""

from collections.abc import Mapping

import keras
import numpy as np
from keras import ops

from polypseg.layers import ConvBN
from polypseg.layers.features import build_backbone
from polypseg.layers.res2net import BLOCKS, Res2NetBlock
from polypseg.layers.state_dict import Keys, Unused, assign, conv_keys, norm_keys

from .model import PraNet
from .spec import DECODERS

SIZE = 352  # pixels; the input size of the authors in training and testing


def pranet_from(state: Mapping[str, np.ndarray]) -> PraNet:
    """Build a PraNet-Res2Net50 with the weights of a state dict of the authors' PraNet.

    Raises:
        ValueError: keys are missing or unknown, or arrays have another shape or are not finite.
    """
    model = PraNet("res2net50", input_size=SIZE)
    model.official_unused = assign(_pranet_keys(model), state)
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
    assign(keys, {key: array for key, array in state.items() if key not in CLASSIFIER})
    return backbone


def state_dict(model: PraNet) -> dict[str, np.ndarray]:
    """The state dict of a PraNet-Res2Net50, with the authors' keys in their order.

    Raises:
        ValueError: the network has another backbone or another decoder.
    """
    state = {}
    for key, variable in _pranet_keys(model).items():
        if isinstance(variable, Unused):
            state[key] = model.official_unused.get(key, np.zeros(variable.shape, variable.dtype))
        else:
            array = ops.convert_to_numpy(variable)
            state[key] = (array.transpose(3, 2, 0, 1) if array.ndim == 4 else array).copy(order="C")
    return state


CLASSIFIER = {"fc.weight": Unused((1000, 2048), "float32"), "fc.bias": Unused((1000,), "float32")}


def _backbone_keys(backbone: keras.Model, prefix: str = "") -> Keys:
    """The keys of a Res2Net50, in the authors' order; `prefix` comes before each."""
    layer = backbone.get_layer("features").get_layer
    keys: Keys = {}
    for number, stem in enumerate(("stem1", "stem2", "stem3")):
        norm = f"conv1.{3 * number + 1}" if number < 2 else "bn1"
        keys |= conv_keys(f"conv1.{3 * number}", layer(stem).conv) | norm_keys(
            norm, layer(stem).norm
        )
    for stage, blocks in enumerate(BLOCKS, 1):
        for block in range(blocks):
            keys |= _block(f"layer{stage}.{block}", layer(f"stage{stage}_block{block + 1}"))
    return {prefix + key: variable for key, variable in (keys | CLASSIFIER).items()}


def _pranet_keys(model: PraNet) -> Keys:
    config = getattr(model, "config", {})
    expected = {"backbone": "res2net50", **DECODERS["published"]}
    if any(config.get(key) != value for key, value in expected.items()):
        raise ValueError(
            "expected a PraNet with the res2net50 backbone and the published decoder, got "
            f"{type(model).__name__} {config}"
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
    keys |= _conv_bn("agg1.conv4", decoder.head) | conv_keys("agg1.conv5", decoder.logits)
    for level in (4, 3, 2):
        reverse = model.get_layer(f"reverse{level}")
        for number, layer in enumerate((reverse.reduce, *reverse.inner, reverse.out), 1):
            keys |= _conv_bn(f"ra{level}_conv{number}", layer)
    return keys


def _conv_bn(key: str, layer: ConvBN) -> Keys:
    return conv_keys(f"{key}.conv", layer.conv) | norm_keys(f"{key}.bn", layer.norm)


def _block(key: str, block: Res2NetBlock) -> Keys:
    keys = conv_keys(f"{key}.conv1", block.reduce.conv) | norm_keys(f"{key}.bn1", block.reduce.norm)
    for number, scale in enumerate(block.scales):
        keys |= conv_keys(f"{key}.convs.{number}", scale.conv)
    for number, scale in enumerate(block.scales):
        keys |= norm_keys(f"{key}.bns.{number}", scale.norm)
    keys |= conv_keys(f"{key}.conv3", block.expand.conv) | norm_keys(
        f"{key}.bn3", block.expand.norm
    )
    if block.first:
        keys |= conv_keys(f"{key}.downsample.1", block.shortcut.conv) | norm_keys(
            f"{key}.downsample.2", block.shortcut.norm
        )
    return keys

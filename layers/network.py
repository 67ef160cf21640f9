"""What the rest of the toolkit has to know of a network before it is built."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Network:
    """The `SPEC` of a network's folder; reading it imports neither Keras nor NumPy.

    Attributes:
        stride: height and width of an image are multiples of it.
        maps: channels of the logits, the answer last.
        loss: the default of `--loss`.
        load: returns the class; importing it registers what is needed to load a saved network.
        arguments: the class's keyword arguments, from a `TrainConfig`.
        backbones: name -> `Backbone`, of a network that has one.
    """

    stride: int
    maps: int
    loss: str
    load: Callable[[], type]
    arguments: Callable[[Any], dict[str, Any]]
    backbones: Mapping[str, "Backbone"] = field(default_factory=dict)

    def build(self, config: Any) -> Any:
        """The untrained Keras model of a `TrainConfig`."""
        return self.load()(**self.arguments(config))


@dataclass(frozen=True)
class Backbone:
    """One entry of a table of backbones.

    Attributes:
        constructor: `"module:function"`; of `keras.applications`, or a function without arguments
            that returns a model whose outputs are the taps.
        taps: names of the layers whose outputs are the features; () for all outputs.
        normalize: arguments of `Normalize`.
        licence: of the pretrained weights.
    """

    constructor: str
    taps: tuple[str, ...]
    normalize: Mapping[str, Any]
    licence: str

    @property
    def downloads(self) -> bool:
        """Whether Keras has ImageNet weights to download."""
        return self.constructor.startswith("keras.applications:")

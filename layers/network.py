"""What the rest of the toolkit knows about a network before it is built."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Network:
    """The `SPEC` of a network's folder. Importing it imports neither Keras nor NumPy.

    Attributes:
        stride: height and width of an image must be multiples of it.
        maps: number of channels of the logits; the last is the answer.
        loss: the default loss.
        load: returns the class. Importing the class registers what loading a saved network needs.
        arguments: returns the keyword arguments of the class for a `TrainConfig`.
        backbones: the `Backbone`s by name; empty for a network without backbone.
    """

    stride: int
    maps: int
    loss: str
    load: Callable[[], type]
    arguments: Callable[[Any], dict[str, Any]]
    backbones: Mapping[str, "Backbone"] = field(default_factory=dict)

    def build(self, config: Any) -> Any:
        """Return the untrained Keras model of a `TrainConfig`."""
        return self.load()(**self.arguments(config))


@dataclass(frozen=True)
class Backbone:
    """One entry of a table of backbones.

    Attributes:
        constructor: `"module:function"`, either of `keras.applications`, or a function without
            arguments that returns a model whose outputs are the features.
        taps: names of the layers whose outputs are the features; () for all outputs of the model.
        normalize: arguments of `Normalize` for the pretrained weights.
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

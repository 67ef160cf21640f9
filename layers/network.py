"""What the rest of the toolkit knows about a network before it is built."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Network:
    """The description of a network: each network's folder has one, `SPEC` in `spec.py`.

    Importing a `SPEC` imports neither Keras nor NumPy.

    Attributes:
        stride: height and width of an image must be multiples of it.
        maps: number of channels of the logits. The last one is the "answer", the final prediction;
            the others are side outputs.
        loss: the default loss.
        load: function that imports and returns the network's class. The import also registers the
            classes that Keras needs to load a saved network.
        arguments: function from a `TrainConfig` to the keyword arguments of the class.
        backbones: the `Backbone`s by name; empty for a network without a backbone.
    """

    stride: int
    maps: int
    loss: str
    load: Callable[[], type]
    arguments: Callable[[Any], dict[str, Any]]
    backbones: Mapping[str, "Backbone"] = field(default_factory=dict)

    def build(self, config: Any) -> Any:
        """Return the untrained Keras model that a `TrainConfig` describes."""
        return self.load()(**self.arguments(config))


@dataclass(frozen=True)
class Backbone:
    """A backbone that a network can use.

    Attributes:
        constructor: the function that builds the backbone, as `"module:function"`. It is either a
            function of `keras.applications`, or one without arguments that returns a model whose
            outputs are the features.
        taps: names of the layers whose outputs are the features; () for all outputs of the model.
        normalize: arguments of `Normalize` that fit the pretrained weights.
        licence: licence of the pretrained weights.
    """

    constructor: str
    taps: tuple[str, ...]
    normalize: Mapping[str, Any]
    licence: str

    @property
    def downloads(self) -> bool:
        """Whether Keras has ImageNet weights to download."""
        return self.constructor.startswith("keras.applications:")

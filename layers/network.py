"""What the rest of the toolkit knows about a network before it is built."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .backbones import Backbone


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
        decoders: for each value of `decoder`, the keyword arguments of the class. Saved networks
            that lack one of these arguments have its value of the first decoder.
    """

    stride: int
    maps: int
    loss: str
    load: Callable[[], type]
    arguments: Callable[[Any], dict[str, Any]]
    backbones: Mapping[str, Backbone] = field(default_factory=dict)
    decoders: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: {"published": {}})

    def build(self, config: Any) -> Any:
        """Return the untrained Keras model that a `TrainConfig` describes."""
        return self.load()(**self.arguments(config))

"""How the maps of a source come about: a network computes them, or they are read from files."""

import warnings
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from polypseg.data.maps import read_map
from polypseg.errors import Note
from polypseg.experiment.config import as_window
from polypseg.inference.formats import AUTO
from polypseg.inference.predict import predict
from polypseg.inference.predictor import Predictor

from .row_scores import NetworkFacts
from .sources import Item, Source, check_slices


class Opened(NamedTuple):
    """A source whose maps can be computed or read.

    Attributes:
        network: how the network runs; None for saved maps.
        maps_of: returns the maps of items, in their order.
        argument: the argument that gives the files which errors are about.
        threshold: the network's own; 0.5 for saved maps.
    """

    network: NetworkFacts | None
    maps_of: Callable[[Sequence[Item]], Iterable[np.ndarray]]
    argument: str
    threshold: float


class Opener:
    """Opens sources, one after the other.

    Args:
        window: of images with 16 bits, see `read_image`; default: that of the run, if any.
        input_size: height and width at which networks run; default: their own.
        tta: average a network's maps over the image and its three flips.
        engine: what runs the network of a run folder, see `Predictor.load`.
    """

    def __init__(
        self,
        window: Sequence[int] | None = None,
        input_size: int | None = None,
        tta: bool = False,
        engine: str = AUTO,
    ) -> None:
        self._window, self._input_size, self._tta = window, input_size, tta
        self._engine = engine
        self._loaded: dict[Path | tuple[Path, ...], Predictor] = {}

    def __call__(self, source: Source) -> Opened:
        """Open a source. Raises `InputError` for a network that cannot be loaded or used."""
        if source.items[0].map:
            return Opened(None, _saved_maps, "predictions", 0.5)
        # The sources of a network follow each other, so only one is kept.
        if source.path not in self._loaded:
            self._loaded = {
                source.path: Predictor.load(source.path, self._input_size, self._engine)
            }
            if self._window:
                self._loaded[source.path].window = as_window(self._window)
            self._note_flips(source, self._loaded[source.path])
        predictor = self._loaded[source.path]
        if source.config is None:
            check_slices(source, predictor.preparation)
        network = NetworkFacts(
            predictor.digest,
            predictor.input_size,
            self._tta,
            predictor.window,
            predictor.origin,
            predictor.engine,
        )
        maps_of = partial(predict, predictor, tta=self._tta)
        return Opened(network, maps_of, "data_path", predictor.threshold)

    def _note_flips(self, source: Source, predictor: Predictor) -> None:
        flipped = (source.config or {}).get("augment") == "flips"
        if self._tta and predictor.preparation and not flipped:
            seen = "has not seen" if source.config else "may not have seen"  # a file does not say
            warnings.warn(
                f"`tta` flips the slices, and {source.path_text} {seen} flipped ones in its "
                "training: that flips slices only with `augment` flips",
                Note,
                stacklevel=1,
            )


def _saved_maps(items: Sequence[Item]) -> Iterable[np.ndarray]:
    return (read_map(str(item.map)) for item in items)

"""What the scores of a source have in common, whether it is images or volumes that are scored."""

import datetime
import functools
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Protocol

from polypseg import __version__
from polypseg.data.images import Window
from polypseg.files import digest, file_digest
from polypseg.metrics.bootstrap import LEVEL, RESAMPLES, interval, resample
from polypseg.metrics.boundary import surface_distance_version
from polypseg.metrics.means import Scores, Values, WeightedMeans
from polypseg.metrics.table import METRICS, Metric

from .evaluation import Rules
from .sources import Source
from .strata import Intervals


class NetworkFacts(NamedTuple):
    """How a network was run.

    Attributes:
        digest: of its files, see `Predictor.digest`.
        input_size: height and width at which it ran.
        tta: whether its maps are averages over flips.
        window: of images with 16 bits, see `data.images.read_image`.
        origin: of an ensemble, see `Predictor.origin`.
        engine: what ran it, see `Predictor.engine`.
    """

    digest: str
    input_size: int
    tta: bool
    window: Window | None = None
    origin: dict[str, Any] | None = None
    engine: str | None = None


class Fact(NamedTuple):
    """A fact about a score.

    Attributes:
        key: in metrics.json.
        label: in pages that people read.
        value: a value that JSON can store.
    """

    key: str
    label: str
    value: Any

    @property
    def text(self) -> str:
        """The value in pages that people read."""
        if isinstance(self.value, bool):
            return "yes" if self.value else "no"
        if isinstance(self.value, list):
            return ", ".join(map(str, self.value))
        if isinstance(self.value, dict):
            return ", ".join(f"{key} ({value})" for key, value in self.value.items())
        if self.value is None:
            return "none"
        return f"{self.value:g}" if isinstance(self.value, float) else str(self.value)


class Named(Protocol):
    """The scores of one image or volume, with its name."""

    @property
    def stem(self) -> str: ...

    @property
    def scores(self) -> Scores: ...


class RowScores:
    """The scores of one source: a row of the tables.

    Attributes:
        noun: what has a score, and what a mean is over: "image" or "patient".
        tables: the scores, by protocol.
        source: what was scored.
        rules: how it was scored.
        network: how the network was run; None for saved maps.
        group_of_image: the group of each image; None if there are no groups.
        units: number of groups; of images or patients if there are no groups.
        date: when the scores were complete.
    """

    noun: ClassVar[str] = "image"
    tables: ClassVar[Mapping[str, Sequence[Metric]]] = METRICS

    def __init__(
        self,
        source: Source,
        rules: Rules,
        results: Sequence[Named],
        network: NetworkFacts | None = None,
    ) -> None:
        self.source, self.rules, self.network = source, rules, network
        self.named: Sequence[Named] = results
        groups = source.groups
        self.group_of_image = [groups[result.stem] for result in results] if groups else None
        self.units = len(set(self.group_of_image or range(len(results))))
        self.date = datetime.datetime.now().astimezone()

    total: dict[str, Any]  # "n", and the values of the scores by protocol and key
    empty: int  # number of masks without foreground

    @functools.cached_property
    def resampled(self) -> Values:
        """The scores in each resample of the bootstrap, see `metrics.bootstrap`.

        The units are drawn in the same order for all models on the same images.
        """
        return resample(self._means)

    @functools.cached_property
    def _means(self) -> WeightedMeans:
        return WeightedMeans([result.scores for result in self.named], self.group_of_image)

    @property
    def defined(self) -> dict[str, dict[str, int]]:
        """By how many units each score is defined, by protocol and key."""
        return self._means.defined

    @functools.cached_property
    def intervals(self) -> Intervals:
        """The 95 % interval of each score, by protocol and key."""
        return {
            protocol: {key: interval(values) for key, values in of_protocol.items()}
            for protocol, of_protocol in self.resampled.items()
        }

    @functools.cached_property
    def facts(self) -> list[Fact]:
        """What was scored, and how: for metrics.json, table.md and the report."""
        source, rules, network = self.source, self.rules, self.network
        of_masks = "".join(file_digest(item.mask) for item in source.items)
        of_model, of_run = [], []
        if network:
            of_model = [Fact("digest", "digest of the model", network.digest)]
            of_model += [Fact(key, key, value) for key, value in (network.origin or {}).items()]
            of_run = [
                Fact("subset", "subset", source.subset),
                Fact("input_size", "input size", network.input_size),
                Fact("engine", "engine", network.engine),
                Fact("window", "window", list(network.window) if network.window else None),
                Fact("tta", "averaged over flips", network.tta),
            ]
        return [
            Fact("model" if network else "maps", "model" if network else "maps", source.path_text),
            *of_model,
            Fact("data", "data", str(source.items[0].mask.parent)),
            Fact("masks_digest", "digest of the masks", digest(of_masks.encode())),
            *of_run,
            Fact("threshold", "threshold", rules.threshold),
            Fact("empty", "rule for empty masks", rules.empty),
            Fact("empty_masks", "empty masks", self.empty),
            *self._facts_of_scoring(),
            Fact("intervals", "intervals", self.words_on_intervals),
            Fact("protocols", "protocols", [name for name in self.tables if name != "lesions"]),
            Fact("polypseg", "polypseg version", __version__),
            Fact("date", "date", self.date.isoformat(timespec="seconds")),
        ]

    def _facts_of_scoring(self) -> list[Fact]:
        """Facts that only this kind of scores has."""
        raise NotImplementedError

    def _facts_of_boundary(self, unit: str) -> list[Fact]:
        if self.rules.boundary is None:
            return []
        version = f"surface-distance {surface_distance_version()}"
        return [
            Fact("boundary", f"tolerance of the surface Dice in {unit}", self.rules.boundary),
            Fact("boundary_package", "boundary scores by", version),
        ]

    @property
    def words_on_intervals(self) -> str:
        """How the intervals were computed."""
        unit = self.noun if self.group_of_image is None else f"group ({self.units} groups)"
        return f"{100 * LEVEL:.0f} % bootstrap, {RESAMPLES} resamples by {unit}"

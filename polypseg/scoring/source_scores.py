"""The scores of a source, and the facts that describe how they were computed."""

import datetime
import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from polypseg import __version__
from polypseg.data.images import Window
from polypseg.files import digest, file_digest
from polypseg.metrics import DataSetScores
from polypseg.metrics.bootstrap import LEVEL, RESAMPLES, interval, resample
from polypseg.metrics.boundary import surface_distance_version
from polypseg.metrics.lesions import LesionCounts
from polypseg.metrics.means import Values, WeightedMeans
from polypseg.metrics.table import METRICS

from .evaluation import Result, Rules
from .gallery import Example
from .sources import Source
from .strata import Intervals, Stratum, stratify

PROTOCOLS = ("pranet", "threshold")  # in the order in which their tables are shown


class NetworkFacts(NamedTuple):
    """How a network was run.

    Attributes:
        digest: of its files, see `Predictor.digest`.
        input_size: height and width at which it ran.
        tta: whether its maps are averages over flips.
        window: of images with 16 bits, see `data.images.read_image`.
        origin: of an ensemble, see `Predictor.origin`.
    """

    digest: str
    input_size: int
    tta: bool
    window: Window | None = None
    origin: dict[str, Any] | None = None


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


class SourceScores:
    """The scores of one source.

    Attributes:
        source: what was scored.
        rules: how it was scored.
        results: the scores of each image.
        network: how the network was run; None for saved maps.
        examples: images for the report.
        total: means over the images, see `DataSetScores.result`.
        group_of_image: the group of each image; None if there are no groups.
        curves: for each protocol the mean curves, see `DataSetScores.curves`.
        units: number of groups; of images if there are no groups.
        empty: number of masks without foreground.
        date: when the scores were complete.
    """

    def __init__(
        self,
        source: Source,
        rules: Rules,
        results: Sequence[Result],
        network: NetworkFacts | None = None,
        examples: Sequence[Example] = (),
    ) -> None:
        self.source, self.rules, self.results = source, rules, results
        self.network, self.examples = network, examples
        scores = DataSetScores()
        for result in results:
            scores.update_state(result.scores)
        self.total = scores.result()
        self.curves = {protocol: scores.curves(protocol) for protocol in PROTOCOLS}
        groups = source.groups
        self.group_of_image = [groups[result.stem] for result in results] if groups else None
        self.units = len(set(self.group_of_image or range(len(results))))
        self.empty = sum(result.scores.area == 0 for result in results)
        self.date = datetime.datetime.now().astimezone()

    @functools.cached_property
    def resampled(self) -> Values:
        """The scores in each resample of the bootstrap, see `metrics.bootstrap`.

        The units are drawn in the same order for all models on the same images.
        """
        return resample(self._means)

    @functools.cached_property
    def _means(self) -> WeightedMeans:
        return WeightedMeans([result.scores for result in self.results], self.group_of_image)

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
    def strata(self) -> dict[str, list[Stratum]]:
        """The scores of parts of the data set, by the property that divides it."""
        return stratify(
            [result.stem for result in self.results],
            [result.scores for result in self.results],
            self.source.columns,
            self.source.groups,
            {
                # Not those that need a mean curve of many numbers, which takes a second.
                protocol: [
                    metric.key
                    for metric in metrics
                    if metric.column and (protocol == "lesions" or not metric.reduce)
                ]
                for protocol, metrics in METRICS.items()
            },
        )

    @functools.cached_property
    def lesion_counts(self) -> LesionCounts:
        """Lesions and predicted components of all images."""
        counts = zip(*(result.scores.lesion_counts for result in self.results))
        return LesionCounts(*(sum(numbers) for numbers in counts))

    @functools.cached_property
    def calibration(self) -> NDArray[np.float64]:
        """`(3, 15)`: the sums of `metrics.calibration.calibration_counts` over all images."""
        key = "calibration_error"
        arrays = [result.scores.arrays["threshold"][key] for result in self.results]
        sums: NDArray[np.float64] = np.sum(arrays, axis=0).reshape(3, -1)
        return sums

    @functools.cached_property
    def facts(self) -> list[Fact]:
        """What was scored, and how: for metrics.json, table.md and the report."""
        source, rules, network = self.source, self.rules, self.network
        of_masks = "".join(file_digest(item.mask) for item in source.items)
        facts = [
            Fact("model" if network else "maps", "model" if network else "maps", source.path_text),
            Fact("data", "data", str(source.items[0].mask.parent)),
            Fact("masks_digest", "digest of the masks", digest(of_masks.encode())),
            Fact("threshold", "threshold", rules.threshold),
            Fact("empty", "rule for empty masks", rules.empty),
            Fact("empty_masks", "empty masks", self.empty),
            Fact("resize", "maps resized to their masks", rules.resize),
            Fact("label", "label in the masks", list(rules.masks.label) or None),
            Fact("ignore", "ignored in the masks", list(rules.masks.ignore) or None),
            Fact(
                "mask_color",
                "colour in the masks",
                [number for colour in rules.masks.color for number in colour] or None,
            ),
            Fact("lesion_iou", "a lesion is found above an IoU of", rules.lesion_iou),
            Fact("lesion_pixels", "smallest size of a lesion in pixels", rules.lesion_pixels),
            *self._facts_of_boundary(),
            Fact("intervals", "intervals", self.words_on_intervals),
            Fact("protocols", "protocols", ["threshold", "pranet"]),
            Fact("polypseg", "polypseg version", __version__),
            Fact("date", "date", self.date.isoformat(timespec="seconds")),
        ]
        if network:
            of_model = [Fact("digest", "digest of the model", network.digest)]
            for key, value in (network.origin or {}).items():
                of_model.append(Fact(key, key, value))
            facts[1:1] = of_model
            behind = len(of_model) + 3
            facts[behind:behind] = [
                Fact("subset", "subset", source.subset),
                Fact("input_size", "input size", network.input_size),
                Fact("window", "window", list(network.window) if network.window else None),
                Fact("tta", "averaged over flips", network.tta),
            ]
        return facts

    def _facts_of_boundary(self) -> list[Fact]:
        if self.rules.boundary is None:
            return []
        version = f"surface-distance {surface_distance_version()}"
        return [
            Fact("boundary", "tolerance of the surface Dice in pixels", self.rules.boundary),
            Fact("boundary_package", "boundary scores by", version),
        ]

    @property
    def words_on_intervals(self) -> str:
        """How the intervals were computed."""
        unit = "image" if self.group_of_image is None else f"group ({self.units} groups)"
        return f"{100 * LEVEL:.0f} % bootstrap, {RESAMPLES} resamples by {unit}"

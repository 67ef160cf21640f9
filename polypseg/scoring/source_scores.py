"""The scores of a source, and the facts that describe how they were computed."""

import datetime
import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

from polypseg import __version__
from polypseg.data.images import Window
from polypseg.files import digest, file_digest
from polypseg.metrics import DataSetScores
from polypseg.metrics.table import METRICS

from .evaluation import Result, Rules
from .gallery import Example
from .sources import Source


class NetworkFacts(NamedTuple):
    """How a network was run.

    Attributes:
        digest: of its files, see `Predictor.digest`.
        input_size: height and width at which it ran.
        tta: whether its maps are averages over flips.
        window: of images with 16 bits, see `data.images.read_image`.
    """

    digest: str
    input_size: int
    tta: bool
    window: Window | None = None


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
        curves: for each protocol the mean curves, see `DataSetScores.curves`.
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
        self.curves = {protocol: scores.curves(protocol) for protocol in METRICS}
        self.empty = sum(result.scores.area == 0 for result in results)
        self.date = datetime.datetime.now().astimezone()

    @functools.cached_property
    def facts(self) -> list[Fact]:
        """What was scored, and how: for metrics.json, table.md and the report."""
        source, rules, network = self.source, self.rules, self.network
        of_masks = "".join(file_digest(item.mask) for item in source.items)
        facts = [
            Fact("model" if network else "maps", "model" if network else "maps", str(source.path)),
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
            Fact("protocols", "protocols", list(METRICS)),
            Fact("polypseg", "polypseg version", __version__),
            Fact("date", "date", self.date.isoformat(timespec="seconds")),
        ]
        if network:
            facts[1:1] = [Fact("digest", "digest of the model", network.digest)]
            facts[4:4] = [
                Fact("subset", "subset", source.subset),
                Fact("input_size", "input size", network.input_size),
                Fact("window", "window", list(network.window) if network.window else None),
                Fact("tta", "averaged over flips", network.tta),
            ]
        return facts

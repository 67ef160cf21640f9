"""The scores of a source image by image, and the facts that describe how they were computed."""

import functools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from polypseg.metrics import DataSetScores
from polypseg.metrics.lesions import LesionCounts
from polypseg.metrics.table import METRICS

from .evaluation import Result, Rules
from .gallery import Example
from .row_scores import Fact, NetworkFacts, RowScores
from .sources import Source
from .strata import Stratum, stratify

PROTOCOLS = ("pranet", "threshold")  # in the order in which their tables are shown


class SourceScores(RowScores):
    """The scores of one source, image by image.

    Attributes:
        results: the scores of each image.
        examples: images for the report.
        total: means over the images, see `DataSetScores.result`.
        curves: for each protocol the mean curves, see `DataSetScores.curves`.
        empty: number of masks without foreground.
    """

    def __init__(
        self,
        source: Source,
        rules: Rules,
        results: Sequence[Result],
        network: NetworkFacts | None = None,
        examples: Sequence[Example] = (),
    ) -> None:
        super().__init__(source, rules, results, network)
        self.results, self.examples = results, examples
        scores = DataSetScores()
        for result in results:
            scores.update_state(result.scores)
        self.total = scores.result()
        self.curves = {protocol: scores.curves(protocol) for protocol in PROTOCOLS}
        self.empty = sum(result.scores.area == 0 for result in results)

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

    def _facts_of_scoring(self) -> list[Fact]:
        rules = self.rules
        return [
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
            *self._facts_of_boundary("pixels"),
        ]

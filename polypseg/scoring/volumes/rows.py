"""The scores of a source patient by patient."""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from polypseg.metrics.table import VOLUME_METRICS
from polypseg.metrics.volume import VolumeScores

from ..evaluation import Rules
from ..gallery import Example
from ..row_scores import Fact, NetworkFacts, RowScores
from ..sources import Source

PROTOCOL = "volume"


class PatientResult(NamedTuple):
    """The scores of one patient.

    Attributes:
        stem: name of the patient.
        scores: of the volume.
        shown: indices of some slices with foreground in truth or prediction, for the report.
    """

    stem: str
    scores: VolumeScores
    shown: tuple[int, ...] = ()


class Spread(NamedTuple):
    """How the scores of the patients are distributed.

    Attributes:
        deviation: standard deviation, dividing by n - 1; nan for fewer than two patients.
        low, median, high: nan if no patient defines the score.
    """

    deviation: float
    low: float
    median: float
    high: float


class VolumeRow(RowScores):
    """The scores of one source, patient by patient.

    Attributes:
        results: the scores of each patient.
        examples: slices of some patients for the report.
        total: `{"n": number of patients, "volume": means over the patients}`.
        empty: number of patients whose mask has no foreground.
    """

    noun = "patient"
    tables = VOLUME_METRICS

    def __init__(
        self,
        source: Source,
        rules: Rules,
        results: Sequence[PatientResult],
        network: NetworkFacts | None = None,
        examples: Sequence[Example] = (),
    ) -> None:
        super().__init__(source, rules, results, network)
        self.results, self.examples = results, examples
        means = self._means(np.ones((1, self.units)))[PROTOCOL]
        self.total = {
            "n": len(results),
            PROTOCOL: {key: float(value[0]) for key, value in means.items()},
        }
        self.empty = sum(result.scores.truth_ml == 0 for result in results)

    def values(self, key: str) -> NDArray[np.float64]:
        """A score of the patients that define it."""
        values = np.array([result.scores.volume[key] for result in self.results])
        return values[~np.isnan(values)]

    @functools.cached_property
    def spread(self) -> dict[str, Spread]:
        """The distribution of each score."""
        return {key: _spread(self.values(key)) for key in self.total[PROTOCOL]}

    def _facts_of_scoring(self) -> list[Fact]:
        masks = self.rules.masks
        return [
            Fact("label", "label in the masks", list(masks.label) or None),
            Fact("ignore", "ignored in the masks", list(masks.ignore) or None),
            *self._facts_of_boundary("mm"),
        ]


def _spread(values: NDArray[np.float64]) -> Spread:
    if not values.size:
        return Spread(*[np.nan] * 4)
    deviation = float(values.std(ddof=1)) if values.size > 1 else np.nan
    return Spread(deviation, *map(float, (values.min(), np.median(values), values.max())))

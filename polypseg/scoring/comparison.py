"""Comparisons of models on the same images: paired differences, tests, and the ranking.

Two answers are given, because they ask different questions. The bootstrap interval is about the
difference of the two numbers in the table. Wilcoxon's signed-rank test (1945) is about the
differences of the images, one by one; its p-values are corrected for the number of pairs (Holm,
1979). A reader has to know where they disagree.
"""

import math
import os
import warnings
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from polypseg.errors import Note
from polypseg.metrics.bootstrap import interval
from polypseg.metrics.table import Metric

from .row_scores import RowScores
from .sources import Source

SIGNIFICANT = 0.05
_NOISE = 1e-9  # smaller differences come from the order of sums


class Comparison(NamedTuple):
    """Two models, one score, the same images.

    Attributes:
        data: name of the data set.
        protocol, metric: the score.
        better, other: names of the models; `better` has the better value, or the same.
        images, units: number of images (or patients), and of units that were drawn (these or
            groups).
        difference: value of `better` minus value of `other`.
        interval: 95 % bootstrap interval of the difference, from the same resamples for both.
        p: of Wilcoxon's signed-rank test over the units, two-sided; nan for a score that is no mean
            over images.
        p_holm: `p` after Holm's correction for all pairs of models.
        noun: what has a score, "image" or "patient".
        ranks_favour_other: whether the test is on the side of `other`, although its mean is worse:
            a few images with large differences can outweigh many with small ones.
    """

    data: str
    protocol: str
    metric: Metric
    better: str
    other: str
    images: int
    units: int
    difference: float
    interval: tuple[float, float]
    p: float
    p_holm: float
    noun: str = "image"
    ranks_favour_other: bool = False

    @property
    def by_interval(self) -> bool | None:
        """Whether the interval shows a difference; None if there is no interval."""
        low, high = self.interval
        return None if np.isnan(low) else not low <= 0 <= high

    @property
    def by_test(self) -> bool | None:
        """Whether the test shows a difference; None if there is no test."""
        return None if np.isnan(self.p_holm) else self.p_holm < SIGNIFICANT

    @property
    def favoured_by_test(self) -> str:
        """The model with the larger sum of ranks."""
        return self.other if self.ranks_favour_other else self.better

    @property
    def verdict(self) -> str:
        """What interval and test say together."""
        p = f"Wilcoxon, Holm: p = {self.p_holm:.3f}"
        if self.p_holm < 0.001:
            p = "Wilcoxon, Holm: p < 0.001"
        if self.by_interval is None and self.by_test is None:
            return f"too few {self.noun}s to compare"
        if self.by_test is None:
            shown = "shown to differ" if self.by_interval else "not shown to differ"
            return f"{shown} (by the interval alone, which is not corrected for several pairs)"
        if self.by_test and self.ranks_favour_other:
            return f"unclear, since the test says that {self.other} is better ({p})"
        if self.by_interval is not None and self.by_test != self.by_interval:
            if self.by_test:
                return f"unclear, since the test shows a difference ({p}) but the interval does not"
            return f"unclear, since the interval shows a difference but the test does not ({p})"
        return f"shown to differ ({p})" if self.by_test else "not shown to differ"

    @property
    def sentence(self) -> str:
        """The result in one sentence."""
        numbers = [abs(self.difference), *(() if np.isnan(self.interval).any() else self.gain)]
        if self.metric.unit == "%":
            numbers = [100 * number for number in numbers]
        # Three decimals, two where there is a unit, or more where one number would look like 0.
        smallest = min((abs(number) for number in numbers if number), default=1.0)
        fewest = 2 if self.metric.unit else 3
        digits = next(n for n in range(fewest, 7) if n == 6 or smallest >= 0.5 * 10**-n)
        distance, *ends = (f"{number:z.{digits}f}" for number in numbers)
        if ends:
            distance += f" [{', '.join(ends)}]"
        if self.metric.unit:
            distance += " percentage points" if self.metric.unit == "%" else f" {self.metric.unit}"
        images = f"{self.images} {self.noun}{'s' * (self.images > 1)}"
        if self.units != self.images:
            images += f" of {self.units} group{'s' * (self.units > 1)}"
        if abs(self.difference) < _NOISE:
            return f"{self.better} and {self.other} have the same {self.metric.heading} on {images}"
        return (
            f"{self.better} is better than {self.other} by {distance} in {self.metric.heading} on "
            f"{images}: {self.verdict}"
        )

    @property
    def gain(self) -> tuple[float, float]:
        """The interval with the sign turned where a lower value is better."""
        low, high = self.interval
        return (-high, -low) if self.metric.better == "lower" else (low, high)


class Ranking(NamedTuple):
    """How stable the order of at least three models is.

    Attributes:
        data: name of the data set.
        protocol, metric: the score.
        models: best first.
        shares: `(models, models)`: in which share of the resamples a model has rank 1, 2, ...
    """

    data: str
    protocol: str
    metric: Metric
    models: tuple[str, ...]
    shares: NDArray[np.float64]

    @property
    def sentence(self) -> str:
        """The ranking in one sentence."""
        first = ", ".join(
            f"{model} in {100 * shares[0]:.0f} %" for model, shares in zip(self.models, self.shares)
        )
        return f"Best {self.metric.heading} in the resamples (ties count for each): {first}"


def compare(
    rows: Sequence[RowScores], metrics: Mapping[str, Sequence[Metric]]
) -> tuple[list[Comparison], list[Ranking]]:
    """Compare all models that were scored on the same images.

    Args:
        rows: the scores of each model on each data set.
        metrics: the scores to compare, by protocol.
    """
    comparisons, rankings = [], []
    for data, same in _on_same_images(rows):
        for protocol, of_protocol in metrics.items():
            for metric in of_protocol:
                if metric.better == "neither" or any(
                    math.isnan(row.total[protocol][metric.key]) for row in same
                ):
                    continue
                comparisons += _pairs(data, same, protocol, metric)
                if len(same) > 2:
                    rankings += _ranking(data, same, protocol, metric)
    return comparisons, rankings


def _on_same_images(rows: Sequence[RowScores]) -> list[tuple[str, list[RowScores]]]:
    """Rows with the same images, masks and groups, at least two, with a name for the data."""
    if len(rows) < 2:
        return []
    found: dict[tuple[object, ...], list[RowScores]] = {}
    for row in rows:
        groups = None if row.group_of_image is None else tuple(row.group_of_image)
        found.setdefault((_images_of(row.source), groups, row.rules.masks), []).append(row)
    several = [same for same in found.values() if len(same) > 1]
    names = [same[0].source.data for same in several]
    return [
        (name if names.count(name) == 1 else str(same[0].source.items[0].mask.parent), same)
        for name, same in zip(names, several)
    ]


def _images_of(source: Source) -> tuple[tuple[str, str, str], ...]:
    """The name of each image, and where its mask is."""
    folders = {item.mask.parent: "" for item in source.items}
    folders = {folder: os.path.realpath(folder) for folder in folders}
    return tuple((item.stem, folders[item.mask.parent], item.mask.name) for item in source.items)


def note_not_compared(sources: Sequence[Source], noun: str) -> None:
    """Say with a `Note` which models are not compared, although the name of their data is the same.

    Args:
        sources: what is scored.
        noun: what has a score, "image" or "patient".
    """
    models: dict[str, dict[object, str]] = {}
    for source in sources:
        models.setdefault(source.data, {}).setdefault(_images_of(source), source.model)
    for data, different in models.items():
        if len(different) > 1:
            names = list(different.values())
            warnings.warn(
                f"{', '.join(names[:-1])} and {names[-1]} are scored on different {noun}s of "
                f"{data}, so they are not compared (`stems` chooses the same for all)",
                Note,
                stacklevel=2,
            )


def _pairs(data: str, rows: Sequence[RowScores], protocol: str, metric: Metric) -> list[Comparison]:
    found = []
    for first, second in combinations(rows, 2):
        values = [row.total[protocol][metric.key] for row in (first, second)]
        if metric.better == "lower":
            values = [-value for value in values]
        better, other = (first, second) if values[0] >= values[1] else (second, first)
        difference = better.resampled[protocol][metric.key] - other.resampled[protocol][metric.key]
        p, favours_other = np.nan, False
        if not metric.reduce and better.units > 1:
            differences = _unit_means(better, protocol, metric)
            differences -= _unit_means(other, protocol, metric)
            p, side = signed_rank(differences if metric.better == "higher" else -differences)
            favours_other = side < 0
        found.append(
            Comparison(
                data,
                protocol,
                metric,
                better.source.model,
                other.source.model,
                better.total["n"],
                better.units,
                better.total[protocol][metric.key] - other.total[protocol][metric.key],
                interval(difference),
                p,
                np.nan,
                first.noun,
                favours_other,
            )
        )
    corrected = holm([pair.p for pair in found])
    return [pair._replace(p_holm=float(p)) for pair, p in zip(found, corrected)]


def _unit_means(row: RowScores, protocol: str, metric: Metric) -> NDArray[np.float64]:
    """The score of each unit: of an image, or the mean over the images of a group."""
    values = np.array([getattr(result.scores, protocol)[metric.key] for result in row.named])
    if row.group_of_image is None:
        return values
    groups = np.array(row.group_of_image)
    means = []
    for group in np.unique(groups):
        of_group = values[groups == group]
        of_group = of_group[~np.isnan(of_group)]
        means.append(of_group.mean() if of_group.size else np.nan)
    return np.array(means)


def signed_rank(differences: ArrayLike) -> tuple[float, float]:
    """Wilcoxon's signed-rank test, two-sided.

    Args:
        differences: `(n,)`; nan and 0 (up to 1e-9) are left out, as Wilcoxon did.

    Returns:
        p-value in [0, 1], 1 if all differences are 0, nan if there are none; and the side that
        has the larger sum of ranks, 1 for positive differences, -1 for negative ones, or 0.
    """
    values = np.asarray(differences, np.float64)
    values = values[~np.isnan(values)]
    if not values.size:
        return math.nan, 0.0
    values = values[np.abs(values) > _NOISE]
    if not values.size:
        return 1.0, 0.0
    from scipy import stats  # takes a second or more, which one model alone need not wait for

    side = float(np.sign(np.sign(values) @ stats.rankdata(np.abs(values))))
    return float(stats.wilcoxon(values).pvalue), side


def holm(p: ArrayLike) -> NDArray[np.float64]:
    """p-values corrected for their number, so that one of them is below a level by chance with at
    most the probability of this level (Holm, "A simple sequentially rejective multiple test
    procedure", 1979).

    Args:
        p: `(m,)`; nan stays nan and is not counted.

    >>> holm([0.01, 0.04, 0.03])
    array([0.03, 0.06, 0.06])
    """
    values = np.asarray(p, np.float64)
    corrected = np.full(values.shape, np.nan)
    order = np.argsort(values)  # nan last
    order = order[: np.count_nonzero(~np.isnan(values))]
    steps = values[order] * np.arange(order.size, 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return corrected


def _ranking(data: str, rows: Sequence[RowScores], protocol: str, metric: Metric) -> list[Ranking]:
    """The ranking; none if the score has no interval."""
    sign = -1.0 if metric.better == "lower" else 1.0
    order = sorted(rows, key=lambda row: -sign * row.total[protocol][metric.key])
    resampled = sign * np.stack([row.resampled[protocol][metric.key] for row in order])
    resampled = resampled[:, ~np.isnan(resampled).any(axis=0)]
    if not resampled.size:
        return []
    # The rank of a model is 1 + the number of better ones.
    ranks = (resampled[None] > resampled[:, None]).sum(axis=1)
    shares = np.stack([(ranks == rank).mean(axis=1) for rank in range(len(order))], axis=1)
    names = tuple(row.source.model for row in order)
    return [Ranking(data, protocol, metric, names, shares)]

"""Confidence intervals by the bootstrap (Efron, 1979): how much a score of a data set would vary if
other images had been drawn.

Whole units are drawn with replacement: images, or patients with all of their images (the cluster
bootstrap, Field & Welsh, 2007). Each number of the tables is computed again for each draw, also the
maxima of mean curves. The interval runs from the 2.5 % to the 97.5 % quantile (the percentile
interval).
"""

import functools
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .means import Scores, Values, WeightedMeans

RESAMPLES = 10_000
LEVEL = 0.95
SEED = 0
FEW_UNITS = 50  # with fewer, the interval is too short too often

_BLOCK = 1_000  # resamples whose weights are in memory at once
_MOST_KEPT = 20_000_000  # counts that are kept for the next call


def resample_weights(
    units: int, resamples: int = RESAMPLES, seed: int = SEED
) -> Iterator[NDArray[np.float64]]:
    """How often each unit is drawn in each resample.

    The same arguments give the same weights, so that models can be compared resample by resample.

    Args:
        units: number of units; as many are drawn, with replacement.
        resamples: number of resamples.
        seed: of the draw.

    Yields:
        Blocks `(at most 1000, units)` of counts; each row sums to `units`.

    >>> next(resample_weights(3, 2)).sum(axis=1)
    array([3., 3.])
    """
    keep = units * resamples <= _MOST_KEPT
    for counts in (_kept_counts if keep else _counts)(units, resamples, seed):
        yield counts.astype(np.float64)


def _counts(units: int, resamples: int, seed: int) -> Iterator[NDArray[np.uint16]]:
    rng = np.random.default_rng(seed)
    for start in range(0, resamples, _BLOCK):
        rows = min(_BLOCK, resamples - start)
        drawn = rng.integers(0, units, (rows, units))
        drawn += np.arange(rows)[:, None] * units
        counts = np.bincount(drawn.ravel(), minlength=rows * units)
        yield counts.reshape(rows, units).astype(np.uint16)


@functools.lru_cache(maxsize=3)
def _kept_counts(units: int, resamples: int, seed: int) -> list[NDArray[np.uint16]]:
    """Models on the same images, and parts of the same size, have the same weights."""
    return list(_counts(units, resamples, seed))


def bootstrap(
    images: Sequence[Scores],
    units: ArrayLike | None = None,
    keys: dict[str, Sequence[str]] | None = None,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> Values:
    """The scores of each resample of a data set.

    A score that fewer than two units define is nan: how much it varies is not known.

    Args:
        images: the scores of its images.
        units: for each image the name of the unit that is drawn, such as a patient; default: the
            images themselves.
        keys: the scores that are wanted, by protocol; default: all.
        resamples, seed: as for `resample_weights`.

    Returns:
        By protocol and key, each `(resamples,)`; nan in a resample that does not define the score.
    """
    return resample(WeightedMeans(images, units, keys), resamples, seed)


def resample(means: WeightedMeans, resamples: int = RESAMPLES, seed: int = SEED) -> Values:
    """`bootstrap` of images whose scores are in a matrix already."""
    blocks = [means(weights) for weights in resample_weights(means.units, resamples, seed)]
    return {
        protocol: {
            key: np.concatenate([block[protocol][key] for block in blocks])
            if units_of_score > 1
            else np.full(resamples, np.nan)
            for key, units_of_score in of_protocol.items()
        }
        for protocol, of_protocol in means.defined.items()
    }


def interval(resampled: ArrayLike, level: float = LEVEL) -> tuple[float, float]:
    """The percentile interval of a number.

    Args:
        resampled: `(R,)`, the number in each resample; nan where it is not defined.
        level: share of the resamples inside the interval.

    Returns:
        Low and high; nan if no resample defines the number, or if all have the same number: that
        says nothing about other images (all of 57 lesions found is no proof that all are).

    >>> [round(end, 6) for end in interval(range(1001))]
    [25.0, 975.0]
    """
    values = np.asarray(resampled, np.float64)
    values = values[~np.isnan(values)]
    if not values.size or np.ptp(values) < 1e-12:
        return np.nan, np.nan
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)

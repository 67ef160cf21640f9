"""The scores of a data set from those of its images or volumes, for any weights of these.

The plain scores give each image the weight 1. A bootstrap (`metrics/bootstrap.py`) gives each image
the number of times that it was drawn.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .image_scores import ImageScores
from .table import METRICS, VOLUME_METRICS, Metric
from .volume import VolumeScores

Scores = ImageScores | VolumeScores
Values = dict[str, dict[str, NDArray[np.float64]]]


class Layout:
    """Where the numbers of an image stand in one row of a matrix.

    A score takes one column. A score that is computed from the mean of an array over the images,
    such as a maximum of the mean curve, takes a column for each element of the array.

    Args:
        scores: of any image, or any volume, of the data set.
        keys: the scores that are wanted, by protocol; default: all.
    """

    def __init__(self, scores: Scores, keys: dict[str, Sequence[str]] | None = None) -> None:
        self._parts: list[tuple[str, Metric, slice]] = []
        self.width = 0
        table = VOLUME_METRICS if isinstance(scores, VolumeScores) else METRICS
        self._protocols = tuple(table)
        for protocol, metrics in table.items():
            for metric in metrics:
                if metric.key not in getattr(scores, protocol):
                    continue
                if keys is not None and metric.key not in keys[protocol]:
                    continue
                size = np.size(_of_image(scores, protocol, metric))
                self._parts.append((protocol, metric, slice(self.width, self.width + size)))
                self.width += size

    def row(self, scores: Scores) -> NDArray[np.float64]:
        """The numbers of an image, `(width,)`; nan where a score is not defined."""
        row = np.empty(self.width)
        for protocol, metric, part in self._parts:
            row[part] = np.ravel(_of_image(scores, protocol, metric))
        return row

    def values(self, means: NDArray[np.float64]) -> Values:
        """The scores of a data set from the means of its rows.

        Args:
            means: `(..., width)`: means of the columns over the images that define them.

        Returns:
            By protocol and key, each `(...)`; nan for a score that no image defines.
        """
        values: Values = {protocol: {} for protocol in self._protocols}
        for protocol, metric, part in self._parts:
            columns = means[..., part]
            values[protocol][metric.key] = (
                metric.reduce(columns) if metric.reduce else columns[..., 0]
            )
        return values

    def counts(self, counts: NDArray[np.intp]) -> dict[str, dict[str, int]]:
        """Numbers of columns, `(width,)`, as numbers of scores: the smallest of its columns."""
        found: dict[str, dict[str, int]] = {protocol: {} for protocol in self._protocols}
        for protocol, metric, part in self._parts:
            found[protocol][metric.key] = int(counts[part].min())
        return found


def _of_image(scores: Scores, protocol: str, metric: Metric) -> float | NDArray[np.float64]:
    if metric.reduce and isinstance(scores, ImageScores):
        return scores.arrays[protocol][metric.key]
    value: float = getattr(scores, protocol)[metric.key]
    return value


class WeightedMeans:
    """The scores of a data set, for many weights at once.

    Args:
        images: the scores of its images, at least one.
        units: for each image the name of the unit that it belongs to, such as a patient; default:
            each image is its own unit.
        keys: as for `Layout`.

    Attributes:
        units: number of units.
        defined: by protocol and key, how many units define the score.
    """

    def __init__(
        self,
        images: Sequence[Scores],
        units: ArrayLike | None = None,
        keys: dict[str, Sequence[str]] | None = None,
    ) -> None:
        self._layout = Layout(images[0], keys)
        numbers = np.stack([self._layout.row(image) for image in images])  # (images, width)
        defined = ~np.isnan(numbers)
        sums, counts = np.where(defined, numbers, 0.0), defined.astype(np.float64)
        if units is not None:
            names, index = np.unique(np.asarray(units), return_inverse=True)
            sums, counts = (_add_by_unit(part, index, names.size) for part in (sums, counts))
        self.units = len(sums)
        self.defined = self._layout.counts(np.count_nonzero(counts, axis=0))
        self._sums = sums
        # Most columns are defined for the same images: each kind of column is counted once.
        kinds = {column.tobytes(): column for column in counts.T}
        place = {key: index for index, key in enumerate(kinds)}
        self._counts = np.stack(list(kinds.values()), axis=1)
        self._kind = [place[column.tobytes()] for column in counts.T]

    def __call__(self, weights: NDArray[np.float64]) -> Values:
        """The scores if unit j counts `weights[i, j]` times.

        Args:
            weights: `(R, units)`, at least 0.

        Returns:
            By protocol and key, each `(R,)`; nan where no image with a weight defines the score.
        """
        totals, counts = weights @ self._sums, weights @ self._counts
        with np.errstate(invalid="ignore"):  # 0 / 0
            totals /= counts[:, self._kind]
        return self._layout.values(totals)


def _add_by_unit(
    rows: NDArray[np.float64], index: NDArray[np.intp], units: int
) -> NDArray[np.float64]:
    sums = np.zeros((units, rows.shape[1]))
    np.add.at(sums, index, rows)
    return sums

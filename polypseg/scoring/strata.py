"""Parts of a data set, such as the images with small lesions: their scores, and intervals."""

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from polypseg.data.groups import group_names
from polypseg.data.preparation import PATIENT
from polypseg.errors import InputError, Note, expect, of_argument
from polypseg.metrics import ImageScores
from polypseg.metrics.bootstrap import interval, resample
from polypseg.metrics.means import WeightedMeans

from .columns import (
    GROUP,
    MOST_VALUES,
    SIZE,
    Column,
    as_numbers,
    columns_of,
    read_columns,
)
from .sources import Source

_NO_LESION = "no foreground"

_Part = tuple[str, tuple[float, float] | None, list[int]]  # name, limits, indices of images
Numbers = dict[str, dict[str, float]]
Intervals = dict[str, dict[str, tuple[float, float]]]


class Stratum(NamedTuple):
    """Some images of a data set.

    Attributes:
        name: such as "small", or a value of a column.
        limits: smallest and largest value in it, if it is a part of a range; else None. Of sizes:
            the share of the image's pixels.
        images: how many.
        values: the scores, by protocol and key.
        intervals: of the scores.
    """

    name: str
    limits: tuple[float, float] | None
    images: int
    values: Numbers
    intervals: Intervals


def divide(sources: Sequence[Source], group_by: str | None, strata: str | None) -> None:
    """Give each source the groups and the properties of its images.

    Args:
        sources: what is scored.
        group_by: a column of the CSV file, or a regular expression that finds the group in a stem,
            see `data.groups.group_names`; default: that of the run, else the patients of slices of
            volumes, if it fits the stems.
        strata: a CSV file, see `read_columns`.

    Raises:
        InputError: a regular expression or a file that does not fit the images.
    """
    columns = read_columns(strata) if strata else []
    for source in sources:
        stems = [item.stem for item in source.items]
        of_run = (source.config or {}).get("group_by") or (source.preparation and PATIENT)
        if strata:
            source.columns = columns_of(columns, stems, strata, group_by)
        of_file = [column for column in source.columns if column.name == group_by]
        if of_file:
            source.groups = of_file[0].value_of
            source.columns = [column for column in source.columns if column.name != group_by]
            unknown = [stem for stem, group in source.groups.items() if not group]
            expect(not unknown, "group_by", f"a {group_by} for each image in {strata}", unknown[:3])
        elif any(column.name == GROUP for column in source.columns) and (group_by or of_run):
            raise InputError(f"expected another name of a column than {GROUP}", "strata")
        elif group_by:
            with of_argument("group_by"):
                source.groups = group_names(stems, group_by)
        elif of_run:
            try:
                source.groups = group_names(stems, of_run)
            except InputError:
                note = (
                    f"the run's groups ({of_run}) are not in the names of {source.data}: intervals "
                    "are by image"
                )
                warnings.warn(note, Note, stacklevel=2)
        if source.groups and len(set(source.groups.values())) == 1 < len(stems):
            note = f"all {len(stems)} images of {source.data} are in one group: no intervals"
            warnings.warn(note, Note, stacklevel=2)


def stratify(
    stems: Sequence[str],
    scores: Sequence[ImageScores],
    columns: Sequence[Column],
    groups: Mapping[str, str] | None,
    keys: dict[str, Sequence[str]],
) -> dict[str, list[Stratum]]:
    """The scores of the parts of a data set, by property.

    The images with foreground are divided into three equal parts by the size of the foreground,
    and into the groups, if there are any, and by each column: into its values, or into three equal
    parts if it has more than 20 numbers.

    The interval of a group is by image, all others by group if there are groups, else by image.

    Args:
        stems: of the images.
        scores: of the images, in the same order.
        columns: with the values of these images.
        groups: by stem.
        keys: the scores that are wanted, by protocol.
    """

    def strata(parts: Sequence[_Part], group_of: Mapping[str, str] | None) -> list[Stratum]:
        return [
            _stratum(
                name,
                limits,
                [scores[index] for index in chosen],
                [group_of[stems[index]] for index in chosen] if group_of else None,
                keys,
            )
            for name, limits, chosen in parts
        ]

    found = {}
    areas = np.array([image.area for image in scores])
    parts = _thirds(areas, np.flatnonzero(areas), ("small", "medium", "large"))
    empty = np.flatnonzero(areas == 0)
    if empty.size:
        parts.append((_NO_LESION, None, empty.tolist()))
    found[SIZE] = strata(parts, groups)
    if groups:
        found[GROUP] = strata(_by_value([groups[stem] for stem in stems]), None)
    for column in columns:
        values = [column.value_of[stem] for stem in stems]
        numbers = as_numbers(values)
        if numbers is not None and len(set(values)) > MOST_VALUES:
            known = np.flatnonzero(~np.isnan(numbers))
            parts = _thirds(numbers, known, ("low", "middle", "high"))
            unknown = np.flatnonzero(np.isnan(numbers))
            if unknown.size:
                parts.append(("unknown", None, unknown.tolist()))
        else:
            parts = _by_value([value or "unknown" for value in values])
        found[column.name] = strata(parts, groups)
    return found


def _thirds(
    values: NDArray[np.float64], chosen: NDArray[np.intp], names: tuple[str, str, str]
) -> list[_Part]:
    """Three parts of about equal size; equal values are in one part. Parts may be missing."""
    if not chosen.size:
        return []
    limits = np.quantile(values[chosen], [1 / 3, 2 / 3])
    part_of = np.searchsorted(limits, values[chosen])
    return [
        (name, (float(values[members].min()), float(values[members].max())), members.tolist())
        for part, name in enumerate(names)
        if (members := chosen[part_of == part]).size
    ]


def _by_value(values: Sequence[str]) -> list[_Part]:
    return [
        (value, None, [index for index, other in enumerate(values) if other == value])
        for value in sorted(set(values), key=_by_number)
    ]


def _by_number(value: str) -> tuple[float, str]:
    try:
        return float(value), value
    except ValueError:
        return math.inf, value


def _stratum(
    name: str,
    limits: tuple[float, float] | None,
    scores: Sequence[ImageScores],
    units: Sequence[str] | None,
    keys: dict[str, Sequence[str]],
) -> Stratum:
    means = WeightedMeans(scores, units, keys)
    values = means(np.ones((1, means.units)))
    resampled = resample(means)
    return Stratum(
        name,
        limits,
        len(scores),
        {
            protocol: {key: float(value[0]) for key, value in part.items()}
            for protocol, part in values.items()
        },
        {
            protocol: {key: interval(value) for key, value in part.items()}
            for protocol, part in resampled.items()
        },
    )

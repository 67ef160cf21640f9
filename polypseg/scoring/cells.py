"""The cells of the tables, as plain text."""

import math
from collections.abc import Mapping, Sequence

from polypseg.metrics.table import Metric

from .row_scores import RowScores
from .source_scores import PROTOCOLS, SourceScores
from .strata import Intervals
from .words import on_one_line, stratum_name

NAMES = 2  # columns of text, model and data, before those of numbers

_MOST_PARTS = 30  # of a property that has a table

Cells = list[list[str]]


def shown_metrics(protocol: str, rows: Sequence[RowScores]) -> list[Metric]:
    """The metrics of a protocol, or of "lesions", that have a column and were computed."""
    return [
        metric
        for metric in rows[0].tables[protocol]
        if metric.column and metric.key in rows[0].total[protocol]
    ]


def headings(protocol: str, rows: Sequence[SourceScores]) -> list[str]:
    """The headings of a table, as plain text."""
    names = (metric.heading for metric in shown_metrics(protocol, rows))
    return ["model", "data", "images", *names]


def cells(rows: Sequence[SourceScores], protocol: str, digits: int) -> Cells:
    """The cells of a table, as plain text: for each source its names and numbers."""
    return [
        [
            *names_of(row),
            str(row.total["n"]),
            *_numbers(row.total, shown_metrics(protocol, rows), protocol, digits),
        ]
        for row in rows
    ]


def interval_cells(rows: Sequence[SourceScores], protocol: str, digits: int) -> Cells:
    """The 95 % intervals of the numbers of `cells`, such as "[0.861, 0.915]"; "" without one."""
    return [
        ["", "", "", *_intervals(row.intervals, shown_metrics(protocol, rows), protocol, digits)]
        for row in rows
    ]


def names_of(row: RowScores) -> list[str]:
    """The names of model and data set."""
    return [on_one_line(row.source.model), on_one_line(row.source.data)]


def _numbers(
    values: Mapping[str, Mapping[str, float]], metrics: Sequence[Metric], protocol: str, digits: int
) -> list[str]:
    return [_format(values[protocol][metric.key], digits) for metric in metrics]


def _intervals(
    intervals: Intervals, metrics: Sequence[Metric], protocol: str, digits: int
) -> list[str]:
    found = []
    for metric in metrics:
        low, high = (_format(value, digits) for value in intervals[protocol][metric.key])
        found.append("" if low == "-" else f"[{low}, {high}]")
    return found


def _format(value: float, digits: int) -> str:
    """A number with fewer decimals where it has several digits before the point."""
    if math.isnan(value):
        return "-"
    return f"{value:.{max(digits + 1 - len(str(int(abs(value)))), 0)}f}"


def best_cells(rows: Sequence[RowScores], lines: Cells, protocol: str) -> set[tuple[int, int]]:
    """`(row, column)` of the best numbers, as printed, of each data set with several models."""
    best = set()
    for data in {row.source.data for row in rows}:
        same = [index for index, row in enumerate(rows) if row.source.data == data]
        for column, metric in enumerate(shown_metrics(protocol, rows), start=NAMES + 1):
            # The number alone, if its standard deviation stands behind it.
            values = {
                index: float(lines[index][column].split()[0])
                for index in same
                if lines[index][column] != "-"
            }
            if len(values) > 1 and metric.better != "neither":
                target = (min if metric.better == "lower" else max)(values.values())
                best |= {(index, column) for index, value in values.items() if value == target}
    return best


def lesion_headings(rows: Sequence[SourceScores]) -> list[str]:
    """The headings of the table of lesions, as plain text."""
    names = (metric.heading for metric in shown_metrics("lesions", rows))
    return ["model", "data", "lesions", "empty masks", *names]


def lesion_cells(rows: Sequence[SourceScores], digits: int) -> tuple[Cells, Cells]:
    """The cells of the table of lesions, as plain text: names and numbers, and their intervals."""
    metrics = shown_metrics("lesions", rows)
    return (
        [
            [
                *names_of(row),
                str(row.lesion_counts.lesions),
                str(row.empty),
                *_numbers(row.total, metrics, "lesions", digits),
            ]
            for row in rows
        ],
        [["", "", "", "", *_intervals(row.intervals, metrics, "lesions", 3)] for row in rows],
    )


def strata_headings(rows: Sequence[SourceScores]) -> list[str]:
    """The headings of the table of strata, as plain text."""
    metrics = [shown_metrics(protocol, rows)[0] for protocol in PROTOCOLS]
    names = (f"{metric.heading} ({protocol})" for metric, protocol in zip(metrics, PROTOCOLS))
    return ["model", "data", "part", "images", *names]


def strata_cells(rows: Sequence[SourceScores], name: str, digits: int) -> Cells:
    """The cells of the table of the parts of a property, as plain text."""
    return [
        [
            *names_of(row),
            on_one_line(stratum_name(stratum, name)),
            str(stratum.images),
            *(
                joined(number, between)
                for protocol in PROTOCOLS
                for metrics in [shown_metrics(protocol, rows)[:1]]
                for number, between in zip(
                    _numbers(stratum.values, metrics, protocol, digits),
                    _intervals(stratum.intervals, metrics, protocol, digits),
                )
            ),
        ]
        for row in rows
        for stratum in row.strata.get(name, ())
    ]


def strata_names(rows: Sequence[SourceScores]) -> list[str]:
    """The properties by which a data set is divided, but for those with too many parts."""
    names = dict.fromkeys(name for row in rows for name in row.strata)
    return [name for name in names if not _has_many_parts(name, rows)]


def left_out_strata(rows: Sequence[SourceScores]) -> list[str]:
    """A line for each property that has too many parts for a table."""
    names = dict.fromkeys(name for row in rows for name in row.strata)
    return [
        f"By {name}: {max(len(row.strata.get(name, ())) for row in rows)} parts, in metrics.json"
        for name in names
        if _has_many_parts(name, rows)
    ]


def _has_many_parts(name: str, rows: Sequence[SourceScores]) -> bool:
    return any(len(row.strata.get(name, ())) > _MOST_PARTS for row in rows)


def joined(number: str, between: str) -> str:
    """A number and its interval in one cell."""
    return f"{number} {between}".rstrip()

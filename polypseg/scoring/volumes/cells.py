"""The cells of the tables of patients, as plain text: shares as percentages, like in papers."""

import math
from collections.abc import Sequence

from polypseg.metrics.table import Metric

from ..cells import NAMES, Cells, joined, names_of, shown_metrics
from .rows import PROTOCOL, PatientResult, VolumeRow

DIGITS = 2  # as in 81.48 ± 6.23


def volume_headings(rows: Sequence[VolumeRow], latex: bool = False) -> list[str]:
    """The headings of the table, as plain text or as LaTeX."""
    names = []
    for metric in shown_metrics(PROTOCOL, rows):
        unit = r"\%" if latex and metric.unit == "%" else metric.unit
        names.append(f"{metric.latex if latex else metric.heading} ({unit})")
    return [*(("Model", "Data", "Patients") if latex else ("model", "data", "patients")), *names]


def volume_cells(rows: Sequence[VolumeRow], deviations: bool = True) -> Cells:
    """For each source its names, the number of patients, and "mean ± standard deviation".

    Args:
        rows: the scores of each source.
        deviations: whether the standard deviations are in the cells.
    """
    return [
        [*names_of(row), str(row.total["n"])]
        + [
            joined(number(row.total[PROTOCOL][metric.key], metric), deviation * deviations)
            for metric in shown_metrics(PROTOCOL, rows)
            for deviation in [_deviation(row, metric)]
        ]
        for row in rows
    ]


def volume_notes_cells(rows: Sequence[VolumeRow]) -> Cells:
    """What stands below a mean alone: "± standard deviation" and the interval, on two lines."""
    metrics = shown_metrics(PROTOCOL, rows)
    return [
        [
            *line[: NAMES + 1],
            *(
                f"{_deviation(row, metric)}\n{cell}"
                for metric, cell in zip(metrics, line[NAMES + 1 :])
            ),
        ]
        for row, line in zip(rows, volume_interval_cells(rows))
    ]


def _deviation(row: VolumeRow, metric: Metric) -> str:
    deviation = number(row.spread[metric.key].deviation, metric)
    return "" if deviation == "-" else f"± {deviation}"


def volume_interval_cells(rows: Sequence[VolumeRow]) -> Cells:
    """The 95 % intervals of the means, such as "[78.10, 84.42]"; "" without one."""
    return [
        [""] * (NAMES + 1)
        + [
            "" if math.isnan(low) else f"[{number(low, metric)}, {number(high, metric)}]"
            for metric in shown_metrics(PROTOCOL, rows)
            for low, high in [row.intervals[PROTOCOL][metric.key]]
        ]
        for row in rows
    ]


def range_headings(rows: Sequence[VolumeRow], latex: bool = False) -> list[str]:
    """The headings of the table of ranges."""
    heads = volume_headings(rows, latex)
    return [*heads[:NAMES], "Value" if latex else "value", *heads[NAMES + 1 :]]


def range_cells(rows: Sequence[VolumeRow]) -> Cells:
    """For each source three lines: its names, and the lowest, median and highest of each score."""
    return [
        [*names_of(row), name]
        + [
            number(getattr(row.spread[metric.key], part), metric)
            for metric in shown_metrics(PROTOCOL, rows)
        ]
        for row in rows
        for name, part in (("lowest", "low"), ("median", "median"), ("highest", "high"))
    ]


def patient_cells(row: VolumeRow, result: PatientResult) -> list[str]:
    """Name, true and predicted ml, and the scores of a patient."""
    scores = result.scores
    return [
        result.stem,
        f"{scores.truth_ml:.{DIGITS}f}",
        f"{scores.predicted_ml:.{DIGITS}f}",
        *(number(scores.volume[metric.key], metric) for metric in shown_metrics(PROTOCOL, [row])),
    ]


def number(value: float, metric: Metric) -> str:
    """A value as tables print it; "-" if it is not defined."""
    if math.isnan(value):
        return "-"
    return f"{value * (100 if metric.unit == '%' else 1):z.{DIGITS}f}"

"""`report.html` of volumes: tables, charts, slices of the worst patients, and every patient."""

import html
import json
from collections.abc import Mapping, Sequence
from typing import Any

from polypseg.drawing.colours import PREDICTION, TRUTH, to_hex

from ..cells import NAMES, best_cells, shown_metrics
from ..page import SHORT, config_of, fill, glossary, headline_card, plain_table, scored_on, title
from .cells import (
    DIGITS,
    range_cells,
    range_headings,
    volume_cells,
    volume_headings,
    volume_notes_cells,
)
from .rows import PROTOCOL, PatientResult, VolumeRow
from .tables import RANGES


def volume_report(rows: Sequence[VolumeRow], environment: Mapping[str, str]) -> str:
    """The page as text.

    Args:
        rows: the scores of each source, with examples.
        environment: versions and machine, shown as they are.
    """
    patients = sum({row.source.data: row.total["n"] for row in rows}.values())
    counted = f"{patients} patient{'s' * (patients > 1)}"
    numbers = volume_cells(rows, deviations=False)
    best = best_cells(rows, numbers, PROTOCOL)
    return fill(
        "volumes.html",
        [_source_data(row, environment) for row in rows],
        title=html.escape(title(rows)),
        subtitle=html.escape(f"{counted}, scored by volume. {scored_on(rows)}."),
        headline=headline_card(
            rows, PROTOCOL, volume_headings(rows), numbers, volume_notes_cells(rows), best
        ),
        ranges=_range_card(rows),
        glossary=glossary(rows, [PROTOCOL]),
        columns=json.dumps(_columns(rows)),
        truth=to_hex(TRUTH),
        prediction=to_hex(PREDICTION),
    )


def _range_card(rows: Sequence[VolumeRow]) -> str:
    if all(row.total["n"] == 1 for row in rows):
        return ""
    lines = [[html.escape(cell) for cell in line] for line in range_cells(rows)]
    table = plain_table(range_headings(rows), lines, NAMES + 1, len(rows) == 1)
    return f'<section class="card"><h2>{RANGES}</h2>{table}</section>'


def _columns(rows: Sequence[VolumeRow]) -> list[tuple[str | int, ...]]:
    """The columns of the table of patients: key, heading, number of digits, factor."""
    scores = [
        (
            metric.key,
            f"{SHORT.get(metric.heading, metric.heading)} {metric.unit}",
            DIGITS,
            100 if metric.unit == "%" else 1,
        )
        for metric in shown_metrics(PROTOCOL, rows)
    ]
    return [
        ("stem", "patient"),
        ("size", "true ml", DIGITS),
        ("predicted", "predicted ml", DIGITS),
        *scores,
    ]


def _source_data(row: VolumeRow, environment: Mapping[str, str]) -> dict[str, Any]:
    """What the page's script shows of one source."""
    return {
        "model": row.source.model,
        "data": row.source.data,
        "images": [_patient_data(result) for result in row.results],
        "gallery": [example._asdict() for example in row.examples],
        "config": config_of(row, environment),
    }


def _patient_data(result: PatientResult) -> dict[str, Any]:
    scores = result.scores
    numbers = {key: round(value, 5) for key, value in scores.volume.items()}
    size, predicted = round(scores.truth_ml, 4), round(scores.predicted_ml, 4)
    return {"stem": result.stem, "size": size, "predicted": predicted} | numbers

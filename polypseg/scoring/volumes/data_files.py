"""Scores of patients as JSON and as CSV, for programs."""

import math
from collections.abc import Sequence
from typing import Any

from polypseg.files import csv_text

from ..data_files import bootstrap_facts, results_json
from .rows import PROTOCOL, VolumeRow


def volume_metrics_json(rows: Sequence[VolumeRow]) -> str:
    """The content of `metrics.json`, as `data_files.results_json` lays it out."""
    return results_json(rows, _content)


def _content(row: VolumeRow) -> dict[str, Any]:
    """Means over the patients, how the patients are distributed, intervals, and facts."""
    return row.total | {
        "distribution": {
            PROTOCOL: {
                key: {
                    "standard_deviation": spread.deviation,
                    "min": spread.low,
                    "median": spread.median,
                    "max": spread.high,
                }
                for key, spread in row.spread.items()
            }
        },
        "intervals": row.intervals,
        "bootstrap": bootstrap_facts(row),
        "patients_without_foreground": row.empty,
        "settings": {key: value for key, _, value in row.facts},
    }


def per_patient_csv(rows: Sequence[VolumeRow]) -> str:
    """A row for each patient. If there are several sources, a row begins with model and data. An
    undefined score is an empty cell.
    """
    several = len(rows) > 1
    heads = [*(("model", "data") if several else ()), "patient", *rows[0].total[PROTOCOL]]
    lines = []
    for row in rows:
        names = (row.source.model, row.source.data) if several else ()
        for result in row.results:
            scores = result.scores
            values = [*scores.volume.values(), scores.truth_ml, scores.predicted_ml]
            shown = ("" if math.isnan(value) else f"{value:.6f}" for value in values)
            lines.append([*names, result.stem, *shown])
    return csv_text([*heads, "truth_ml", "predicted_ml"], lines)

"""Scores as JSON and as CSV, for programs."""

import json
import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from polypseg.files import csv_text
from polypseg.metrics.bootstrap import FEW_UNITS, LEVEL, RESAMPLES, SEED
from polypseg.metrics.table import METRICS

from .comparison import Comparison, Ranking, compare
from .row_scores import RowScores
from .source_scores import SourceScores

Row = TypeVar("Row", bound=RowScores)


def metrics_json(rows: Sequence[SourceScores]) -> str:
    """The content of `metrics.json`, as `results_json` lays it out."""
    return results_json(rows, _content)


def results_json(rows: Sequence[Row], content_of: Callable[[Row], dict[str, Any]]) -> str:
    """The numbers of all sources as JSON.

    For one source these are its numbers alone. For several sources, "results" is a list of these,
    and there are "comparisons" and "rankings" of the models that were scored on the same images.
    NaN becomes null.

    Args:
        rows: the scores of each source.
        content_of: returns the numbers of one source.
    """
    content = content_of(rows[0])
    if len(rows) > 1:
        names = [{"model": row.source.model, "data": row.source.data} for row in rows]
        metrics = {
            protocol: [metric for metric in of_protocol if metric.key in rows[0].total[protocol]]
            for protocol, of_protocol in rows[0].tables.items()
        }
        comparisons, rankings = compare(rows, metrics)
        content = {
            "results": [name | content_of(row) for name, row in zip(names, rows)],
            "comparisons": [_comparison(pair) for pair in comparisons],
            "rankings": [_ranking(ranking) for ranking in rankings],
        }
    return json.dumps(without_nan(content), indent=2) + "\n"


def _content(row: SourceScores) -> dict[str, Any]:
    """The means, with the keys of `DataSetScores.result`, their intervals, the parts of the data
    set, and facts.
    """
    sums = row.calibration
    return row.total | {
        "intervals": row.intervals,
        "bootstrap": bootstrap_facts(row),
        "lesion_counts": row.lesion_counts._asdict() | {"images_without": row.empty},
        "calibration": {
            "pixels": sums[0].tolist(),
            "mean_probability": _divide(sums[1], sums[0]),
            "share_of_foreground": _divide(sums[2], sums[0]),
        },
        "strata": {
            name: [
                {"name": part.name, "limits": part.limits, "n": part.images}
                | part.values
                | {"intervals": part.intervals}
                for part in parts
            ]
            for name, parts in row.strata.items()
        },
        "settings": {key: value for key, _, value in row.facts},
    }


def bootstrap_facts(row: RowScores) -> dict[str, Any]:
    """How the intervals were drawn."""
    units = f"{row.noun}s" if row.group_of_image is None else "groups"
    return {
        "level": LEVEL,
        "resamples": RESAMPLES,
        "seed": SEED,
        "drawn": units,
        units: row.units,
        "reliable": row.units >= FEW_UNITS,
        "defined_by_fewer": {
            part: {key: count for key, count in counts.items() if count < row.units}
            for part, counts in row.defined.items()
        },
    }


def _divide(sums: Any, counts: Any) -> list[float]:
    return [float(total / count) if count else math.nan for total, count in zip(sums, counts)]


def _comparison(pair: Comparison) -> dict[str, Any]:
    return {
        "data": pair.data,
        "protocol": pair.protocol,
        "score": pair.metric.key,
        "better": pair.better,
        "other": pair.other,
        f"{pair.noun}s": pair.images,
        "units": pair.units,
        "difference": pair.difference,
        "interval": pair.interval,
        "wilcoxon_p": pair.p,
        "holm_p": pair.p_holm,
        "test_favours": None if pair.by_test is None else pair.favoured_by_test,
        "verdict": pair.verdict,
    }


def _ranking(ranking: Ranking) -> dict[str, Any]:
    return {
        "data": ranking.data,
        "protocol": ranking.protocol,
        "score": ranking.metric.key,
        "models": ranking.models,
        "share_of_resamples_at_rank": ranking.shares.tolist(),
    }


def per_image_csv(rows: Sequence[SourceScores]) -> str:
    """A row for each image. If there are several sources, a row begins with model and data. An
    undefined score is an empty cell.
    """
    several = len(rows) > 1
    computed = rows[0].results[0].scores
    heads = [
        *(("model", "data") if several else ()),
        "stem",
        *computed.threshold,
        "mask_share",
        *(f"pranet_{key}" for key in computed.pranet),
        *(f"lesion_{key}" for key in computed.lesions),
        "lesions",
        "lesions_found",
        "components",
        *(("group",) if _has_groups(rows) else ()),
    ]
    lines = []
    for row in rows:
        names = (row.source.model, row.source.data) if several else ()
        for stem, scores, _ in row.results:
            values = [*scores.threshold.values(), scores.area]
            values += [*scores.pranet.values(), *scores.lesions.values()]
            group = (row.source.groups or {}).get(stem, "")
            counts = scores.lesion_counts[:3]
            line = [*names, stem, *map(_number, values), *counts]
            lines.append(line + [group] * _has_groups(rows))
    return csv_text(heads, lines)


def long_csv(rows: Sequence[SourceScores]) -> str:
    """A row for each image, model and score, as plotting and statistics programs read them."""
    heads = ["model", "data", "stem", "group", "protocol", "score", "value"]
    lines = []
    for row in rows:
        for stem, scores, _ in row.results:
            first = [
                row.source.model,
                row.source.data,
                stem,
                (row.source.groups or {}).get(stem, ""),
            ]
            for protocol in METRICS:
                for key, value in getattr(scores, protocol).items():
                    lines.append([*first, protocol, key, _number(value)])
    return csv_text(heads, lines)


def _has_groups(rows: Sequence[SourceScores]) -> bool:
    return any(row.source.groups for row in rows)


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.6f}"


def without_nan(value: Any) -> Any:
    """Replace each NaN by None, because JSON has no NaN."""
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value

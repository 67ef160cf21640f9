"""`report.html`: one file that opens offline, with tables, charts, example images and the numbers
of each image.
"""

import html
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from polypseg.drawing.colours import IGNORED, OUTLINE, to_hex
from polypseg.metrics.table import METRICS

from .cells import (
    NAMES,
    best_cells,
    cells,
    headings,
    interval_cells,
    left_out_strata,
    lesion_cells,
    lesion_headings,
    strata_cells,
    strata_headings,
    strata_names,
)
from .evaluation import Result
from .page import (
    SHORT,
    config_of,
    fill,
    glossary,
    headline_card,
    plain_table,
    scored_on,
    small,
    title,
)
from .source_scores import PROTOCOLS, SourceScores
from .words import (
    lesion_words,
    parts_note,
)


def report(rows: Sequence[SourceScores], environment: Mapping[str, str]) -> str:
    """The page as text.

    Args:
        rows: the scores of each source, with examples.
        environment: versions and machine, shown as they are.
    """
    images = sum({row.source.data: row.total["n"] for row in rows}.values())
    return fill(
        "report.html",
        [_source_data(row, environment) for row in rows],
        outline=to_hex(OUTLINE),
        ignored=_legend_of_ignored(rows),
        title=html.escape(title(rows)),
        subtitle=html.escape(f"{images} images, scored at the masks' own size. {scored_on(rows)}."),
        headline="\n".join(_headline(rows, protocol) for protocol in PROTOCOLS),
        parts=_lesion_card(rows) + _strata_card(rows),
        glossary=glossary(rows, (*PROTOCOLS, "lesions")),
        columns=json.dumps(_image_columns(rows)),
        of_pranet=html.escape(_note_on_pranet_columns(rows)),
    )


def _headline(rows: Sequence[SourceScores], protocol: str) -> str:
    """The table of one protocol."""
    lines = cells(rows, protocol, 3)
    intervals = interval_cells(rows, protocol, 3)
    best = best_cells(rows, lines, protocol)
    return headline_card(rows, protocol, headings(protocol, rows), lines, intervals, best)


def _legend_of_ignored(rows: Sequence[SourceScores]) -> str:
    if not any(row.rules.masks.ignore for row in rows):
        return ""
    return f'<span><i style="background:{to_hex(IGNORED)}"></i>ignored</span>'


def _lesion_card(rows: Sequence[SourceScores]) -> str:
    lines = [
        [f"{html.escape(cell)}{small(below)}" for cell, below in zip(line, intervals)]
        for line, intervals in zip(*lesion_cells(rows, 3))
    ]
    name, words = lesion_words(rows).split(": ", 1)
    table = plain_table(lesion_headings(rows), lines, NAMES, len(rows) == 1)
    return (
        f'<section class="card"><h2>{name}</h2>'
        f'<p class="soft">{html.escape(words[0].upper() + words[1:])}.</p>{table}</section>'
    )


def _strata_card(rows: Sequence[SourceScores]) -> str:
    tables = "".join(
        f"<h3>By {html.escape(name)}</h3>"
        + plain_table(
            strata_headings(rows),
            [[html.escape(cell) for cell in line] for line in strata_cells(rows, name, 3)],
            NAMES + 1,
            len(rows) == 1,
        )
        for name in strata_names(rows)
    )
    others = "".join(
        f'<p class="soft below">{html.escape(line)}.</p>'
        for line in (*left_out_strata(rows), *parts_note(rows))
    )
    return (
        '<section class="card"><h2>Parts of the data</h2><p class="soft">Size: the images with '
        "foreground in three equal parts, with the smallest and largest share of foreground.</p>"
        f"{tables}{others}</section>"
    )


def _image_scores(protocol: str, rows: Sequence[SourceScores]) -> Iterator[tuple[str, str, str]]:
    """Scores in the table of all images: heading, key in the page, key in `ImageScores`."""
    others = {metric.heading for metric in METRICS["threshold"]} if protocol == "pranet" else set()
    prefix = "pranet_" if protocol == "pranet" else ""  # as in per_image.csv
    for metric in METRICS[protocol]:
        if metric.per_image and metric.key in rows[0].total[protocol]:
            heading = SHORT.get(metric.heading, metric.heading)
            if metric.heading in others:
                heading = f"{heading} (pranet)"
            yield heading, prefix + metric.key, metric.key


def _image_columns(rows: Sequence[SourceScores]) -> list[tuple[str | int, ...]]:
    """The columns of the table of all images: key, heading and, if not 3, the number of digits."""
    scores = [
        (key, heading) for protocol in METRICS for heading, key, _ in _image_scores(protocol, rows)
    ]
    return [("stem", "image"), ("size", "size %", 2), *scores]


def _note_on_pranet_columns(rows: Sequence[SourceScores]) -> str:
    """A note on which columns of the table of all images belong to the protocol `pranet`."""
    names = [heading for heading, _, _ in _image_scores("pranet", rows)]
    return f"; {', '.join(names)}: protocol pranet" if names else ""


def _source_data(row: SourceScores, environment: Mapping[str, str]) -> dict[str, Any]:
    """What the page's script shows of one source."""
    curves = {"dice": "dice", "iou": "iou", "e": "e_measure"}
    return {
        "model": row.source.model,
        "data": row.source.data,
        "threshold": row.rules.threshold,
        "curves": {
            protocol: {short: _rounded(of_protocol[name]) for short, name in curves.items()}
            for protocol, of_protocol in row.curves.items()
        },
        "calibration": _calibration_data(row),
        "calibration_error": row.total["threshold"]["calibration_error"],
        "images": [_image_data(result, row) for result in row.results],
        "gallery": [example._asdict() for example in row.examples],
        "config": config_of(row, environment),
    }


def _calibration_data(row: SourceScores) -> list[dict[str, float]]:
    """Of each bin of probabilities: its share of the pixels, mean probability, foreground."""
    return [
        {
            "pixels": pixels / row.calibration[0].sum(),
            "probability": round(total / pixels, 5) if pixels else math.nan,
            "share": round(foreground / pixels, 5) if pixels else math.nan,
        }
        for pixels, total, foreground in row.calibration.T.tolist()
    ]


def _image_data(result: Result, row: SourceScores) -> dict[str, Any]:
    scores = result.scores
    numbers = {
        key: round(getattr(scores, protocol)[name], 5)
        for protocol in PROTOCOLS
        for _, key, name in _image_scores(protocol, [row])
    }
    return {"stem": result.stem, "size": round(100 * scores.area, 4)} | numbers


def _rounded(curve: np.ndarray) -> list[float]:
    return [round(float(value), 5) for value in curve]

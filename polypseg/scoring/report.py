"""`report.html`: one file that opens offline, with tables, charts, example images and the numbers
of each image.
"""

import html
import json
import math
import string
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from polypseg.drawing.colours import FALSE, HIT, IGNORED, MISSED, OUTLINE, to_hex
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
from .data_files import without_nan
from .evaluation import Result
from .source_scores import PROTOCOLS, SourceScores
from .words import (
    ON_INTERVALS,
    comparison_sentences,
    interval_note,
    lesion_words,
    parts_note,
    protocol_words,
)

_TEMPLATE = Path(__file__).with_name("report.html")
_SHORT = {"precision": "prec."}  # headings that are too long for the page


def report(rows: Sequence[SourceScores], environment: Mapping[str, str]) -> str:
    """The page as text.

    Args:
        rows: the scores of each source, with examples.
        environment: versions and machine, shown as they are.
    """
    date = rows[-1].date
    images = sum({row.source.data: row.total["n"] for row in rows}.values())
    data = json.dumps(
        without_nan([_source_data(row, environment) for row in rows]), separators=(",", ":")
    )
    return string.Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(
        hit=to_hex(HIT),
        false=to_hex(FALSE),
        missed=to_hex(MISSED),
        outline=to_hex(OUTLINE),
        ignored=_legend_of_ignored(rows),
        title=html.escape(_title(rows)),
        subtitle=html.escape(
            f"{images} images, scored at the masks' own size. {date.day} {date:%B %Y, %H:%M}."
        ),
        headline="\n".join(_headline(rows, protocol) for protocol in PROTOCOLS),
        parts=_lesion_card(rows) + _strata_card(rows),
        glossary=_glossary(rows),
        columns=json.dumps(_image_columns(rows)),
        of_pranet=html.escape(_note_on_pranet_columns(rows)),
        data=data.replace("<", "\\u003c"),
    )


def _legend_of_ignored(rows: Sequence[SourceScores]) -> str:
    if not any(row.rules.masks.ignore for row in rows):
        return ""
    return f'<span><i style="background:{to_hex(IGNORED)}"></i>ignored</span>'


def _title(rows: Sequence[SourceScores]) -> str:
    models = dict.fromkeys(row.source.model for row in rows)
    data_sets = dict.fromkeys(row.source.data for row in rows)
    return f"{_name_or_count(models, 'models')} on {_name_or_count(data_sets, 'data sets')}"


def _name_or_count(names: Iterable[str], plural: str) -> str:
    first, *others = names
    return f"{1 + len(others)} {plural}" if others else first


def _headline(rows: Sequence[SourceScores], protocol: str) -> str:
    """The table of one protocol."""
    lines = cells(rows, protocol, 3)
    best = best_cells(rows, lines, protocol)
    skip = NAMES + 1 if len(rows) == 1 else 0  # the title has model, data and number of images
    mark = ' class="name"'
    heads = "".join(
        f"<th scope='col'{mark if index < NAMES else ''}>{html.escape(_SHORT.get(head, head))}</th>"
        for index, head in enumerate(headings(protocol, rows))
        if index >= skip
    )
    body = "".join(
        "<tr>"
        + "".join(
            f"<td{mark if column < NAMES else ''}>{_bold(cell, (row, column) in best)}"
            f"{_small(below)}</td>"
            for column, (cell, below) in enumerate(zip(line, intervals))
            if column >= skip
        )
        + "</tr>"
        for row, (line, intervals) in enumerate(zip(lines, interval_cells(rows, protocol, 3)))
    )
    name, words = protocol_words(protocol, rows).split(": ", 1)
    kind = "single" if skip else "several"
    empty = sum(row.empty for row in rows)
    note = f" Empty masks: {empty}, scored with --empty {rows[0].rules.empty}." if empty else ""
    sentences = "".join(
        f"<li>{html.escape(line)}.</li>" for line in comparison_sentences(rows, protocol)
    )
    return (
        f'<section class="card"><h2>{html.escape(name)}</h2>'
        f'<p class="soft">{html.escape(words[0].upper() + words[1:])}.{html.escape(note)}</p>'
        f'<div class="scroll"><table class="headline {kind}"><thead><tr>{heads}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
        + (f'<ul class="sentences">{sentences}</ul>' if sentences else "")
        + f'<p class="soft below">{_on_intervals(rows)}</p></section>'
    )


def _on_intervals(rows: Sequence[SourceScores]) -> str:
    lines = [f"Small numbers: {ON_INTERVALS}", *interval_note(rows)]
    return html.escape("".join(f"{line}. " for line in lines).strip())


def _small(interval: str) -> str:
    return f"<small>{html.escape(interval)}</small>" if interval else ""


def _lesion_card(rows: Sequence[SourceScores]) -> str:
    lines = [
        [f"{html.escape(cell)}{_small(below)}" for cell, below in zip(line, intervals)]
        for line, intervals in zip(*lesion_cells(rows, 3))
    ]
    name, words = lesion_words(rows).split(": ", 1)
    table = _plain_table(lesion_headings(rows), lines, NAMES, len(rows) == 1)
    return (
        f'<section class="card"><h2>{name}</h2>'
        f'<p class="soft">{html.escape(words[0].upper() + words[1:])}.</p>{table}</section>'
    )


def _strata_card(rows: Sequence[SourceScores]) -> str:
    tables = "".join(
        f"<h3>By {html.escape(name)}</h3>"
        + _plain_table(
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


def _plain_table(
    heads: Sequence[str], lines: Sequence[Sequence[str]], names: int, single: bool
) -> str:
    """A table of cells that are HTML already; of one source, without its names."""
    skip = NAMES if single else 0

    def row(line: Sequence[str], tag: str) -> str:
        return "".join(
            f"<{tag}{' class=name' if index < names else ''}>{cell}</{tag.split()[0]}>"
            for index, cell in enumerate(line)
            if index >= skip
        )

    head = row([html.escape(head) for head in heads], "th scope=col")
    body = "".join(f"<tr>{row(line, 'td')}</tr>" for line in lines)
    return (
        f'<div class="scroll"><table class="parts"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _bold(text: str, best: bool) -> str:
    text = html.escape(text)
    return f"<b>{text}</b>" if best else text


def _glossary(rows: Sequence[SourceScores]) -> str:
    """The scores as a definition list. A score of both protocols is listed once, or twice if its
    two descriptions differ.
    """
    entries = dict.fromkeys(
        (metric.heading, f"{metric.words} {metric.better.capitalize()} is better.")
        for protocol in (*PROTOCOLS, "lesions")
        for metric in METRICS[protocol]
        if metric.key in rows[0].total[protocol]
    )
    return "".join(
        f"<dt>{html.escape(heading)}</dt><dd>{html.escape(text)}</dd>" for heading, text in entries
    )


def _image_scores(protocol: str, rows: Sequence[SourceScores]) -> Iterator[tuple[str, str, str]]:
    """Scores in the table of all images: heading, key in the page, key in `ImageScores`."""
    others = {metric.heading for metric in METRICS["threshold"]} if protocol == "pranet" else set()
    prefix = "pranet_" if protocol == "pranet" else ""  # as in per_image.csv
    for metric in METRICS[protocol]:
        if metric.per_image and metric.key in rows[0].total[protocol]:
            heading = _SHORT.get(metric.heading, metric.heading)
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
    scoring = {fact.label: fact.text for fact in row.facts}
    scoring["command"] = " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])
    parts = {
        "Scoring": scoring,
        "Training run": row.source.config or {},
        "Environment": environment,
    }
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
        "config": [
            [title, [[key, "–" if value is None else str(value)] for key, value in part.items()]]
            for title, part in parts.items()
        ],
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

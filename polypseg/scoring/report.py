"""`report.html`: one file that opens offline, with tables, charts, example images and the numbers
of each image.
"""

import html
import json
import string
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from polypseg.drawing.colours import FALSE, HIT, IGNORED, MISSED, OUTLINE, to_hex
from polypseg.metrics.table import METRICS

from .evaluation import Result
from .source_scores import SourceScores
from .tables import NAMES, PROTOCOLS, best_cells, cells, headings, protocol_words, without_nan

_TEMPLATE = Path(__file__).with_name("report.html")
_SHORT = {"precision": "prec."}  # headings that are too long for the page


def report(rows: Sequence[SourceScores], environment: Mapping[str, str]) -> str:
    """The page as text.

    Args:
        rows: the scores of each source, with examples.
        environment: versions and machine, shown as they are.
    """
    date = rows[-1].date
    images = sum(row.total["n"] for row in rows)
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
        glossary=_glossary(),
        columns=json.dumps(_image_columns()),
        of_pranet=html.escape(_note_on_pranet_columns()),
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
        for index, head in enumerate(headings(protocol))
        if index >= skip
    )
    body = "".join(
        "<tr>"
        + "".join(
            f"<td{mark if column < NAMES else ''}>{_bold(cell, (row, column) in best)}</td>"
            for column, cell in enumerate(line)
            if column >= skip
        )
        + "</tr>"
        for row, line in enumerate(lines)
    )
    name, words = protocol_words(protocol, rows).split(": ", 1)
    kind = "single" if skip else "several"
    empty = sum(row.empty for row in rows)
    note = f" Empty masks: {empty}, scored with --empty {rows[0].rules.empty}." if empty else ""
    return (
        f'<section class="card"><h2>{html.escape(name)}</h2>'
        f'<p class="soft">{html.escape(words[0].upper() + words[1:])}.{html.escape(note)}</p>'
        f'<div class="scroll"><table class="headline {kind}"><thead><tr>{heads}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
        "</section>"
    )


def _bold(text: str, best: bool) -> str:
    text = html.escape(text)
    return f"<b>{text}</b>" if best else text


def _glossary() -> str:
    """The scores as a definition list. A score of both protocols is listed once, or twice if its
    two descriptions differ.
    """
    entries = dict.fromkeys(
        (metric.heading, f"{metric.words} {metric.better.capitalize()} is better.")
        for protocol in PROTOCOLS
        for metric in METRICS[protocol]
    )
    return "".join(
        f"<dt>{html.escape(heading)}</dt><dd>{html.escape(text)}</dd>" for heading, text in entries
    )


def _image_scores(protocol: str) -> Iterator[tuple[str, str, str]]:
    """Scores in the table of all images: heading, key in the page, key in `ImageScores`."""
    others = {metric.heading for metric in METRICS["threshold"]} if protocol == "pranet" else set()
    prefix = "pranet_" if protocol == "pranet" else ""  # as in per_image.csv
    for metric in METRICS[protocol]:
        if metric.per_image:
            heading = _SHORT.get(metric.heading, metric.heading)
            if metric.heading in others:
                heading = f"{heading} (pranet)"
            yield heading, prefix + metric.key, metric.key


def _image_columns() -> list[tuple[str | int, ...]]:
    """The columns of the table of all images: key, heading and, if not 3, the number of digits."""
    scores = [(key, heading) for protocol in METRICS for heading, key, _ in _image_scores(protocol)]
    return [("stem", "image"), ("size", "size %", 2), *scores]


def _note_on_pranet_columns() -> str:
    """A note on which columns of the table of all images belong to the protocol `pranet`."""
    names = [heading for heading, _, _ in _image_scores("pranet")]
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
        "images": [_image_data(result) for result in row.results],
        "gallery": [example._asdict() for example in row.examples],
        "config": [
            [title, [[key, "–" if value is None else str(value)] for key, value in part.items()]]
            for title, part in parts.items()
        ],
    }


def _image_data(result: Result) -> dict[str, Any]:
    scores = result.scores
    numbers = {
        key: round(getattr(scores, protocol)[name], 5)
        for protocol in METRICS
        for _, key, name in _image_scores(protocol)
    }
    return {"stem": result.stem, "size": round(100 * scores.area, 4)} | numbers


def _rounded(curve: np.ndarray) -> list[float]:
    return [round(float(value), 5) for value in curve]

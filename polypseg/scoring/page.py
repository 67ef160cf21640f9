"""The parts that the pages of reports have in common."""

import html
import json
import string
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from polypseg.drawing.colours import FALSE, HIT, MISSED, to_hex

from .cells import NAMES, Cells
from .data_files import without_nan
from .row_scores import RowScores
from .words import ON_INTERVALS, comparison_sentences, interval_note, protocol_words

_FOLDER = Path(__file__).parent
_BETTER = {"higher": " Higher is better.", "lower": " Lower is better.", "neither": ""}
SHORT = {"precision": "prec."}  # headings that are too long for the page


def fill(template: str, data: Any, **values: str) -> str:
    """The text of a page.

    Args:
        template: name of the file.
        data: what the page's script shows; nan becomes null.
        values: those of the template, as HTML.
    """

    def read(name: str, **colours: str) -> str:
        text = (_FOLDER / name).read_text(encoding="utf-8")
        return string.Template(text).substitute(colours) if colours else text

    style = read("page.css", hit=to_hex(HIT), false=to_hex(FALSE), missed=to_hex(MISSED))
    packed = json.dumps(without_nan(data), separators=(",", ":")).replace("<", "\\u003c")
    return string.Template(read(template)).substitute(
        style=style, script=read("page.js"), data=packed, **values
    )


def scored_on(rows: Sequence[RowScores]) -> str:
    """When it was scored."""
    date = rows[-1].date
    return f"{date.day} {date:%B %Y, %H:%M}"


def title(rows: Sequence[RowScores]) -> str:
    """What was scored on what."""
    models = dict.fromkeys(row.source.model for row in rows)
    data_sets = dict.fromkeys(row.source.data for row in rows)
    return f"{_name_or_count(models, 'models')} on {_name_or_count(data_sets, 'data sets')}"


def _name_or_count(names: Iterable[str], plural: str) -> str:
    first, *others = names
    return f"{1 + len(others)} {plural}" if others else first


def headline_card(
    rows: Sequence[RowScores],
    protocol: str,
    heads: Sequence[str],
    numbers: Cells,
    intervals: Cells,
    best: set[tuple[int, int]],
) -> str:
    """The table of one protocol, with what has to be known about its numbers.

    Args:
        rows: the scores of each source.
        protocol: name of the protocol.
        heads, numbers, intervals: cells as plain text; intervals stand below the numbers.
        best: `(row, column)` of the numbers in bold.
    """
    skip = NAMES + 1 if len(rows) == 1 else 0  # the title has model, data and their number
    mark = ' class="name"'
    head = "".join(
        f"<th scope='col'{mark if index < NAMES else ''}>{html.escape(SHORT.get(name, name))}</th>"
        for index, name in enumerate(heads)
        if index >= skip
    )
    body = "".join(
        "<tr>"
        + "".join(
            f"<td{mark if column < NAMES else ''}>{_bold(cell, (row, column) in best)}"
            f"{small(below)}</td>"
            for column, (cell, below) in enumerate(zip(line, between))
            if column >= skip
        )
        + "</tr>"
        for row, (line, between) in enumerate(zip(numbers, intervals))
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
        f'<div class="scroll"><table class="headline {kind}"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
        + (f'<ul class="sentences">{sentences}</ul>' if sentences else "")
        + f'<p class="soft below">{_on_intervals(rows)}</p></section>'
    )


def _on_intervals(rows: Sequence[RowScores]) -> str:
    lines = [f"Small numbers: {ON_INTERVALS}", *interval_note(rows)]
    return html.escape("".join(f"{line}. " for line in lines).strip())


def small(below: str) -> str:
    """What stands below a number, such as its interval; in several lines if it has several."""
    return "".join(f"<small>{html.escape(line)}</small>" for line in below.split("\n") if line)


def plain_table(
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


def glossary(rows: Sequence[RowScores], protocols: Sequence[str]) -> str:
    """The scores as a definition list. A score of both protocols is listed once, or twice if its
    two descriptions differ.
    """
    entries = dict.fromkeys(
        (metric.heading, f"{metric.words}{_BETTER[metric.better]}")
        for protocol in protocols
        for metric in rows[0].tables[protocol]
        if metric.key in rows[0].total[protocol]
    )
    return "".join(
        f"<dt>{html.escape(heading)}</dt><dd>{html.escape(text)}</dd>" for heading, text in entries
    )


def config_of(row: RowScores, environment: Mapping[str, str]) -> list[list[Any]]:
    """What was scored, and how: titles, and lists of names and values."""
    scoring = {fact.label: fact.text for fact in row.facts}
    scoring["command"] = " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])
    parts = {
        "Scoring": scoring,
        "Training run": row.source.config or {},
        "Environment": environment,
    }
    return [
        [name, [[key, "–" if value is None else str(value)] for key, value in part.items()]]
        for name, part in parts.items()
    ]

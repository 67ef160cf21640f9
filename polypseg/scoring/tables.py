"""Scores as tables (terminal, Markdown, LaTeX), as JSON and as CSV."""

import json
import math
import string
from collections.abc import Callable, Sequence
from typing import Any

from tabulate import DataRow, Line, TableFormat, tabulate

from polypseg.errors import one_line
from polypseg.files import csv_text
from polypseg.metrics.table import METRICS, Metric

from .source_scores import SourceScores

PROTOCOLS = ("pranet", "threshold")  # in the order in which their tables are shown
NAMES = 2  # columns of text, model and data, before those of numbers

Cells = list[list[str]]


def shown_metrics(protocol: str) -> list[Metric]:
    """The metrics that have a column in the tables of a protocol."""
    return [metric for metric in METRICS[protocol] if metric.column]


def protocol_words(protocol: str, rows: Sequence[SourceScores]) -> str:
    """One line that says how the numbers of a table were computed."""
    if protocol == "pranet":
        return (
            "Protocol pranet: each map stretched to [0, 1], 256 thresholds "
            "(as the authors of PraNet evaluate)"
        )
    thresholds = ", ".join(dict.fromkeys(f"{row.rules.threshold:g}" for row in rows))
    return f"Protocol threshold: the map as it is, foreground where probability >= {thresholds}"


def headings(protocol: str) -> list[str]:
    """The headings of a table, as plain text."""
    return ["model", "data", "images", *(metric.heading for metric in shown_metrics(protocol))]


def cells(rows: Sequence[SourceScores], protocol: str, digits: int) -> Cells:
    """The cells of a table, as plain text: for each source its names and numbers."""
    return [
        [
            _on_one_line(row.source.model),
            _on_one_line(row.source.data),
            str(row.total["n"]),
            *(
                _format(row.total[protocol][metric.key], digits)
                for metric in shown_metrics(protocol)
            ),
        ]
        for row in rows
    ]


def _format(value: float, digits: int) -> str:
    return "-" if math.isnan(value) else f"{value:.{digits}f}"


def best_cells(rows: Sequence[SourceScores], lines: Cells, protocol: str) -> set[tuple[int, int]]:
    """`(row, column)` of the best numbers, as printed, of each data set with several models."""
    best = set()
    for data in {row.source.data for row in rows}:
        same = [index for index, row in enumerate(rows) if row.source.data == data]
        for column, metric in enumerate(shown_metrics(protocol), start=NAMES + 1):
            values = {
                index: float(lines[index][column]) for index in same if lines[index][column] != "-"
            }
            if len(values) > 1:
                target = (min if metric.better == "lower" else max)(values.values())
                best |= {(index, column) for index, value in values.items() if value == target}
    return best


def terminal_tables(rows: Sequence[SourceScores], digits: int = 4) -> str:
    """Both protocols' tables for a terminal."""
    return "\n\n".join(
        f"{protocol_words(protocol, rows)}\n"
        + _table(headings(protocol), cells(rows, protocol, digits), "plain")
        for protocol in PROTOCOLS
    )


def markdown_tables(rows: Sequence[SourceScores], digits: int = 3) -> str:
    """Both protocols' tables, the best numbers in bold, and a table of what was scored."""
    parts = []
    for protocol in PROTOCOLS:
        lines = _marked(rows, protocol, digits, escape_markdown, "**{}**")
        parts += [f"{protocol_words(protocol, rows)}.", _table(headings(protocol), lines, "pipe")]
    parts += ["What was scored:", _facts_table(rows)]
    return "\n\n".join(parts) + "\n"


def _facts_table(rows: Sequence[SourceScores]) -> str:
    """A column for each source."""
    of_sources = [{fact.label: fact.text for fact in row.facts} for row in rows]
    labels = dict.fromkeys(label for facts in of_sources for label in facts)
    heads = ["", *(f"{row.source.model} on {row.source.data}" for row in rows)]
    lines = [[label, *(facts.get(label, "-") for facts in of_sources)] for label in labels]
    heads, *lines = [[escape_markdown(cell) for cell in line] for line in (heads, *lines)]
    return _table(heads, lines, "pipe", names=len(heads))


def latex_tables(rows: Sequence[SourceScores], digits: int = 3) -> str:
    """Both protocols' tables for the package booktabs, the best numbers in bold."""
    parts = []
    for protocol in PROTOCOLS:
        heads = ["Model", "Data", "Images", *(metric.latex for metric in shown_metrics(protocol))]
        lines = _marked(rows, protocol, digits, escape_latex, r"\textbf{{{}}}")
        table = _table(heads, lines, _booktabs(len(heads) - NAMES))
        parts.append(f"% {protocol_words(protocol, rows)}\n{table}")
    return "\n\n".join(parts) + "\n"


def _marked(
    rows: Sequence[SourceScores],
    protocol: str,
    digits: int,
    escape: Callable[[str], str],
    bold: str,
) -> Cells:
    """The cells of a table in a markup language."""
    lines = cells(rows, protocol, digits)
    best = best_cells(rows, lines, protocol)
    return [
        [
            bold.format(cell) if (row, column) in best else escape(cell)
            for column, cell in enumerate(line)
        ]
        for row, line in enumerate(lines)
    ]


def _table(heads: Sequence[str], lines: Cells, style: str | TableFormat, names: int = NAMES) -> str:
    """A table whose first columns hold names, aligned to the left, and the others numbers."""
    align = ["left"] * names + ["right"] * (len(heads) - names)
    return tabulate(lines, heads, tablefmt=style, colalign=align, disable_numparse=True)


def _booktabs(numbers: int) -> TableFormat:
    """The table format of LaTeX's booktabs; tabulate's own would escape our formulas."""
    row = DataRow("", " & ", r" \\")
    columns = "l" * NAMES + "r" * numbers
    return TableFormat(
        lineabove=Line(f"\\begin{{tabular}}{{{columns}}}\n\\toprule", "", "", ""),
        linebelowheader=Line(r"\midrule", "", "", ""),
        linebetweenrows=None,
        linebelow=Line("\\bottomrule\n\\end{tabular}", "", "", ""),
        headerrow=row,
        datarow=row,
        padding=0,
        with_header_hide=None,
    )


def escape_markdown(text: str) -> str:
    """Text for a cell of a Markdown table, on one line."""
    special = set(string.punctuation) - set("-.,:;/()+=%'\"?!@#")
    return "".join(f"\\{letter}" if letter in special else letter for letter in _on_one_line(text))


def escape_latex(text: str) -> str:
    """Text for a cell of a LaTeX table, on one line."""
    special = {letter: f"\\{letter}" for letter in "&%$#_{}"} | {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        "[": "{[}",  # after `\\` or `\midrule`, these two would be read as its argument
        "*": "{*}",
    }
    return "".join(special.get(letter, letter) for letter in _on_one_line(text))


def _on_one_line(text: str) -> str:
    """The text without line breaks, and without what a terminal would take for a command."""
    return one_line(" ".join(text.split()))


def metrics_json(rows: Sequence[SourceScores]) -> str:
    """The content of `metrics.json`.

    For one source these are the means, with the keys of `DataSetScores.result`, and its facts as
    "settings". For several sources, "results" is a list of these. NaN becomes null.
    """
    results = [
        row.total | {"settings": {key: value for key, _, value in row.facts}} for row in rows
    ]
    content = results[0]
    if len(rows) > 1:
        names = [{"model": row.source.model, "data": row.source.data} for row in rows]
        content = {"results": [name | result for name, result in zip(names, results)]}
    return json.dumps(without_nan(content), indent=2) + "\n"


def per_image_csv(rows: Sequence[SourceScores]) -> str:
    """A row for each image. If there are several sources, a row begins with model and data. An
    undefined score is an empty cell.
    """
    several = len(rows) > 1
    heads = [
        *(("model", "data") if several else ()),
        "stem",
        *(metric.key for metric in METRICS["threshold"]),
        "mask_share",
        *(f"pranet_{metric.key}" for metric in METRICS["pranet"]),
    ]
    lines = []
    for row in rows:
        names = (row.source.model, row.source.data) if several else ()
        for stem, scores, _ in row.results:
            values = [*scores.threshold.values(), scores.area, *scores.pranet.values()]
            numbers = ("" if math.isnan(value) else f"{value:.6f}" for value in values)
            lines.append([*names, stem, *numbers])
    return csv_text(heads, lines)


def without_nan(value: Any) -> Any:
    """Replace each NaN by None, because JSON has no NaN."""
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value

"""Scores as tables (terminal, Markdown, LaTeX) and as files."""

import json
import math
import string
from collections.abc import Sequence

from tabulate import DataRow, Line, TableFormat, tabulate

from polypseg import __version__
from polypseg.files import csv_text, digest, file_digest
from polypseg.metrics.table import METRICS

PROTOCOLS = ("pranet", "threshold")  # in the order in which their tables are shown
NAMES = 2  # columns of text, model and data, before those of numbers

Cells = list[list[str]]


def columns(protocol):
    """The metrics that a table of this protocol prints."""
    return [metric for metric in METRICS[protocol] if metric.column]


def protocol_words(protocol, rows):
    """One line that says how a table's numbers were made."""
    if protocol == "pranet":
        return (
            "Protocol pranet: each map stretched to [0, 1], 256 thresholds "
            "(as the authors of PraNet evaluate)"
        )
    thresholds = ", ".join(dict.fromkeys(f"{row.rules.threshold:g}" for row in rows))
    return f"Protocol threshold: the map as it is, foreground where probability >= {thresholds}"


def cells(rows, protocol, digits):
    """Headings, and for each `SourceScores` of `rows` its cells as text."""
    heads = ["model", "data", "images", *(metric.heading for metric in columns(protocol))]
    lines = [
        [
            row.source.model,
            row.source.data,
            str(row.total["n"]),
            *(number(row.total[protocol][metric.key], digits) for metric in columns(protocol)),
        ]
        for row in rows
    ]
    return heads, lines


def number(value, digits):
    return "-" if math.isnan(value) else f"{value:.{digits}f}"


def plain(rows, digits=4):
    """Both protocols' tables for a terminal."""
    parts = []
    for protocol in PROTOCOLS:
        heads, lines = cells(rows, protocol, digits)
        parts.append(f"{protocol_words(protocol, rows)}\n{_table(heads, lines, 'plain')}")
    return "\n\n".join(parts)


def markdown(rows, digits=3):
    """Both tables; of several models on one data set the best number is bold."""
    parts = []
    for protocol in PROTOCOLS:
        heads, lines = cells(rows, protocol, digits)
        table = _table(heads, _marked(rows, lines, protocol, escape_markdown, "**{}**"), "pipe")
        parts.append(f"{protocol_words(protocol, rows)}.\n\n{table}")
    return "\n\n".join(parts) + "\n"


def latex(rows, digits=3):
    """Two `tabular`s for the package booktabs."""
    parts = []
    for protocol in PROTOCOLS:
        _, lines = cells(rows, protocol, digits)
        heads = ["Model", "Data", "Images", *(metric.latex for metric in columns(protocol))]
        marked = _marked(rows, lines, protocol, escape_latex, r"\textbf{{{}}}")
        table = _table(heads, marked, _booktabs(len(heads) - NAMES))
        parts.append(f"% {protocol_words(protocol, rows)}\n{table}")
    return "\n\n".join(parts) + "\n"


def _marked(rows, lines, protocol, escape, bold):
    """The cells of a table in a markup language."""
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


def best_cells(rows, lines, protocol):
    """(row, column) of the best printed number of each data set that several models are compared
    on.
    """
    best = set()
    for data in {row.source.data for row in rows}:
        same = [index for index, row in enumerate(rows) if row.source.data == data]
        for column, metric in enumerate(columns(protocol), start=3):
            values = {
                index: float(lines[index][column]) for index in same if lines[index][column] != "-"
            }
            if len(values) > 1:
                target = (min if metric.better == "lower" else max)(values.values())
                best |= {(index, column) for index, value in values.items() if value == target}
    return best


def escape_markdown(text: str) -> str:
    """Text for a cell of a Markdown table, on one line."""
    special = set(string.punctuation) - set("-.,:;/()+=%'\"?!@#")
    return "".join(f"\\{letter}" if letter in special else letter for letter in _one_line(text))


def escape_latex(text: str) -> str:
    """Text for a cell of a LaTeX table, on one line."""
    special = {letter: f"\\{letter}" for letter in "&%$#_{}"} | {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
    }
    return "".join(special.get(letter, letter) for letter in _one_line(text))


def _one_line(text: str) -> str:
    return " ".join(text.split())


def metrics_json(rows):
    """One result with the keys of `DataSetScores.result`, or several below "results"; nan becomes
    null.
    """
    results = [row.total | {"settings": scored(row)} for row in rows]
    named = [
        {"model": row.source.model, "data": row.source.data} | result
        for row, result in zip(rows, results)
    ]
    return (
        json.dumps(without_nan(results[0] if len(rows) == 1 else {"results": named}), indent=2)
        + "\n"
    )


def scored(row):
    """What was scored, and how: for `metrics.json`."""
    source = row.source
    masks = "".join(file_digest(item.mask) for item in source.items)
    return {
        ("maps" if source.items[0].map else "model"): str(source.path),
        "data": str(source.items[0].mask.parent),
        "masks_digest": digest(masks.encode()),
        **row.rules._asdict(),
        "empty_masks": row.empty,
        **source.network,
        "polypseg": __version__,
    }


def per_image_csv(rows):
    """A row an image; with several sources each starts with model and data. What is undefined stays
    empty.
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
            cells = ("" if math.isnan(value) else f"{value:.6f}" for value in values)
            lines.append([*names, stem, *cells])
    return csv_text(heads, lines)


def without_nan(value):
    """The same with None for each nan, which JSON does not know."""
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value

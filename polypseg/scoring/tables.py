"""Scores as tables, for a terminal, in Markdown and in LaTeX."""

import string
from collections.abc import Callable, Sequence

from tabulate import DataRow, Line, TableFormat, tabulate

from .cells import (
    NAMES,
    Cells,
    best_cells,
    cells,
    headings,
    interval_cells,
    joined,
    left_out_strata,
    lesion_cells,
    lesion_headings,
    shown_metrics,
    strata_cells,
    strata_headings,
    strata_names,
)
from .row_scores import RowScores
from .source_scores import PROTOCOLS, SourceScores
from .words import (
    ON_INTERVALS,
    comparison_sentences,
    interval_note,
    lesion_words,
    on_one_line,
    parts_note,
    protocol_words,
)


def terminal_tables(rows: Sequence[SourceScores], digits: int = 4) -> str:
    """All tables for a terminal, each number with its interval below it."""
    parts = []
    for protocol in PROTOCOLS:
        numbers = cells(rows, protocol, digits)
        lines = _with_intervals_below(numbers, interval_cells(rows, protocol, 3))
        table = text_table(headings(protocol, rows), lines, "plain")
        parts.append(f"{protocol_words(protocol, rows)}\n{table}")
        parts[-1] += "".join(f"\n{line}" for line in comparison_sentences(rows, protocol))
    numbers, intervals = lesion_cells(rows, digits)
    lines = _with_intervals_below(numbers, intervals)
    parts.append(f"{lesion_words(rows)}\n{text_table(lesion_headings(rows), lines, 'plain')}")
    parts.append("\n".join([f"Below the numbers: {ON_INTERVALS}", *interval_note(rows)]))
    return "\n\n".join(parts)


def _with_intervals_below(numbers: Cells, intervals: Cells) -> Cells:
    """A line of short intervals, as in ".861-.915", below each line of numbers."""
    lines = []
    for line, below in zip(numbers, intervals):
        short = [
            "-".join(part.removeprefix("0") for part in cell.strip("[]").split(", "))
            for cell in below
        ]
        lines += [line, short] if any(short) else [line]
    return lines


def markdown_tables(rows: Sequence[SourceScores], digits: int = 3) -> str:
    """All tables, the best numbers in bold, and a table of what was scored."""
    parts = []
    for protocol in PROTOCOLS:
        numbers, intervals = (of(rows, protocol, digits) for of in (cells, interval_cells))
        lines = marked(rows, protocol, numbers, intervals, escape_markdown, "**{}**", "{}")
        parts += [
            f"{protocol_words(protocol, rows)}.",
            text_table(headings(protocol, rows), lines, "pipe"),
        ]
        sentences = comparison_sentences(rows, protocol)
        parts += (
            ["\n".join(f"- {escape_markdown(line)}." for line in sentences)] if sentences else []
        )
    parts += [
        f"{lesion_words(rows)}.",
        text_table(
            lesion_headings(rows), _escaped(_lesion_lines(rows, digits), escape_markdown), "pipe"
        ),
    ]
    for name in strata_names(rows):
        lines = _escaped(strata_cells(rows, name, digits), escape_markdown)
        parts += [
            f"By {escape_markdown(name)}:",
            text_table(strata_headings(rows), lines, "pipe", names=NAMES + 1),
        ]
    parts += [f"{escape_markdown(line)}." for line in left_out_strata(rows)]
    notes = (f"In brackets: {ON_INTERVALS}", *interval_note(rows), *parts_note(rows))
    parts += ["\n".join(f"{line}." for line in notes)]
    parts += ["What was scored:", facts_table(rows)]
    return "\n\n".join(parts) + "\n"


def _lesion_lines(rows: Sequence[SourceScores], digits: int) -> Cells:
    return [
        [joined(*pair) for pair in zip(line, below)]
        for line, below in zip(*lesion_cells(rows, digits))
    ]


def _escaped(lines: Cells, escape: Callable[[str], str]) -> Cells:
    """The cells of a markup language; numbers and their intervals are left as they are."""
    return [[cell if _is_number(cell) else escape(cell) for cell in line] for line in lines]


def _is_number(cell: str) -> bool:
    return cell == "-" or (cell[:1].isdigit() and not set(cell) - set("0123456789.,-[] "))


def facts_table(rows: Sequence[RowScores]) -> str:
    """A column for each source."""
    of_sources = [{fact.label: fact.text for fact in row.facts} for row in rows]
    labels = dict.fromkeys(label for facts in of_sources for label in facts)
    heads = ["", *(f"{row.source.model} on {row.source.data}" for row in rows)]
    lines = [[label, *(facts.get(label, "-") for facts in of_sources)] for label in labels]
    heads, *lines = [[escape_markdown(cell) for cell in line] for line in (heads, *lines)]
    return text_table(heads, lines, "pipe", names=len(heads))


def latex_tables(rows: Sequence[SourceScores], digits: int = 3) -> str:
    """All tables for the package booktabs, the best numbers in bold."""
    parts = []
    for protocol in PROTOCOLS:
        names = (metric.latex for metric in shown_metrics(protocol, rows))
        heads = ["Model", "Data", "Images", *names]
        numbers, intervals = (of(rows, protocol, digits) for of in (cells, interval_cells))
        lines = marked(
            rows,
            protocol,
            numbers,
            intervals,
            escape_latex,
            r"\textbf{{{}}}",
            r"{{\scriptsize {}}}",
        )
        table = text_table(heads, lines, booktabs(len(heads) - NAMES))
        sentences = comparison_sentences(rows, protocol)
        notes = "".join(f"% {line}\n" for line in (protocol_words(protocol, rows), *sentences))
        parts.append(notes + table)
    heads = ["Model", "Data", *(escape_latex(head) for head in lesion_headings(rows)[NAMES:])]
    lines = _escaped(_lesion_lines(rows, digits), escape_latex)
    parts.append(
        f"% {lesion_words(rows)}\n{text_table(heads, lines, booktabs(len(heads) - NAMES))}"
    )
    for name in strata_names(rows):
        heads = ["Model", "Data", *(escape_latex(head) for head in strata_headings(rows)[NAMES:])]
        lines = _escaped(strata_cells(rows, name, digits), escape_latex)
        table = text_table(
            heads, lines, booktabs(len(heads) - NAMES - 1, NAMES + 1), names=NAMES + 1
        )
        parts.append(f"% By {on_one_line(name)}\n{table}")
    lines_below = (f"In brackets: {ON_INTERVALS}", *interval_note(rows), *parts_note(rows))
    parts.append("\n".join(f"% {line}" for line in lines_below))
    return "\n\n".join(parts) + "\n"


def marked(
    rows: Sequence[RowScores],
    protocol: str,
    numbers: Cells,
    intervals: Cells,
    escape: Callable[[str], str],
    bold: str,
    small: str,
) -> Cells:
    """The cells of a table in a markup language, each number with its interval."""
    best = best_cells(rows, numbers, protocol)
    return [
        [
            joined(
                bold.format(escape(cell)) if (row, column) in best else escape(cell),
                small.format(below) if below else "",
            )
            for column, (cell, below) in enumerate(zip(line, between))
        ]
        for row, (line, between) in enumerate(zip(numbers, intervals))
    ]


def text_table(
    heads: Sequence[str], lines: Cells, style: str | TableFormat, names: int = NAMES
) -> str:
    """A table whose first columns hold names, aligned to the left, and the others numbers."""
    align = ["left"] * names + ["right"] * (len(heads) - names)
    return tabulate(lines, heads, tablefmt=style, colalign=align, disable_numparse=True)


def booktabs(numbers: int, names: int = NAMES) -> TableFormat:
    """The table format of LaTeX's booktabs; tabulate's own would escape our formulas."""
    row = DataRow("", " & ", r" \\")
    columns = "l" * names + "r" * numbers
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
    return "".join(f"\\{letter}" if letter in special else letter for letter in on_one_line(text))


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
    return "".join(special.get(letter, letter) for letter in on_one_line(text))

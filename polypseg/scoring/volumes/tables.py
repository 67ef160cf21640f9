"""Scores of patients as tables, for a terminal, in Markdown and in LaTeX."""

from collections.abc import Callable, Sequence

from ..cells import NAMES, Cells
from ..tables import booktabs, escape_latex, escape_markdown, facts_table, marked, text_table
from ..words import ON_INTERVALS, comparison_sentences, interval_note, protocol_words
from .cells import (
    patient_cells,
    range_cells,
    range_headings,
    volume_cells,
    volume_headings,
    volume_interval_cells,
)
from .rows import PROTOCOL, VolumeRow

RANGES = "Lowest, median and highest value of the patients"
_MOST_PATIENTS = 12  # that a terminal shows


def terminal_volume_tables(rows: Sequence[VolumeRow]) -> str:
    """The table for a terminal, the interval and the range below each number.

    One source with few patients is shown patient by patient too.
    """
    lines, ranges = [], range_cells(rows)
    for line, between, low, high in zip(
        volume_cells(rows), volume_interval_cells(rows), ranges[::3], ranges[2::3]
    ):
        short = [cell.strip("[]").replace(", ", " to ") for cell in between[NAMES + 1 :]]
        low_high = [" to ".join(ends) for ends in zip(low[NAMES + 1 :], high[NAMES + 1 :])]
        lines.append(line)
        lines += [["", "95 % interval", "", *short]] if any(short) else []
        lines += [["", "lowest to highest", "", *low_high]] if line[NAMES] != "1" else []
    parts = [
        f"{protocol_words(PROTOCOL, rows)}\n{text_table(volume_headings(rows), lines, 'plain')}"
    ]
    parts[0] += "".join(f"\n{line}" for line in comparison_sentences(rows, PROTOCOL))
    if len(rows) == 1 and 1 < len(rows[0].results) <= _MOST_PATIENTS:
        heads = ["patient", "true ml", "predicted ml", *volume_headings(rows)[NAMES + 1 :]]
        of_patients = [patient_cells(rows[0], result) for result in rows[0].results]
        parts.append(text_table(heads, of_patients, "plain", names=1))
    parts.append("\n".join([f"The intervals: {ON_INTERVALS}", *interval_note(rows)]))
    return "\n\n".join(parts)


def markdown_volume_tables(rows: Sequence[VolumeRow]) -> str:
    """The tables, the best numbers in bold, and a table of what was scored."""
    heads = [escape_markdown(head) for head in volume_headings(rows)]
    parts = [
        f"{escape_markdown(protocol_words(PROTOCOL, rows))}.",
        text_table(heads, _marked(rows, escape_markdown, "**{}**", "{}"), "pipe"),
    ]
    sentences = comparison_sentences(rows, PROTOCOL)
    parts += ["\n".join(f"- {escape_markdown(line)}." for line in sentences)] if sentences else []
    heads = [escape_markdown(head) for head in range_headings(rows)]
    ranges = [[escape_markdown(cell) for cell in line] for line in range_cells(rows)]
    parts += [f"{RANGES}:", text_table(heads, ranges, "pipe", names=NAMES + 1)]
    parts += ["\n".join(f"{line}." for line in _notes(rows))]
    parts += ["What was scored:", facts_table(rows)]
    return "\n\n".join(parts) + "\n"


def latex_volume_tables(rows: Sequence[VolumeRow]) -> str:
    """The tables for the package booktabs, the best numbers in bold."""
    heads = volume_headings(rows, latex=True)
    style, below = booktabs(len(heads) - NAMES), booktabs(len(heads) - NAMES - 1, NAMES + 1)
    lines = _marked(rows, _latex, r"\textbf{{{}}}", r"{{\scriptsize {}}}")
    sentences = comparison_sentences(rows, PROTOCOL)
    notes = "".join(f"% {line}\n" for line in (protocol_words(PROTOCOL, rows), *sentences))
    ranges = [[_latex(cell) for cell in line] for line in range_cells(rows)]
    parts = [
        notes + text_table(heads, lines, style),
        f"% {RANGES}\n{text_table(range_headings(rows, True), ranges, below, names=NAMES + 1)}",
        "\n".join(f"% {line}" for line in _notes(rows)),
    ]
    return "\n\n".join(parts) + "\n"


def _notes(rows: Sequence[VolumeRow]) -> list[str]:
    return [f"In brackets: {ON_INTERVALS}", *interval_note(rows)]


def _latex(text: str) -> str:
    return escape_latex(text).replace("±", r"$\pm$")


def _marked(
    rows: Sequence[VolumeRow], escape: Callable[[str], str], bold: str, small: str
) -> Cells:
    numbers, intervals = volume_cells(rows), volume_interval_cells(rows)
    return marked(rows, PROTOCOL, numbers, intervals, escape, bold, small)

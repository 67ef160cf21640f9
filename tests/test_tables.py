"""Names with markup in every format of a table."""

import re

import numpy as np
import pytest

from polypseg.data.images import write_png
from polypseg.scoring import tables
from polypseg.scoring.evaluation import Rules, score_items
from polypseg.scoring.report import report
from polypseg.scoring.source_scores import SourceScores
from polypseg.scoring.sources import saved_sources

NAME = "1e5|a_b%c&d<e>f*g`h`[i](j)\\k$l#m{n}~o^p\n q"


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables")
    rng = np.random.default_rng(3)
    for name in ("maps", "masks"):
        (folder / name).mkdir()
    for stem in "ab":
        mask = rng.integers(0, 2, (9, 13)).astype(np.uint8) * np.uint8(255)
        write_png(folder / "masks" / f"{stem}.png", mask)
        write_png(folder / "maps" / f"{stem}.png", mask // 2 + np.uint8(9))
    (source,) = saved_sources([folder / "maps"], [folder / "masks"], names=[NAME])
    source.data = "bowel"
    return [SourceScores(source, Rules(), list(score_items(source.items, Rules())))]


def numbers(rows, protocol, digits):
    """What a line of the protocol's table says after the names."""
    values = [rows[0].total[protocol][metric.key] for metric in tables.shown_metrics(protocol)]
    return ["2", *(f"{value:.{digits}f}" for value in values)]


def test_terminal(rows):
    """Columns of text begin at one position, columns of numbers end at one."""
    (heads, first, second), _ = (
        text.split("\n")[1:] for text in tables.terminal_tables(rows).split("\n\n")
    )
    assert (first + second).replace(" ", "").startswith(NAME.split("\n")[0])
    assert first.split()[-8:] == numbers(rows, "pranet", 4)
    assert heads.index("data") == first.index("bowel")
    ends = [[match.end() for match in re.finditer(r"\S+( \S+)*", line)] for line in (heads, first)]
    assert ends[0][2:] == ends[1][2:]


def test_markdown(rows):
    text = tables.markdown_tables(rows)
    line = next(line for line in text.split("\n") if "1e5" in line)
    cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]  # as GitHub splits them
    name = cells[0]
    # CommonMark: a backslash before punctuation makes it literal. What is left is not markup.
    assert re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", name) == NAME.replace("\n ", " ")
    assert not set(re.sub(r"\\.", "", name)) & set("|_*`<>[]&$~\\")
    assert cells[1:] == ["bowel", *numbers(rows, "pranet", 3)]
    assert r"on bowel" in text.split("What was scored:")[1].split("\n")[2]


def test_latex(rows):
    expected = (
        r"1e5\textbar{}a\_b\%c\&d\textless{}e\textgreater{}f*g`h`[i](j)\textbackslash{}k\$l\#m"
        r"\{n\}\textasciitilde{}o\textasciicircum{}p q"
    )
    text = re.sub(" +", " ", tables.latex_tables(rows))
    line = " & ".join([expected, "bowel", *numbers(rows, "pranet", 3)]) + r" \\"
    assert f"\\midrule\n{line}\n\\bottomrule\n\\end{{tabular}}" in text
    assert text.count(r"\begin{tabular}{llrrrrrrrr}" + "\n\\toprule\nModel & Data & Images") == 1


def test_report(rows):
    title = report(rows, {}).split("<title>")[1].split(" on bowel")[0]
    assert title == NAME.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")

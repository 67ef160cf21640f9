"""Names with markup in every format of a table."""

import copy
import html
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from polypseg.data.images import write_png
from polypseg.metrics.table import METRICS
from polypseg.scoring import tables
from polypseg.scoring.evaluation import Rules, score_items
from polypseg.scoring.report import report
from polypseg.scoring.source_scores import SourceScores
from polypseg.scoring.sources import saved_sources

NAME = "1e5|a_b%c&d<e>f*g`h`[i](j)\\k$l#m{n}~o^p\n q\x1b[31m\u202e\"onload='r'"
NOTES = (
    "In brackets: 95 % intervals, from 10,000 bootstrap resamples",
    "The intervals of bowel are unreliable, often too short: 2 images, fewer than 50",
    "Intervals of parts with fewer than 50 images are unreliable",
)
SHOWN = NAME.replace("\n ", " ").replace("\x1b", r"\x1b").replace("\u202e", r"\u202e")


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables")
    rng = np.random.default_rng(3)
    for name in ("maps", "masks"):
        (folder / name).mkdir()
    for stem in "ab":
        mask = rng.integers(0, 2, (9, 13)).astype(np.uint8) * np.uint8(255)
        write_png(folder / "masks" / f"{stem}.png", mask)
        noise = rng.integers(0, 190, mask.shape).astype(np.uint8)
        write_png(folder / "maps" / f"{stem}.png", mask // 4 + noise)
    (source,) = saved_sources([folder / "maps"], [folder / "masks"], names=[NAME])
    source.data = "bowel"
    return [SourceScores(source, Rules(), list(score_items(source.items, Rules())))]


def numbers(rows, protocol, digits, interval=""):
    """What a line of the protocol's table says after the names."""
    keys = [metric.key for metric in METRICS[protocol] if metric.column and not metric.needs]
    return [
        "2",
        *(
            f"{rows[0].total[protocol][key]:.{digits}f}"
            + interval.format(*(f"{end:.3f}" for end in rows[0].intervals[protocol][key]))
            for key in keys
        ),
    ]


def test_terminal(rows):
    """Columns of text begin at one position, columns of numbers end at one."""
    heads, first, below = tables.terminal_tables(rows).split("\n\n")[0].split("\n")[1:]
    assert first.startswith(f"{SHOWN}  ")
    assert first.split()[-8:] == numbers(rows, "pranet", 4)
    assert heads.index("data") == first.index("bowel")
    ends = [
        [match.end() for match in re.finditer(r"\S+( \S+)*", line)]
        for line in (heads, first, below)
    ]
    assert ends[0][2:] == ends[1][2:] and ends[2] == ends[0][3:]
    assert below.split() == [
        "-".join(f"{end:.3f}".removeprefix("0") for end in rows[0].intervals["pranet"][metric.key])
        for metric in METRICS["pranet"]
        if metric.column
    ]


def test_markdown(rows):
    text = tables.markdown_tables(rows)
    line = next(line for line in text.split("\n") if "1e5" in line)
    cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]  # as GitHub splits them
    name = cells[0]
    # CommonMark: a backslash before punctuation makes it literal. What is left is not markup.
    assert re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", name) == SHOWN
    assert not set(re.sub(r"\\.", "", name)) & set("|_*`<>[]&$~\\")
    assert cells[1:] == ["bowel", *numbers(rows, "pranet", 3, " [{}, {}]")]
    assert "\n".join(f"{note}." for note in NOTES) in text
    assert r"on bowel" in text.split("What was scored:")[1].split("\n")[2]


def test_latex(rows):
    expected = (
        r"1e5\textbar{}a\_b\%c\&d\textless{}e\textgreater{}f{*}g`h`{[}i](j)\textbackslash{}k\$l\#m"
        r"\{n\}\textasciitilde{}o\textasciicircum{}p q\textbackslash{}x1b{[}31m"
        r"\textbackslash{}u202e"
        "\"onload='r'"
    )
    text = re.sub(" +", " ", tables.latex_tables(rows))
    line = (
        " & ".join([expected, "bowel", *numbers(rows, "pranet", 3, r" {{\scriptsize [{}, {}]}}")])
        + r" \\"
    )
    assert text.endswith("\n\n" + "\n".join(f"% {note}" for note in NOTES) + "\n")
    assert f"\\midrule\n{line}\n\\bottomrule\n\\end{{tabular}}" in text
    assert text.count(r"\begin{tabular}{llrrrrrrrr}" + "\n\\toprule\nModel & Data & Images") == 1


class _Elements(HTMLParser):
    """The elements of a page that can run or load something, with their attributes."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attributes):
        names = [name for name, _ in attributes]
        if tag in ("img", "script", "iframe") or any(name.startswith("on") for name in names):
            self.found.append((tag, *names))


@pytest.mark.parametrize(
    "name",
    [NAME, '"><img src=x onerror=alert(1)>', "</script><script>alert(1)</script>", "<!--<script>"],
)
def test_no_name_becomes_an_element_of_the_report(name, rows, monkeypatch):
    def elements():
        parser = _Elements()
        parser.feed(report(rows * 2, {}))
        parser.close()
        return parser.found

    plain = elements()
    assert plain
    (row, *_) = rows
    monkeypatch.setattr(row.source, "model", name)
    monkeypatch.setattr(row.source, "data", name)
    monkeypatch.setattr(row, "results", [result._replace(stem=name) for result in row.results])
    monkeypatch.setattr("sys.argv", ["test.py", name])
    assert elements() == plain


def test_no_name_leaves_a_comment_of_latex_or_commands_a_terminal(rows):
    """Sentences about two models of which one has a line break and an escape in its name."""
    other = SourceScores(copy.copy(rows[0].source), Rules(), rows[0].results)
    other.source.model = "other"
    text = tables.latex_tables([*rows, other])
    assert f"% {SHOWN} and other have the same mDice on 2 images" in text
    for line in text.split("\n"):
        assert line.startswith(("%", "\\")) or " & " in line or not line
    assert "\x1b" not in tables.terminal_tables([*rows, other])


def test_report(rows):
    title = report(rows, {}).split("<title>")[1].split(" on bowel")[0]
    assert title == html.escape(NAME)

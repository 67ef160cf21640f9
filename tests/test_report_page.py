"""The script in `report.html`, run by a browser: what it shows, and what a click changes."""

import html
import math
import re
import shutil
import statistics
import subprocess

import cv2
import numpy as np
import pytest

from polypseg.data.images import write_png
from polypseg.data.maps import read_map
from polypseg.scoring.evaluation import Rules, score_items
from polypseg.scoring.gallery import draw_examples
from polypseg.scoring.report import report
from polypseg.scoring.source_scores import SourceScores
from polypseg.scoring.sources import saved_sources

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CAUGHT = "<script>addEventListener('error', e => document.title = 'error: ' + e.message)</script>"


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """Maps of two programs for 30 masks, the first of which is empty."""
    folder = tmp_path_factory.mktemp("page")
    for name in ("masks", "first", "second"):
        (folder / name).mkdir()
    rng = np.random.default_rng(5)
    for index in range(30):
        mask = np.zeros((48, 64), np.uint8)
        if index:
            cv2.circle(mask, (30, 22), 3 + index // 2, 255, -1)
        stem = f"p{index}<b>" if index == 3 else f"p{index}"
        write_png(folder / "masks" / f"{stem}.png", mask)
        for program in ("first", "second"):
            moved = np.roll(mask, int(rng.integers(0, 25)), axis=1)
            write_png(folder / program / f"{stem}.png", moved)
    sources = saved_sources([folder / "first", folder / "second"], [folder / "masks"])
    rules = Rules(empty="skip")
    rows = []
    for source in sources:
        results = list(score_items(source.items, rules, workers=1))
        examples = draw_examples(
            source.items, results, rules, lambda items: [read_map(item.map) for item in items], 2
        )
        rows.append(SourceScores(source, rules, results, examples=examples))
    return rows


@pytest.fixture(scope="module")
def opened(rows, tmp_path_factory):
    """A function that opens the page, runs more JavaScript and returns the page as it is then."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.skip(f"needs a browser, one of {', '.join(BROWSERS)}")
    folder = tmp_path_factory.mktemp("browser")
    page = report(rows, {"python": "3"}).replace("<head>", f"<head>{CAUGHT}")

    def open_page(script=""):
        (folder / "page.html").write_text(
            page.replace("</body>", f"<script>{script}</script></body>"), encoding="utf-8"
        )
        command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
        command += [f"--user-data-dir={folder / 'profile'}", "--window-size=1200,900"]
        done = subprocess.run(
            [*command, (folder / "page.html").as_uri()], capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        text = done.stdout
        assert "<title>error" not in text, html.unescape(text.split("<title>")[1][:300])
        return re.sub(r"<script.*?</script>", "", text, flags=re.S)

    return open_page


def element(page, tag, name):
    """The inside of the element with that id."""
    return re.search(rf'<{tag}\b[^>]*\bid="{name}".*?>(.*?)</{tag}>', page, re.S)[1]


def table(page):
    """The table of all images: its rows, each a list of texts."""
    body = re.search(r"<tbody>(.*)</tbody>", element(page, "table", "images"), re.S)[1]
    rows = re.findall(r"<tr.*?>(.*?)</tr>", body, re.S)
    return [
        [html.unescape(cell) for cell in re.findall(r"<td.*?>(.*?)</td>", row, re.S)]
        for row in rows
    ]


def dice(row):
    """`{stem: Dice}` of the images that have one."""
    found = {result.stem: result.scores.threshold["dice"] for result in row.results}
    return {stem: value for stem, value in found.items() if not math.isnan(value)}


def test_what_it_shows_first(rows, opened):
    page, values = opened(), dice(rows[0])
    lines = table(page)
    assert [line[2] for line in lines] == [f"{value:.3f}" for value in sorted(values.values())[:25]]
    assert all(line[2] == f"{values[line[0]]:.3f}" for line in lines)
    areas = {result.stem: result.scores.area for result in rows[0].results}
    assert [line[1] for line in lines] == [f"{100 * areas[line[0]]:.2f}" for line in lines]
    assert 'aria-sort="ascending"><button>Dice</button>' in page
    assert "Show all 30" in page
    values = list(values.values())
    assert element(page, "p", "spread-words") == (
        f"Mean {statistics.mean(values):.3f}, median {statistics.median(values):.3f}. "
        f"{sum(value < 0.5 for value in values)} of 29 images are below 0.5."
    )
    heights = re.findall(r"<rect [^>]*height=\"([\d.]+)\"[^>]*opacity", page)
    counts = np.histogram(values, 20, (0, 1))[0]
    shares = np.array(heights, float) / max(map(float, heights))
    np.testing.assert_allclose(shares, counts / counts.max(), atol=1e-3)
    # A dot on each curve, for each image, and for each bin of probabilities that occurs.
    bins = np.count_nonzero(rows[0].calibration[0])
    assert page.count("<circle") == 3 + 29 + bins
    error = rows[0].total["threshold"]["calibration_error"]
    assert f"Expected calibration error {error:.3f}." in element(page, "p", "calibration-words")
    best = rows[0].curves["threshold"]["dice"].max()
    assert f"Dice <b>best {best:.3f} at " in page
    assert page.count("<figure>") == len(rows[0].examples) == 16
    for fact in rows[0].facts:
        assert f"<dt>{fact.label}</dt><dd>{html.escape(fact.text)}</dd>" in page


def test_clicks(rows, opened):
    page = opened(
        """
        const choose = byId("source");
        choose.value = "1"; choose.dispatchEvent(new Event("change"));
        byId("more").firstChild.click();
        byId("images").tHead.rows[0].cells[0].firstChild.click();
        byId("images").tHead.rows[0].cells[0].firstChild.click();
        byId("protocol").children[1].click();
        """
    )
    lines = table(page)
    numbers = [int(re.match(r"p(\d+)", line[0])[1]) for line in lines]
    assert numbers == [*range(29, -1, -1)]  # by number, 10 after 9, the other way round
    assert lines[-1][:4] == ["p0", "0.00", "–", "–"]
    values = dice(rows[1])
    assert all(line[2] == f"{values[line[0]]:.3f}" for line in lines[:-1])
    best = rows[1].curves["pranet"]["dice"].max()
    assert f"Dice <b>best {best:.3f} at " in page
    assert html.escape(str(rows[1].source.path)) in page


def test_an_undefined_score_is_last_in_both_orders(rows, opened):
    for clicks in (1, 2):  # headings of scores other than Dice sort from the highest first
        page = opened(
            "byId('more').firstChild.click();"
            + "byId('images').tHead.rows[0].cells[3].firstChild.click();" * clicks
        )
        lines = table(page)
        assert lines[-1][0] == "p0" and lines[-1][3] == "–"
        found = [float(line[3]) for line in lines[:-1]]
        assert found == sorted(found, reverse=clicks == 1) and len(found) == 29


def test_filter(opened):
    page = opened(
        "const box = byId('filter'); box.value = 'P3'; box.dispatchEvent(new Event('input'));"
    )
    assert {line[0] for line in table(page)} == {"p3<b>"}

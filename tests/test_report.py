"""`report.html`: self-contained, with the numbers of the tables, and example images in the right
colours.
"""

import base64
import json
import re

import cv2
import numpy as np
import pytest

from polypseg.data.maps import read_map
from polypseg.drawing.colours import FALSE, HIT, MISSED
from polypseg.drawing.comparison import draw_comparison
from polypseg.metrics import overlap
from polypseg.scoring.evaluation import Rules, score_items
from polypseg.scoring.gallery import choose, draw_examples
from polypseg.scoring.report import report
from polypseg.scoring.source_scores import SourceScores
from polypseg.scoring.sources import saved_sources


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A report on 30 maps of one program, whose stems try to break out of the page; its rows and
    its data.
    """
    folder = tmp_path_factory.mktemp("report")
    for name in ("masks", "images", "maps"):
        (folder / name).mkdir()
    rng = np.random.default_rng(5)
    for index in range(30):
        mask = np.zeros((48, 64), np.uint8)
        if index:  # one mask is empty
            cv2.circle(mask, (30, 22), 3 + index // 2, 255, -1)
        stem = f"p{index:02}" + ("<script>&amp;</script>".replace("/", "") if index == 1 else "")
        cv2.imwrite(str(folder / "masks" / f"{stem}.png"), mask)
        cv2.imwrite(str(folder / "images" / f"{stem}.jpg"), np.full((48, 64, 3), 90, np.uint8))
        moved = np.roll(mask, int(rng.integers(0, 25)), axis=1)
        cv2.imwrite(
            str(folder / "maps" / f"{stem}.png"),
            np.clip(moved + rng.normal(0, 20, mask.shape), 0, 255).astype(np.uint8),
        )
    (source,) = saved_sources([folder / "maps"], [folder / "masks"], names=["a <b> model"])
    rules = Rules(empty="skip")
    results = list(score_items(source.items, rules, workers=1))
    examples = draw_examples(
        source.items, results, rules, lambda items: [read_map(item.map) for item in items]
    )
    row = SourceScores(source, rules, results, examples=examples)
    text = report([row], {"commit": "abc"})
    return (
        row,
        text,
        json.loads(
            re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)[1]
        ),
    )


def test_it_needs_nothing_from_elsewhere(page):
    _, text, _ = page
    assert not re.findall(
        r"""(?:src|href)\s*=\s*["'](?!data:)""", text.replace("src: example.src", "")
    )
    assert set(re.findall(r"https?://[^\"' ]+", text)) == {"http://www.w3.org/2000/svg"}
    assert "@import" not in text and "url(" not in text
    assert "$" not in re.sub(r"\$\{", "", text.split("<script>\n")[1].split("</script>")[0])
    assert len(text) < 3e6


def test_names_cannot_break_out_of_the_page(page):
    row, text, data = page
    assert "<title>a &lt;b&gt; model on" in text
    assert text.count("<script") == 2 and text.count("</script>") == 2
    assert row.results[1].stem in [image["stem"] for image in data[0]["images"]]


def test_it_holds_the_numbers_of_the_tables(page):
    row, text, (data,) = page
    for protocol, names in (
        ("pranet", ("mean_dice", "mean_iou", "max_e_measure", "mae")),
        ("threshold", ("dice", "iou", "recall")),
    ):
        section = text.split(f"Protocol {protocol}</h2>")[1].split("</section>")[0]
        for name in names:
            low, high = row.intervals[protocol][name]
            cell = f"{row.total[protocol][name]:.3f}<small>[{low:.3f}, {high:.3f}]</small>"
            assert f"<td>{cell}</td>" in section
    assert "Empty masks: 1, scored with --empty skip." in text
    assert [image["dice"] for image in data["images"]] == [
        None
        if np.isnan(result.scores.threshold["dice"])
        else pytest.approx(result.scores.threshold["dice"], abs=1e-5)
        for result in row.results
    ]
    assert data["images"][0]["dice"] is None and data["images"][0]["size"] == 0
    curve = data["curves"]["threshold"]["dice"]
    assert len(curve) == 256 and curve[128] == pytest.approx(
        row.total["threshold"]["dice"], abs=1e-5
    )
    assert max(data["curves"]["pranet"]["iou"]) == pytest.approx(
        row.total["pranet"]["max_iou"], abs=1e-5
    )


def test_the_gallery_shows_the_worst_and_the_median(page):
    row, _, (data,) = page
    ranked = sorted(
        (result.scores.threshold["dice"], result.stem)
        for result in row.results
        if not np.isnan(result.scores.threshold["dice"])
    )
    worst = [tile["stem"] for tile in data["gallery"] if tile["kind"] == "worst"]
    middle = [tile["stem"] for tile in data["gallery"] if tile["kind"] == "median"]
    assert len(worst) == len(middle) == 8
    assert {row[1] for row in ranked if row[0] < ranked[8][0]} <= set(worst)
    assert ranked[len(ranked) // 2][1] in middle
    picture = cv2.imdecode(
        np.frombuffer(base64.b64decode(data["gallery"][0]["src"].split(",")[1]), np.uint8),
        cv2.IMREAD_COLOR,
    )
    assert picture.shape == (48, 64, 3) and picture.std() > 5


@pytest.mark.parametrize("count, each", [(1, 8), (5, 2), (9, 8), (20, 8)])
def test_no_picture_twice(page, count, each):
    row, _, _ = page
    worst, middle = choose(row.results[1 : count + 1], each)
    assert len(worst) == min(each, count)
    assert not set(worst) & set(middle) and len(middle) <= each
    assert set(worst) | set(middle) <= set(range(count))


def test_colours_say_hit_false_and_missed():
    mask, found = np.zeros((2, 60, 90), bool)
    mask[10:50, 10:50] = True
    found[10:50, 30:80] = True
    picture = draw_comparison(np.full((60, 90, 3), 100, np.uint8), mask, found).astype(float)
    for (row, column), colour, strength in (
        ((30, 40), HIT, 0.3),
        ((30, 65), FALSE, 0.5),
        ((30, 20), MISSED, 0.5),
    ):
        np.testing.assert_allclose(
            picture[row, column], 100 * (1 - strength) + strength * np.array(colour), atol=1
        )
    np.testing.assert_array_equal(picture[55, 85], 100)
    assert picture[10, 20].min() > 180  # the outline of the ground truth, white
    assert overlap(mask, found)["dice"] == pytest.approx(2 * 800 / (1600 + 2000))


def test_the_legend_has_the_colours_of_the_tiles(page):
    """Read off a tile of a black image, where a tint of any strength keeps its hue."""
    _, text, _ = page
    legend = text.split("<h2>Example images</h2>")[1].split("</div>")[0]
    entries = re.findall(r'style="(?:background|border):([^;"]*)[^>]*></i>([^<]*)<', legend)
    shown = {}
    for style, words in entries:
        if name := re.fullmatch(r"var\((--\w+)\)", style):
            (style,) = re.findall(rf"{name[1]}: ([^;]*);", text)  # once: dark pages have no other
        shown[words] = np.array(list(bytes.fromhex(style.split("#")[1])))
    mask, found = np.zeros((2, 60, 90), bool)
    mask[10:50, 10:50] = True
    found[10:50, 30:80] = True
    tile = draw_comparison(np.zeros((60, 90, 3), np.uint8), mask, found).astype(float)
    for words, place in {
        "found (true positive)": (30, 40),
        "wrongly found (false positive)": (30, 65),
        "missed (false negative)": (30, 20),
        "ground truth": (10, 20),
    }.items():
        colour, pixel = shown.pop(words), tile[place]
        np.testing.assert_allclose(pixel / pixel.max(), colour / colour.max(), atol=0.02)
    assert not shown

"""Every score that is registered, and one that is added."""

import csv
import io
import json
import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polypseg.data.images import write_png
from polypseg.metrics import GroundTruth, score, views
from polypseg.metrics.sweep import to_levels
from polypseg.metrics.table import METRICS, VOLUME, Metric
from polypseg.scoring import data_files, tables
from polypseg.scoring.evaluation import Rules, score_items
from polypseg.scoring.report import report
from polypseg.scoring.source_scores import SourceScores
from polypseg.scoring.sources import saved_sources

ALL = [(protocol, metric) for protocol, metrics in METRICS.items() for metric in metrics]


@pytest.mark.parametrize("protocol, metric", ALL, ids=lambda value: getattr(value, "key", value))
def test_an_entry_is_complete(protocol, metric):
    same = [
        other
        for other in METRICS[protocol]
        if other.key == metric.key or other.heading == metric.heading
    ]
    assert same == [metric]
    assert metric.better in ("higher", "lower")
    assert metric.words.endswith(".") and metric.latex
    assert (metric.array is None) == (metric.reduce is None)


@pytest.mark.parametrize("metric", VOLUME, ids=lambda metric: metric.key)
def test_an_entry_of_volumes_is_complete(metric):
    same = [other for other in VOLUME if other.key == metric.key or other.heading == metric.heading]
    assert same == [metric]
    assert metric.better in ("higher", "lower", "neither")
    assert metric.unit in ("%", "ml", "mm") and metric.words.endswith(".") and metric.latex


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 2**32 - 1),
    kind=st.sampled_from(["uint8", "float32", "bool"]),
    share=st.sampled_from([0.0, 0.3, 1.0]),
    empty=st.sampled_from(["skip", "one", "zero"]),
)
def test_a_score_is_a_number_or_nan(seed, kind, share, empty):
    rng = np.random.default_rng(seed)
    shape = rng.integers(2, 12, 2)
    mask = rng.random(shape) < share
    map_ = rng.random(shape)
    map_ = {
        "uint8": (map_ * 255).astype(np.uint8),
        "float32": map_.astype(np.float32),
        "bool": map_ > 0.5,
    }[kind]
    scores = score(mask, map_, empty=empty)
    most = mask.size / (mask.size - 1)  # of the E-measure, as its authors normalise it
    for protocol, metric in ALL:
        if metric.needs:
            continue
        value = getattr(scores, protocol)[metric.key]
        if metric.key == "false_positives":  # a number of components
            most = mask.size
        assert isinstance(value, float) and (math.isnan(value) or -1e-12 <= value <= most + 1e-12)


def test_one_entry_adds_a_score_everywhere(tmp_path, monkeypatch):
    """Specificity at the threshold: TN / (TN + FP)."""
    added = Metric(
        "specificity",
        "spec.",
        "Spec",
        "higher",
        "The share of the background that was left alone.",
        lambda view: float(np.mean(~view.mask[~view.truth.mask])),
    )
    monkeypatch.setitem(METRICS, "threshold", (*METRICS["threshold"], added))
    rng = np.random.default_rng(5)
    expected = []
    for folder in ("maps", "masks"):
        (tmp_path / folder).mkdir()
    for stem in "abc":
        mask, levels = rng.random((9, 13)) < 0.4, rng.integers(0, 256, (9, 13)).astype(np.uint8)
        write_png(tmp_path / "masks" / f"{stem}.png", mask * np.uint8(255))
        write_png(tmp_path / "maps" / f"{stem}.png", levels)
        negative = mask == 0
        expected.append((negative & (levels / 255 < 0.5)).sum() / negative.sum())
    (source,) = saved_sources([tmp_path / "maps"], [tmp_path / "masks"])
    rows = [SourceScores(source, Rules(), list(score_items(source.items, Rules())))]

    assert json.loads(data_files.metrics_json(rows))["threshold"]["specificity"] == pytest.approx(
        np.mean(expected)
    )
    written = csv.DictReader(io.StringIO(data_files.per_image_csv(rows)))
    assert [float(row["specificity"]) for row in written] == pytest.approx(expected, abs=1e-6)
    printed = f"{np.mean(expected):.3f}"
    for text, heading in (
        (tables.terminal_tables(rows, 3), "spec."),
        (tables.markdown_tables(rows), "spec."),
        (tables.latex_tables(rows), "Spec"),
    ):
        assert heading in text and printed in text
    page = report(rows, {})
    assert (
        "<dt>spec.</dt><dd>The share of the background that was left alone. Higher is better.</dd>"
        in page
    )
    assert (
        '["specificity", "spec."]' in page
        and ">spec.</th>" in page
        and f">{printed}<small>" in page
    )


def test_views_agree_for_grey_levels_and_floats():
    """The mask and the probability that a view offers, whatever the map's type."""
    rng = np.random.default_rng(6)
    truth = GroundTruth(rng.random((7, 5)) < 0.5)
    levels = rng.integers(0, 256, (7, 5)).astype(np.uint8)
    probability = levels / 255.0
    counted = views.MapLevels(truth, to_levels(probability))
    grey = views.ThresholdView(truth, levels, None, counted, 0.3, "one")
    floats = views.ThresholdView(truth, probability, probability, counted, 0.3, "one")
    np.testing.assert_array_equal(grey.mask, levels / 255 >= 0.3)
    np.testing.assert_array_equal(grey.mask, floats.mask)
    np.testing.assert_array_equal(grey.probability, floats.probability)
    assert (grey.hits, grey.predicted) == (floats.hits, floats.predicted)


def test_a_score_of_both_protocols_keeps_both_numbers_in_the_report(tmp_path, monkeypatch):
    """Recall at the threshold, and, under the same key and heading, of the map stretched first."""
    added = Metric(
        "recall",
        "recall",
        "recall",
        "higher",
        "The share of the mask that lies in the upper half of the stretched map.",
        lambda view: np.mean(view.probability[view.truth.mask] >= 0.5),
    )
    monkeypatch.setitem(METRICS, "pranet", (*METRICS["pranet"], added))
    for folder in ("maps", "masks"):
        (tmp_path / folder).mkdir()
    mask = np.array([[1, 1, 1, 1], [0, 0, 0, 0]], np.uint8)
    levels = np.array([[250, 130, 110, 60], [50, 50, 60, 70]], np.uint8)
    write_png(tmp_path / "masks/a.png", mask * np.uint8(255))
    write_png(tmp_path / "maps/a.png", levels)
    (source,) = saved_sources([tmp_path / "maps"], [tmp_path / "masks"])
    rows = [SourceScores(source, Rules(), list(score_items(source.items, Rules())))]

    page = report(rows, {})
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    (image,) = json.loads(data[1])[0]["images"]
    assert image["recall"] == 2 / 4  # of 250, 130, 110 and 60, two are at least 127.5
    assert image["pranet_recall"] == 1 / 4  # 50 to 250: half of it is 150
    assert '["recall", "recall"]' in page and '["pranet_recall", "recall (pranet)"]' in page
    assert "Protocol threshold; mDice, max Dice, recall (pranet): protocol pranet." in page
    for other in (added, next(m for m in METRICS["threshold"] if m.key == "recall")):
        assert f"<dt>recall</dt><dd>{other.words} Higher is better.</dd>" in page

"""The `pranet` protocol against the authors' own code: 24 stored pairs and its numbers for them."""

import csv
import math
from pathlib import Path

import numpy as np
import pytest

from polypseg.data.images import read_grey
from polypseg.data.masks import read_mask
from polypseg.metrics import DataSetScores, score

CASES = Path(__file__).parent / "data" / "metrics"
COLUMNS = {
    "meanDic": "mean_dice",
    "maxDic": "max_dice",
    "meanIoU": "mean_iou",
    "maxIoU": "max_iou",
    "wFm": "wfb",
    "Sm": "s_measure",
    "meanEm": "mean_e_measure",
    "maxEm": "max_e_measure",
    "MAE": "mae",
    "meanSen": "mean_sensitivity",
    "meanSpe": "mean_specificity",
}
# Of equally near foreground pixels MATLAB, Octave and SciPy choose different ones in weighted F.
CLOSE = dict.fromkeys(COLUMNS, 1e-9) | {"wFm": 1e-4}

with open(CASES / "official.csv", newline="") as file:
    ROWS = list(csv.DictReader(file))


def case(name):
    return read_mask(CASES / "gt" / name), read_grey(CASES / "pred" / name)


def test_all_cases_are_here():
    assert len(ROWS) == 24


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["name"])
def test_every_column_of_every_case(row):
    got = score(*case(row["name"]), empty="zero").pranet
    official = {name: float(row[name]) for name in COLUMNS}
    if (
        row["name"] == "023.png"
    ):  # undefined for an empty mask: MATLAB says NaN, --empty zero says 0
        assert math.isnan(official["wFm"]) and got["wfb"] == 0
        official["wFm"] = 0.0
    for name, expected in official.items():
        assert got[COLUMNS[name]] == pytest.approx(expected, abs=CLOSE[name], nan_ok=True), name


@pytest.mark.parametrize("row", ROWS[:6], ids=lambda row: row["name"])
def test_a_float_map_of_the_same_levels_scores_the_same(row):
    mask, levels = case(row["name"])
    expected = score(mask, levels)
    for dtype in (np.float32, np.float64):
        got = score(mask, levels.astype(dtype) / dtype(255))
        assert got.pranet == expected.pranet
        assert got.threshold == pytest.approx(expected.threshold, abs=1e-7)


def test_the_data_set_averages_the_curves_before_it_takes_their_maximum():
    scores = DataSetScores()
    for row in ROWS:
        scores.update_state(score(*case(row["name"]), empty="zero"))
    got = scores.result()
    assert got["n"] == 24
    for name, column in COLUMNS.items():
        if name.startswith("mean") or name in ("Sm", "MAE"):
            values = [float(row[name]) for row in ROWS]
            assert got["pranet"][column] == pytest.approx(np.nanmean(values), abs=1e-9), name
    # The authors' figures for these 24 pairs as one data set.
    assert got["pranet"]["max_dice"] == pytest.approx(0.516315, abs=1e-6)
    assert got["pranet"]["max_iou"] == pytest.approx(0.420611, abs=1e-6)
    assert got["pranet"]["max_e_measure"] == pytest.approx(0.691529, abs=1e-6)

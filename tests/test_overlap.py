"""The NumPy scores against scikit-learn, and every corner against its definition."""

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import f1_score, jaccard_score, precision_score, recall_score

from polypseg.metrics import overlap

ROOT = Path(__file__).resolve().parent.parent
KEYS = ["dice", "iou", "precision", "recall"]


def pair(seed, shape=(37, 53)):
    rng = np.random.default_rng(seed)
    mask = rng.random(shape) < rng.uniform(0.05, 0.9)
    return mask, mask ^ (rng.random(shape) < rng.uniform(0.0, 0.6))


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float32])
@pytest.mark.parametrize("seed", range(4))
def test_equals_scikit_learn(seed, dtype):
    mask, prediction = pair(seed)
    got = overlap(mask.astype(dtype), prediction.astype(dtype))
    scores = f1_score, jaccard_score, precision_score, recall_score
    expected = [score(mask.ravel(), prediction.ravel()) for score in scores]
    assert list(got) == KEYS
    assert list(got.values()) == pytest.approx(expected, abs=1e-14)
    assert all(type(value) is float for value in got.values())


@pytest.mark.parametrize(
    "empty, on_empty, on_found", [("skip", math.nan, math.nan), ("one", 1, 0), ("zero", 0, 0)]
)
def test_an_empty_mask_scores_what_the_user_chose(empty, on_empty, on_found):
    nothing = np.zeros((7, 5), bool)
    found = nothing.copy()
    found[3, 2] = True
    for prediction, expected in ((nothing, on_empty), (found, on_found)):
        got = overlap(nothing, prediction, empty=empty)
        assert list(got) == KEYS
        np.testing.assert_array_equal(list(got.values()), 4 * [expected])


@pytest.mark.parametrize("empty", ["skip", "one", "zero"])
def test_the_choice_does_not_touch_other_masks(empty):
    mask, prediction = pair(9)
    assert overlap(mask, prediction, empty) == overlap(mask, prediction)
    assert overlap(mask, np.zeros_like(mask), empty) == dict.fromkeys(KEYS, 0.0)


def test_precision_and_recall_are_not_swapped():
    mask = np.array([[1, 1, 1, 1, 0]])
    prediction = np.array([[1, 0, 0, 0, 1]])
    # tp 1, fp 1, fn 3
    assert overlap(mask, prediction) == {
        "dice": 2 / 6,
        "iou": 1 / 5,
        "precision": 1 / 2,
        "recall": 1 / 4,
    }


@pytest.mark.parametrize(
    "mask, prediction, empty, words",
    [
        (np.zeros((4, 5)), np.zeros((5, 4)), "one", r"mask=\(4, 5\), prediction=\(5, 4\)"),
        (np.zeros((4, 5, 1)), np.zeros((4, 5)), "one", r"mask \(H, W\).*\(4, 5, 1\)"),
        (np.zeros((4, 5)), np.zeros(5), "one", r"prediction \(H, W\)"),
        (np.full((4, 5), 255), np.zeros((4, 5)), "one", "mask in .*255"),
        (np.zeros((4, 5)), np.full((4, 5), 0.5), "one", "prediction in .*0.5"),
        (np.full((4, 5), np.nan), np.zeros((4, 5)), "one", "mask in .*nan"),
        (np.zeros((4, 5)), np.zeros((4, 5)), "nan", "skip, one, zero.*'nan'"),
    ],
)
def test_rejects(mask, prediction, empty, words):
    with pytest.raises(ValueError, match=words):
        overlap(mask, prediction, empty)


def test_scoring_does_not_load_keras():
    code = "import sys, metrics; metrics.overlap([[1]], [[1]]); sys.exit('keras' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0

"""Comparisons, rankings and parts of the data: against SciPy and statsmodels, and from the files
that `test.py` writes.
"""

import csv
import json
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from polypseg.data.images import write_png
from polypseg.metrics.bootstrap import interval, resample_weights
from polypseg.metrics.table import METRICS
from polypseg.scoring.comparison import Comparison, holm, signed_rank
from tests.in_process import run_script

ROOT = Path(__file__).resolve().parent.parent
MODELS = ("good", "fair", "poor")
STEMS = [f"P{patient}-{image}" for patient in range(8) for image in range(3)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """24 images of 8 patients, the last one without foreground, and the maps of three models."""
    folder = tmp_path_factory.mktemp("comparison")
    rng = np.random.default_rng(1)
    for name in ("masks", *MODELS):
        (folder / name).mkdir()
    lines = ["stem;device;age"]
    for index, stem in enumerate(STEMS):
        mask = np.zeros((40, 50), bool)
        if stem != STEMS[-1]:
            mask[5 : 10 + index, 8 : 20 + index // 2] = True
        write_png(folder / f"masks/{stem}.png", mask * np.uint8(255))
        for model, noise in zip(MODELS, (35, 50, 70)):
            levels = np.clip(rng.normal(70 + 120 * mask, noise), 0, 255).astype(np.uint8)
            write_png(folder / f"{model}/{stem}.png", levels)
        lines.append(f"{stem}.jpg;{'AB'[index % 2]};{'' if index == 3 else 30 + index}")
    (folder / "properties.csv").write_text("\n".join(lines) + "\n")
    return folder


def score_py(folder, *options, models=MODELS):
    maps = [folder / model for model in models]
    return run_script(
        ROOT / "test.py", "--predictions", *maps, "--masks", folder / "masks", *options
    )


@pytest.fixture(scope="module")
def scored(folder):
    out = folder / "out"
    options = ["--group-by", "^P\\d+", "--strata", folder / "properties.csv", "--csv-long"]
    result = score_py(folder, *options, "--boundary", "2", "--out", out)
    assert result.returncode == 0, result.stderr
    return out, result.stdout, json.loads((out / "metrics.json").read_text())


@pytest.fixture(scope="module")
def per_image(scored):
    """The scores of the images by model, from per_image.csv."""
    with open(scored[0] / "per_image.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    return {model: [row for row in rows if row["model"] == model] for model in MODELS}


def test_holm_is_that_of_statsmodels():
    rng = np.random.default_rng(0)
    for size in (1, 2, 3, 10, 45):
        p = rng.random(size) ** 3
        np.testing.assert_allclose(holm(p), multipletests(p, method="holm")[1], atol=1e-15)
    np.testing.assert_array_equal(holm([0.02, np.nan, 0.03]), [0.04, np.nan, 0.04])
    assert holm([]).size == 0


def test_signed_rank_by_enumeration():
    """All 2^9 signs of 9 differences are equally likely if the models are equal."""
    differences = np.array([0.3, -0.1, 0.4, 0.25, 0.6, -0.05, 0.7, 0.8, 0.15])
    ranks = stats.rankdata(np.abs(differences))
    signs = np.array(np.meshgrid(*[[0, 1]] * 9)).reshape(9, -1)
    sums = ranks @ signs
    observed = ranks[differences > 0].sum()
    tail = min((sums >= observed).mean(), (sums <= observed).mean())
    assert signed_rank(differences) == (pytest.approx(2 * tail), 1)
    assert signed_rank([*-differences, 0.0, np.nan, 1e-17]) == (pytest.approx(2 * tail), -1)
    assert signed_rank([0.0, 1e-17]) == (1, 0) and np.isnan(signed_rank([np.nan])[0])


def test_signed_rank_of_many_images_is_scipys():
    differences = np.random.default_rng(3).normal(0.01, 0.1, 200)
    assert signed_rank(differences) == (stats.wilcoxon(differences).pvalue, 1)


def unit_means(rows, key):
    """The mean of each patient over the images that define the score."""
    patients = {}
    for row in rows:
        if row[key]:
            patients.setdefault(row["group"], []).append(float(row[key]))
    return np.array([np.mean(patients[name]) for name in sorted(patients)])


def test_pairs_have_intervals_of_patients_and_corrected_p_values(scored, per_image):
    _, _, content = scored
    totals = {row["model"]: row for row in content["results"]}
    pairs = [
        pair
        for pair in content["comparisons"]
        if (pair["protocol"], pair["score"]) == ("threshold", "dice")
    ]
    assert [{pair["better"], pair["other"]} for pair in pairs] == [
        set(models) for models in combinations(MODELS, 2)
    ]
    weights = np.concatenate(list(resample_weights(8)))
    p = []
    for pair in pairs:
        better, other = per_image[pair["better"]], per_image[pair["other"]]
        difference = np.array([float(a["dice"]) - float(b["dice"]) for a, b in zip(better, other)])
        assert pair["difference"] == pytest.approx(difference.mean(), abs=1e-6)
        assert pair["difference"] == pytest.approx(
            totals[pair["better"]]["threshold"]["dice"] - totals[pair["other"]]["threshold"]["dice"]
        )
        sums = difference.reshape(8, 3).sum(axis=1)  # the images of a patient follow each other
        expected = np.quantile(weights @ sums / (3 * weights.sum(axis=1)), [0.025, 0.975])
        np.testing.assert_allclose(pair["interval"], expected, atol=2e-6)
        p.append(stats.wilcoxon(unit_means(better, "dice") - unit_means(other, "dice")).pvalue)
        assert (pair["images"], pair["units"]) == (24, 8)
    assert [pair["wilcoxon_p"] for pair in pairs] == pytest.approx(p)
    assert [pair["holm_p"] for pair in pairs] == pytest.approx(
        multipletests(p, method="holm")[1].tolist()
    )


def test_a_lower_value_is_better_where_it_is(scored):
    _, _, content = scored
    totals = {row["model"]: row for row in content["results"]}
    for pair in content["comparisons"]:
        metric = next(m for m in METRICS[pair["protocol"]] if m.key == pair["score"])
        values = [totals[pair[name]][pair["protocol"]][metric.key] for name in ("better", "other")]
        if None not in values:
            assert values[0] <= values[1] if metric.better == "lower" else values[0] >= values[1]


def test_the_ranking_counts_resamples(scored, per_image):
    _, stdout, content = scored
    (ranking,) = [
        ranking
        for ranking in content["rankings"]
        if (ranking["protocol"], ranking["score"]) == ("threshold", "dice")
    ]
    weights = np.concatenate(list(resample_weights(8)))
    means = []
    for model in ranking["models"]:
        dice = np.array([float(row["dice"]) for row in per_image[model]])
        means.append(weights @ dice.reshape(8, 3).sum(axis=1) / (3 * weights.sum(axis=1)))
    ranks = stats.rankdata(-np.array(means), axis=0, method="min")
    expected = [[(row == rank).mean() for rank in (1, 2, 3)] for row in ranks]
    np.testing.assert_allclose(ranking["share_of_resamples_at_rank"], expected, atol=1e-4)
    assert f"Best Dice in the resamples (ties count for each): {ranking['models'][0]} in " in stdout


def test_parts_by_size_group_and_column(scored, per_image):
    _, _, content = scored
    (row,) = [row for row in content["results"] if row["model"] == "good"]
    images = per_image["good"]
    strata = row["strata"]
    assert list(strata) == ["size", "group", "device", "age"]

    def check(part, chosen):
        dice = [float(image["dice"]) for image in chosen]
        assert part["n"] == len(chosen)
        assert part["threshold"]["dice"] == pytest.approx(np.mean(dice), abs=1e-6)
        low, high = part["intervals"]["threshold"]["dice"]
        assert min(dice) - 1e-6 <= low <= part["threshold"]["dice"] <= high <= max(dice) + 1e-6

    ranked = sorted(images, key=lambda image: float(image["mask_share"]))
    assert [part["name"] for part in strata["size"]] == [
        "small",
        "medium",
        "large",
        "no foreground",
    ]
    start = 1  # the image without foreground has the smallest share
    for part in strata["size"][:3]:
        chosen = ranked[start : start + part["n"]]
        check(part, chosen)
        assert part["limits"] == pytest.approx(
            [float(chosen[0]["mask_share"]), float(chosen[-1]["mask_share"])], abs=1e-6
        )
        start += part["n"]
    assert start == 24 and {part["n"] for part in strata["size"][:3]} <= {7, 8}
    assert strata["size"][3]["n"] == 1 and strata["size"][3]["intervals"]["threshold"]["dice"] == [
        None,
        None,
    ]
    for part in strata["group"]:
        check(part, [image for image in images if image["stem"].startswith(f"{part['name']}-")])
    assert [part["name"] for part in strata["device"]] == ["A", "B"]
    check(strata["device"][1], images[1::2])
    # 23 different ages, 30 to 53 without 33: three parts, and the image without one.
    assert [(part["name"], part["limits"], part["n"]) for part in strata["age"]] == [
        ("low", [30, 38], 8),
        ("middle", [39, 45], 7),
        ("high", [46, 53], 8),
        ("unknown", None, 1),
    ]
    check(strata["age"][2], images[16:])


def test_the_interval_is_by_patient_and_said_to_be_unreliable(scored, per_image):
    out, stdout, content = scored
    weights = np.concatenate(list(resample_weights(8)))
    dice = np.array([float(row["dice"]) for row in per_image["good"]]).reshape(8, 3).sum(axis=1)
    expected = interval(weights @ dice / (3 * weights.sum(axis=1)))
    row = content["results"][0]
    assert row["intervals"]["threshold"]["dice"] == pytest.approx(expected, abs=2e-6)
    assert row["bootstrap"] == {
        "level": 0.95,
        "resamples": 10_000,
        "seed": 0,
        "drawn": "groups",
        "groups": 8,
        "reliable": False,
        "defined_by_fewer": {
            "threshold": {},
            "pranet": {},
            "lesions": dict.fromkeys(
                ("false_alarm_rate", "false_alarm_rate_1_percent", "false_alarm_area"), 1
            ),
        },
    }
    words = "are unreliable, often too short: 8 groups, fewer than 50"
    assert words in stdout and words in (out / "table.md").read_text()
    assert words in (out / "report.html").read_text()
    assert set(row["intervals"]["pranet"]) == {metric.key for metric in METRICS["pranet"]}


def test_the_long_table_has_a_row_for_each_number(scored, per_image):
    out, _, _ = scored
    with open(out / "long.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 * 24 * sum(len(metrics) for metrics in METRICS.values())
    for row in rows:
        if row["model"] == "fair" and row["stem"] == "P2-1":
            prefix = {"threshold": "", "pranet": "pranet_", "lesions": "lesion_"}[row["protocol"]]
            (image,) = (image for image in per_image["fair"] if image["stem"] == "P2-1")
            assert image[prefix + row["score"]] == row["value"] and row["group"] == "P2"


def a_pair(difference, ends, p):
    (metric,) = (metric for metric in METRICS["threshold"] if metric.key == "dice")
    return Comparison("bowel", "threshold", metric, "A", "B", 100, 100, difference, ends, p, p)


@pytest.mark.parametrize(
    "pair, words",
    [
        (
            a_pair(0.018, (-0.006, 0.043), 0.2),
            "A is better than B by 0.018 [-0.006, 0.043] in Dice on 100 images: "
            "not shown to differ",
        ),
        (
            a_pair(0.018, (0.006, 0.043), 0.0004),
            "A is better than B by 0.018 [0.006, 0.043] in Dice on 100 images: "
            "shown to differ (Wilcoxon, Holm: p < 0.001)",
        ),
        (
            a_pair(0.018, (0.006, 0.043), 0.2),
            "100 images: unclear, since the interval shows a difference but the test does not "
            "(Wilcoxon, Holm: p = 0.200)",
        ),
        (
            a_pair(0.018, (-0.006, 0.043), 0.02),
            "100 images: unclear, since the test shows a difference (Wilcoxon, Holm: p = 0.020) "
            "but the interval does not",
        ),
        (
            a_pair(0.00107, (0.00014, 0.00176), 0.2),
            "A is better than B by 0.0011 [0.0001, 0.0018] in Dice on 100 images: unclear, since "
            "the interval shows a difference but the test does not (Wilcoxon, Holm: p = 0.200)",
        ),
        (a_pair(0.0, (0.0, 0.0), 1.0), "A and B have the same Dice on 100 images"),
        (
            a_pair(0.1, (np.nan, np.nan), np.nan),
            "A is better than B by 0.100 in Dice on 100 images: too few images to compare",
        ),
    ],
)
def test_a_comparison_in_words(pair, words):
    assert pair.sentence.endswith(words)


@pytest.mark.parametrize(
    "text, words",
    [
        ("", "expected a column of stems and another one"),
        ("stem\nP0-0\n", "expected a column of stems and another one"),
        ("stem,a\nP0-0,1\nP0-0,2\n", "P0-0 twice"),
        (
            "stem,a\nP0-0,1\n",
            "a line for each of the 24 images, got none for P0-1, P0-2, P1-0, ...",
        ),
        ("stem,size\nP0-0,1\n", "another name of a column than size"),
        ("stem,a\nP0-0,1\nP0-0.png,2\n", "P0-0 twice"),
        ("stem,a\nP0-0.5,1\n", "a line for each of the 24 images, got none for P0-0, P0-1"),
        ("stem,a,a\nP0-0,1,2\n", "columns with different names"),
        ("stem,a\n" + "".join(f"{stem},{stem}\n" for stem in STEMS), "at most 20 different values"),
        ("stem,a\nP0-0,1,7\n", "2 cells in each line, got 3: P0-0"),
    ],
)
def test_a_table_of_properties_that_does_not_fit_is_an_error(folder, text, words, tmp_path):
    (tmp_path / "bad.csv").write_text(text)
    result = score_py(folder, "--strata", tmp_path / "bad.csv", models=["good"])
    assert result.returncode == 2 and result.stderr.count("\n") == 1
    assert "--strata" in result.stderr and words in result.stderr


@pytest.mark.parametrize(
    "options, words",
    [
        (["--lesion-iou", "1"], "--lesion-iou: expected a number from 0 to below 1"),
        (["--lesion-pixels", "0"], "--lesion-pixels: expected 1 or more"),
        (["--boundary", "-1"], "--boundary: expected 0 or more"),
        (["--boundary", "nan"], "--boundary: expected 0 or more"),
        (["--csv-long"], "--csv-long: expected a folder in `out`"),
        (["--group-by", "^Q"], "--group-by: expected '^Q' to match"),
        (["--strata", "missing.csv"], "--strata: expected a CSV file"),
    ],
)
def test_options_that_are_wrong(folder, options, words):
    result = score_py(folder, *options, models=["good"])
    assert result.returncode == 2 and result.stderr.count("\n") == 1
    assert words.replace("`out`", "--out") in result.stderr.replace("`out`", "--out")


def test_groups_can_come_from_the_table_of_properties(folder, scored, tmp_path):
    lines = [f"{stem},{stem.split('-')[0]}" for stem in STEMS]
    (tmp_path / "patients.csv").write_text("\n".join(["name,patient", *lines]))
    options = ["--strata", tmp_path / "patients.csv", "--group-by", "patient"]
    result = score_py(folder, *options, "--out", tmp_path / "out", models=["good"])
    assert result.returncode == 0, result.stderr
    content = json.loads((tmp_path / "out/metrics.json").read_text())
    expected = scored[2]["results"][0]
    assert content["intervals"]["pranet"] == expected["intervals"]["pranet"]
    assert list(content["strata"]) == ["size", "group"]
    (tmp_path / "patients.csv").write_text("\n".join(["name,patient", *lines[1:], "P0-0,"]))
    result = score_py(folder, *options, models=["good"])
    assert result.returncode == 2 and "--group-by: expected a patient for each" in result.stderr


def test_a_property_with_many_parts_is_left_to_the_json(folder, tmp_path):
    for name in ("maps", "masks"):
        (tmp_path / name).mkdir()
    for index in range(40):
        mask = np.zeros((9, 11), np.uint8)
        mask[2:6, 3 : 4 + index % 7] = 255
        write_png(tmp_path / f"masks/P{index:02}.png", mask)
        write_png(tmp_path / f"maps/P{index:02}.png", mask)
    arguments = ["--predictions", tmp_path / "maps", "--masks", tmp_path / "masks"]
    result = run_script(
        ROOT / "test.py", *arguments, "--group-by", r"^P\d+", "--out", tmp_path / "out"
    )
    assert result.returncode == 0, result.stderr
    for name in ("table.md", "report.html"):
        text = (tmp_path / "out" / name).read_text()
        assert (
            "By group: 40 parts, in metrics.json." in text and "P17" not in text.split("<script")[0]
        )
    content = json.loads((tmp_path / "out/metrics.json").read_text())
    assert [part["name"] for part in content["strata"]["group"]] == [f"P{i:02}" for i in range(40)]


def drawn_maps(folder, values):
    """Write masks of 10 x 10 pixels, half of them foreground, and maps of two models that find the
    given numbers of these pixels.
    """
    for name in ("masks", "a", "b"):
        (folder / name).mkdir()
    for index, numbers in enumerate(values):
        mask = np.zeros((10, 10), np.uint8)
        mask[:5] = 255
        write_png(folder / f"masks/{index:02}.png", mask)
        for name, found in zip("ab", numbers):
            map_ = np.zeros(100, np.uint8)
            map_[:found] = 255
            write_png(folder / f"{name}/{index:02}.png", map_.reshape(10, 10))


def test_a_mean_that_few_images_decide_is_told(tmp_path):
    """Model b is a little better on 52 of 60 images, and finds nothing on 8."""
    drawn_maps(tmp_path, [(40, 42)] * 52 + [(40, 0)] * 8)
    arguments = ["--predictions", tmp_path / "a", tmp_path / "b", "--masks", tmp_path / "masks"]
    result = run_script(ROOT / "test.py", *arguments, "--out", tmp_path / "out")
    assert result.returncode == 0, result.stderr
    dice = [2 * found / (50 + found) for found in (40, 42)]
    assert f"a is better than b by {dice[0] - 52 / 60 * dice[1]:.3f} [" in result.stdout
    assert "unclear, since the test says that b is better (Wilcoxon, Holm: p" in result.stdout
    (pair,) = [
        pair
        for pair in json.loads((tmp_path / "out/metrics.json").read_text())["comparisons"]
        if pair["score"] == "dice"
    ]
    assert (pair["better"], pair["test_favours"]) == ("a", "b")


@pytest.mark.parametrize("options", [[], ["--empty", "skip"], ["--group-by", "."]])
@pytest.mark.parametrize("images", [1, 3])
def test_five_models_and_hardly_any_data(tmp_path, options, images):
    """One image; or masks without foreground, whose Dice is not defined."""
    drawn_maps(tmp_path, [(40, 30)] * images)
    if images == 3:
        for path in (tmp_path / "masks").iterdir():
            write_png(path, np.zeros((10, 10), np.uint8))
    maps = [tmp_path / name for name in "ababa"]
    result = run_script(
        ROOT / "test.py",
        "--predictions",
        *maps,
        "--masks",
        tmp_path / "masks",
        "--names",
        *"vwxyz",
        *options,
        "--out",
        tmp_path / "out",
    )
    assert result.returncode == 0, result.stderr
    assert "nan" not in result.stdout and "Traceback" not in result.stderr
    if images == 1:
        assert "too few images to compare" in result.stdout and "no intervals" in result.stdout
    elif "skip" in options:
        assert "mDice" in result.stdout and "in Dice on" not in result.stdout


def test_models_of_different_images_are_not_compared(folder, tmp_path):
    lists = [tmp_path / "a.txt", tmp_path / "b.txt"]
    for path, stems in zip(lists, (STEMS[:5], STEMS[5:12])):
        path.write_text("\n".join(stems))
    result = score_py(folder, "--stems", *lists, "--out", tmp_path / "out", models=["good", "fair"])
    assert result.returncode == 0, result.stderr
    content = json.loads((tmp_path / "out/metrics.json").read_text())
    assert content["comparisons"] == [] and " is better than " not in result.stdout

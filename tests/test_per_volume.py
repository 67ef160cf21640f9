"""`test.py --per-volume`, run for real on drawn patients: as volumes, as slices, and bad input."""

import csv
import errno
import gzip
import json
import math
import os
import re
import shutil
import subprocess
import tracemalloc
from pathlib import Path
from unittest import mock

import cv2
import nibabel
import numpy as np
import pytest
from in_process import run_script
from scipy import stats
from stub_predictor import Stub
from volumes_on_disk import SPACING, patients, write_slices, write_volume

from polypseg.inference.predictor import Predictor
from polypseg.scoring.volumes.run import score_volumes
from polypseg.scoring.volumes.sources import volume_sources

ROOT = Path(__file__).resolve().parent.parent
RUN = ROOT / "tests" / "data" / "before_rooms" / "finished"
ML = math.prod(SPACING) / 1000


def test_py(*arguments):
    return run_script(ROOT / "test.py", *arguments)


test_py.__test__ = False


def with_network(*arguments, model=RUN):
    """`Stub` in place of the run's network: the probability is the red channel / 255."""
    with mock.patch.object(Predictor, "load", staticmethod(lambda path, *options: Stub())):
        return test_py("--model", model, *arguments)


def expected(drawn):
    """By key, the scores of each patient."""
    scores = {key: [] for key in ("dice", "iou", "precision", "recall", "volume_difference_ml")}
    for truth, found in drawn.values():
        tp, fp, fn = (truth & found).sum(), (found & ~truth).sum(), (truth & ~found).sum()
        scores["dice"].append(2 * tp / (2 * tp + fp + fn))
        scores["iou"].append(tp / (tp + fp + fn))
        scores["precision"].append(tp / max(tp + fp, 1))
        scores["recall"].append(tp / (tp + fn))
        scores["volume_difference_ml"].append((fp - fn) * ML)
    return {key: np.array(values) for key, values in scores.items()}


def error_of(result):
    assert result.returncode == 2, result.stdout + result.stderr
    lines = [line for line in result.stderr.splitlines() if ": note: " not in line]
    assert len(lines) == 1 and "Traceback" not in result.stderr, result.stderr
    assert not result.stdout
    return lines[0]


def words_of(text):
    return re.sub(" +", " ", text)


@pytest.fixture(scope="module")
def drawn():
    return patients(1, 8)


@pytest.fixture()
def folder(tmp_path, drawn):
    """The patients as `labels/`, `unet/` and `other/`, which has probabilities, one voxel away."""
    for name, (truth, found) in drawn.items():
        write_volume(tmp_path / "labels" / f"{name}.nii.gz", truth.astype(np.uint8))
        write_volume(tmp_path / "unet" / f"{name}.nii.gz", found.astype(np.uint8) * 255)
        moved = np.roll(found, 1, axis=0) * np.float32(0.6)
        write_volume(tmp_path / "other" / f"{name}.nii.gz", moved)
    return tmp_path


@pytest.fixture()
def data(tmp_path, drawn):
    write_slices(tmp_path / "data", drawn)
    return tmp_path / "data"


def test_volumes(folder, drawn):
    """The option is implied by the files' names."""
    out = folder / "out"
    result = test_py("--predictions", folder / "unet", "--masks", folder / "labels", "--out", out)
    assert result.returncode == 0, result.stderr
    scores = expected(drawn)
    assert len(set(scores["dice"])) > 5
    content = json.loads((out / "metrics.json").read_text())
    assert content["n"] == 8 and content["patients_without_foreground"] == 0
    for key, values in scores.items():
        assert content["volume"][key] == pytest.approx(values.mean())
        assert content["distribution"]["volume"][key] == pytest.approx(
            {
                "standard_deviation": values.std(ddof=1),
                "min": values.min(),
                "median": np.median(values),
                "max": values.max(),
            }
        )
        low, high = content["intervals"]["volume"][key]
        assert values.min() <= low < values.mean() < high <= values.max()
    assert content["volume"]["absolute_volume_difference_ml"] == pytest.approx(
        abs(scores["volume_difference_ml"]).mean()
    )
    assert content["bootstrap"]["drawn"] == "patients" and content["bootstrap"]["patients"] == 8

    dice = 100 * scores["dice"]
    printed = f"{dice.mean():.2f} ± {dice.std(ddof=1):.2f}"
    assert printed in result.stdout and "Dice (%)" in result.stdout
    assert f"{dice.min():.2f} to {dice.max():.2f}" in result.stdout
    low, high = (f"{100 * end:.2f}" for end in content["intervals"]["volume"]["dice"])
    assert f"95 % interval {low} to {high}" in words_of(result.stdout)
    assert f"{printed} [{low}, {high}]" in (out / "table.md").read_text()
    assert printed.replace("±", r"$\pm$") in (out / "table.tex").read_text()

    with open(out / "per_patient.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["patient"] for line in lines] == list(drawn)
    for key, values in scores.items():
        assert [float(line[key]) for line in lines] == pytest.approx(list(values), abs=1e-6)
    for place, key in enumerate(("truth_ml", "predicted_ml")):
        ml = [pair[place].sum() * ML for pair in drawn.values()]
        assert [float(line[key]) for line in lines] == pytest.approx(ml, abs=1e-6)
    assert "hd95" not in lines[0]


def test_slices_of_a_network_and_saved_maps_score_as_the_volumes(folder, data, tmp_path):
    """The three ways to the same numbers, boundary scores included."""
    pytest.importorskip("surface_distance")
    maps = tmp_path / "maps"
    maps.mkdir()
    for image in (data / "images").iterdir():
        cv2.imwrite(str(maps / image.name), cv2.imread(str(image))[..., 2])
    outs = [tmp_path / name for name in ("files", "network", "saved")]
    for done in (
        test_py(
            *("--predictions", folder / "unet", "--masks", folder / "labels"),
            *("--boundary", "1.5", "--out", outs[0]),
        ),
        with_network(
            *("--data-path", data, "--subset", "all", "--per-volume"),
            *("--boundary", "1.5", "--out", outs[1], "--save-predictions"),
        ),
        test_py(
            *("--predictions", maps, "--masks", data / "masks", "--per-volume"),
            *("--boundary", "1.5", "--out", outs[2]),
        ),
    ):
        assert done.returncode == 0, done.stderr
    contents = [json.loads((out / "metrics.json").read_text()) for out in outs]
    for content in contents[1:]:
        assert content["n"] == 8
        for key in ("volume", "intervals", "distribution"):
            for of_volumes, other in zip(_numbers(contents[0][key]), _numbers(content[key])):
                assert other == pytest.approx(of_volumes, rel=1e-6)
    assert contents[0]["volume"]["hd95"] > 1 and 0 < contents[0]["volume"]["surface_dice"] < 1
    assert contents[1]["settings"]["boundary"] == 1.5
    saved = cv2.imread(str(outs[1] / "predictions" / "case_3-0007.png"), cv2.IMREAD_GRAYSCALE)
    np.testing.assert_array_equal(
        saved, cv2.imread(str(maps / "case_3-0007.png"), cv2.IMREAD_GRAYSCALE)
    )
    tables = [(out / "per_patient.csv").read_text() for out in outs]
    assert tables[1] == tables[2]


def _numbers(value):
    if isinstance(value, dict):
        return [number for part in value.values() for number in _numbers(part)]
    return (
        [number for part in value for number in _numbers(part)]
        if isinstance(value, list)
        else [value]
    )


def test_predictions_in_another_order_of_the_axes(folder, drawn):
    """LPS with the axes exchanged, as some programs write; the voxels lie where they lay."""
    affine = np.diag([*SPACING, 1])
    for name, (_, found) in drawn.items():
        image = nibabel.Nifti1Image(found.astype(np.uint8), affine)
        codes = nibabel.orientations.axcodes2ornt(("S", "L", "P"))
        turned = image.as_reoriented(codes)
        assert turned.shape != found.shape
        turned.header.set_xyzt_units("mm")
        nibabel.save(turned, folder / "unet" / f"{name}.nii.gz")
    out = folder / "out"
    done = test_py("--predictions", folder / "unet", "--masks", folder / "labels", "--out", out)
    assert done.returncode == 0, done.stderr
    content = json.loads((out / "metrics.json").read_text())
    assert content["volume"]["dice"] == pytest.approx(expected(drawn)["dice"].mean())


def test_threshold_of_probabilities(folder):
    """The map has 0.6 in the foreground."""
    recalls = {}
    for threshold in ("0.6", "0.61"):
        out = folder / threshold
        done = test_py(
            *("--predictions", folder / "other", "--masks", folder / "labels"),
            *("--threshold", threshold, "--out", out),
        )
        assert done.returncode == 0, done.stderr
        recalls[threshold] = json.loads((out / "metrics.json").read_text())["volume"]["recall"]
    assert recalls["0.6"] > 0.3 and recalls["0.61"] == 0


def test_several_models_are_compared(folder, drawn):
    out = folder / "out"
    done = test_py(
        *("--predictions", folder / "unet", folder / "other"),
        *("--masks", folder / "labels", "--out", out),
    )
    assert done.returncode == 0, done.stderr
    moved = {name: (truth, np.roll(found, 1, axis=0)) for name, (truth, found) in drawn.items()}
    differences = expected(drawn)["dice"] - expected(moved)["dice"]
    content = json.loads((out / "metrics.json").read_text())
    assert [result["model"] for result in content["results"]] == ["unet", "other"]
    (pair,) = (pair for pair in content["comparisons"] if pair["score"] == "dice")
    assert (pair["better"], pair["other"], pair["patients"]) == ("unet", "other", 8)
    assert pair["difference"] == pytest.approx(differences.mean())
    assert pair["wilcoxon_p"] == pytest.approx(stats.wilcoxon(differences).pvalue)
    # A volume that is smaller than the true one is no better than one that is larger.
    assert "volume_difference_ml" not in {pair["score"] for pair in content["comparisons"]}
    low, high = (100 * end for end in pair["interval"])
    sentence = (
        f"unet is better than other by {100 * differences.mean():.2f} [{low:.2f}, {high:.2f}] "
        "percentage points in Dice on 8 patients: "
    )
    assert sentence in done.stdout
    lines = (out / "per_patient.csv").read_text().splitlines()
    assert len(lines) == 17 and lines[9].startswith("other,labels,case_0,")
    bold = f"**{100 * expected(drawn)['dice'].mean():.2f} ± "
    assert bold in (out / "table.md").read_text()


@pytest.mark.parametrize("per_volume", [True, False])
def test_models_on_different_patients_are_not_compared(per_volume, data, tmp_path):
    """Two runs with other test splits: their rows have one name of the data."""
    runs = []
    for name, tested in (("one", ("1", "2")), ("two", ("2", "5")), ("three", ("1", "2"))):
        runs.append(tmp_path / name)
        shutil.copytree(RUN, runs[-1])
        for unwanted in ("files.csv", "data.txt"):
            (runs[-1] / unwanted).unlink(missing_ok=True)
        lines = [f"case_{number}-{index:04d}\n" for number in tested for index in range(14)]
        (runs[-1] / "split" / "test.txt").write_text("".join(lines))
    option = ["--per-volume"] * per_volume
    call = ["--data-path", data, *option, "--out", tmp_path / "out", "--model"]
    with mock.patch.object(Predictor, "load", staticmethod(lambda path, *options: Stub())):
        different = test_py(*call, *runs)
        same = test_py(*call, runs[0], runs[2])
    assert different.returncode == same.returncode == 0, different.stderr + same.stderr
    notes = [line for line in different.stderr.splitlines() if "not compared" in line]
    assert notes == [
        f"test.py: note: one and two are scored on different {'patient' if per_volume else 'image'}"
        "s of data test, so they are not compared (--stems chooses the same for all)"
    ]
    assert "one and three have the same" in different.stdout
    assert "not compared" not in same.stderr


@pytest.mark.parametrize("rule, dice", [("one", 0.5), ("zero", 0.0), ("skip", None)])
def test_a_patient_without_foreground(tmp_path, rule, dice):
    """Two of them, one with a false alarm."""
    shape = (9, 8, 7)
    empty, alarm = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
    alarm[4, 4, 4] = 1
    for name, prediction in (("a", empty), ("b", alarm)):
        write_volume(tmp_path / "labels" / f"{name}.nii", empty)
        write_volume(tmp_path / "maps" / f"{name}.nii", prediction)
    done = test_py(
        *("--predictions", tmp_path / "maps", "--masks", tmp_path / "labels"),
        *("--empty", rule, "--out", tmp_path / "out"),
    )
    assert done.returncode == 0, done.stderr
    assert "2 of 2 patients have no foreground in the mask: " in done.stdout
    content = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert content["volume"]["dice"] == dice
    assert content["volume"]["volume_difference_ml"] == pytest.approx(ML / 2)
    assert content["patients_without_foreground"] == 2


def test_labels(tmp_path):
    """Labels 3 and 7; 9 does not count."""
    labels = np.zeros((12, 9, 5), np.uint8)
    labels[1:4], labels[5:8], labels[9:] = 3, 7, 9
    prediction = np.zeros_like(labels)
    prediction[6:] = 1
    write_volume(tmp_path / "labels" / "a.nii.gz", labels)
    write_volume(tmp_path / "maps" / "a.nii.gz", prediction)
    dices = {}
    for options in ("", "--label 7", "--label 3 7", "--label 7 --ignore 9"):
        done = test_py(
            *("--predictions", tmp_path / "maps", "--masks", tmp_path / "labels"),
            *options.split(),
            *("--out", tmp_path / "out"),
        )
        assert done.returncode == 0, done.stderr
        dices[options] = json.loads((tmp_path / "out/metrics.json").read_text())["volume"]["dice"]
        assert ("have the labels 3, 7, 9, and all are foreground" in done.stderr) == (not options)
    assert dices == pytest.approx(
        {
            "": 2 * (2 + 3) / (9 + 6),
            "--label 7": 2 * 2 / (3 + 6),
            "--label 3 7": 2 * 2 / (6 + 6),
            "--label 7 --ignore 9": 2 * 2 / (3 + 3),
        }
    )
    done = test_py(
        *("--predictions", tmp_path / "maps", "--masks", tmp_path / "labels", "--label", "8")
    )
    assert "--label: expected masks with 8, got 1 without" in error_of(done)


def test_two_files_whatever_their_names(folder, drawn):
    done = test_py(
        *("--predictions", folder / "unet" / "case_1.nii.gz"),
        *("--masks", folder / "labels" / "case_2.nii.gz", "--out", folder / "out"),
    )
    assert done.returncode == 0, done.stderr
    (dice,) = expected({"case_2": (drawn["case_2"][0], drawn["case_1"][1])})["dice"]
    content = json.loads((folder / "out" / "metrics.json").read_text())
    assert content["n"] == 1 and content["volume"]["dice"] == pytest.approx(dice)
    assert f"{100 * dice:.2f}" in done.stdout and "±" not in done.stdout
    assert content["distribution"]["volume"]["dice"]["standard_deviation"] is None


def test_slices_that_were_left_out(tmp_path, drawn):
    """Without the slices that have no foreground, a false alarm there does not count."""
    write_slices(tmp_path / "data", drawn, kept=lambda mask: mask.any())
    out = tmp_path / "out"
    done = with_network(
        *("--data-path", tmp_path / "data", "--subset", "all", "--per-volume", "--out", out)
    )
    assert done.returncode == 0, done.stderr
    kept = {name: (truth, found & truth.any(axis=(0, 1))) for name, (truth, found) in drawn.items()}
    assert (expected(kept)["dice"] != expected(drawn)["dice"]).any()
    content = json.loads((out / "metrics.json").read_text())
    assert content["volume"]["dice"] == pytest.approx(expected(kept)["dice"].mean())
    left_out = sum(14 - truth.any(axis=(0, 1)).sum() for truth, _ in drawn.values())
    assert f"{left_out} of {8 * 14} slices in data were left out" in done.stderr


def test_a_list_of_patients(folder, data, tmp_path):
    names = tmp_path / "names.txt"
    names.write_text("case_2\ncase_5\n")
    slices = tmp_path / "slices.txt"
    stems = [path.stem for path in (data / "masks").iterdir()]
    slices.write_text("\n".join(stem for stem in stems if re.match("case_[25]-", stem)))
    for done in (
        test_py(
            *("--predictions", folder / "unet", "--masks", folder / "labels", "--stems", names),
            *("--out", tmp_path / "first"),
        ),
        with_network(
            *("--data-path", data, "--stems", slices, "--per-volume"),
            *("--out", tmp_path / "second"),
        ),
    ):
        assert done.returncode == 0, done.stderr
    for out in ("first", "second"):
        lines = (tmp_path / out / "per_patient.csv").read_text().splitlines()
        assert [line.split(",")[0] for line in lines] == ["patient", "case_2", "case_5"]


def test_slices_that_prepare_data_wrote(tmp_path):
    """The pancreas of docs/metrics.md, shifted by a voxel, has a volume Dice of .745."""
    sample, data = ROOT / "tests" / "data" / "ct_sample", tmp_path / "data"
    for name in ("ct", "labels"):
        (tmp_path / name).mkdir()
        shutil.copy(sample / f"{name}.nii.gz", tmp_path / name / "case-1.nii.gz")
    done = run_script(
        ROOT / "prepare_data.py",
        *("--volumes", tmp_path / "ct", "--labels", tmp_path / "labels", "--out", data),
        *("--window", "-100", "240", "--label", "7", "--keep-empty", "1"),
    )
    assert done.returncode == 0, done.stderr
    (tmp_path / "maps").mkdir()
    for path in (data / "masks").iterdir():
        mask = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        cv2.imwrite(str(tmp_path / "maps" / path.name), np.roll(mask, 1, axis=1))
    out = tmp_path / "out"
    done = test_py(
        *("--predictions", tmp_path / "maps", "--masks", data / "masks"),
        *("--per-volume", "--out", out),
    )
    assert done.returncode == 0 and "left out" not in done.stderr, done.stderr
    with open(out / "per_patient.csv", newline="") as file:
        (line,) = csv.DictReader(file)
    assert line["patient"] == "case_1" and round(float(line["dice"]), 3) == 0.745
    assert float(line["truth_ml"]) == pytest.approx(644 * 3**3 / 1000, rel=1e-4)


def test_a_line_points_to_the_option(data):
    done = with_network("--data-path", data, "--subset", "all")
    assert done.returncode == 0, done.stderr
    assert "--per-volume scores patients" in done.stdout
    assert "Protocol pranet" in done.stdout and "Protocol volume" not in done.stdout


def test_nothing_of_a_header_reaches_an_output(folder, drawn):
    for name, (truth, found) in drawn.items():
        for where, array in (("labels", truth), ("unet", found)):
            path = folder / where / f"{name}.nii.gz"
            image = nibabel.Nifti1Image(array.astype(np.uint8), np.diag([*SPACING, 1]))
            for field in ("descrip", "aux_file", "db_name", "intent_name"):
                image.header[field] = b"SECRET^NAME"
            comment = nibabel.nifti1.Nifti1Extension(6, b"SECRET^NAME of a patient")
            image.header.extensions.append(comment)
            nibabel.save(image, path)
            assert b"SECRET" in gzip.decompress(path.read_bytes())
    out = folder / "out"
    done = test_py("--predictions", folder / "unet", "--masks", folder / "labels", "--out", out)
    assert done.returncode == 0, done.stderr
    texts = [done.stdout.encode(), done.stderr.encode(), *(p.read_bytes() for p in out.iterdir())]
    assert len(texts) == 7 and not any(b"SECRET" in text for text in texts)


def test_one_patient_is_in_memory_at_a_time(tmp_path):
    array = np.zeros((90, 80, 60), np.uint8)
    array[20:50, 20:50, 20:40] = 1
    for index in range(6):
        write_volume(tmp_path / "labels" / f"p{index}.nii", array)
        write_volume(tmp_path / "maps" / f"p{index}.nii", array)
    peaks = []
    for names in (["p0"], [f"p{index}" for index in range(6)]):
        (source,) = volume_sources([tmp_path / "maps"], [tmp_path / "labels"])
        source.items = [item for item in source.items if item.stem in names]
        tracemalloc.start()
        (row,) = score_volumes([source])
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert row.total["volume"]["dice"] == 1
    assert peaks[1] < 1.3 * peaks[0]


# --- bad input


def volume_call(folder, *options):
    return test_py("--predictions", folder / "unet", "--masks", folder / "labels", *options)


def test_a_prediction_is_missing(folder):
    (folder / "unet" / "case_3.nii.gz").unlink()
    message = error_of(volume_call(folder))
    assert "expected a map for each of the 8 masks" in message and "missing: case_3" in message


def test_a_mask_is_missing(folder):
    (folder / "labels" / "case_3.nii.gz").unlink()
    done = volume_call(folder)
    assert done.returncode == 0 and "not scored: 1 file" in done.stderr


def _other_shape(path, array, affine):
    nibabel.save(nibabel.Nifti1Image(array[:-1], affine), path)
    return "expected 40 x 36 x 14 voxels in"


def _other_affine(path, array, affine):
    affine = affine.copy()
    affine[0, 3] += 5
    nibabel.save(nibabel.Nifti1Image(array, affine), path)
    return "expected the affine of"


def _four_dimensions(path, array, affine):
    nibabel.save(nibabel.Nifti1Image(np.stack([array, array], -1), affine), path)
    return "three dimensions"


def _nan(path, array, affine):
    array = array.astype(np.float32)
    array[3, 3, 3] = np.nan
    nibabel.save(nibabel.Nifti1Image(array, affine), path)
    return "1 voxels of"


def _out_of_range(path, array, affine):
    nibabel.save(nibabel.Nifti1Image(array * np.float32(1.5) + np.float32(0.1), affine), path)
    return "expected probabilities from 0 to 1, got 0.1 to 1.6"


def _labels(path, array, affine):
    nibabel.save(nibabel.Nifti1Image(array * np.uint8(7), affine), path)
    return "expected a mask of 0 and 1, or probabilities, got the levels 0 7"


def _truncated(path, array, affine):
    nibabel.save(nibabel.Nifti1Image(array, affine), path)
    path.write_bytes(path.read_bytes()[:-40])
    return "expected a complete NIfTI file"


BAD = [_other_shape, _other_affine, _four_dimensions, _nan, _out_of_range, _labels, _truncated]


@pytest.mark.parametrize("spoil", BAD, ids=lambda spoil: spoil.__name__)
def test_a_bad_prediction(folder, drawn, spoil):
    path = folder / "unet" / "case_4.nii.gz"
    words = spoil(path, drawn["case_4"][1].astype(np.uint8), np.diag([*SPACING, 1]))
    message = error_of(volume_call(folder, "--out", folder / "out"))
    assert "--predictions: " in message and words in message and "case_4" in message
    assert not (folder / "out").exists()


@pytest.mark.parametrize(
    "spoil",
    [_four_dimensions, _nan, _truncated, None],
    ids=lambda spoil: getattr(spoil, "__name__", "halves"),
)
def test_a_bad_mask(folder, drawn, spoil):
    path = folder / "labels" / "case_4.nii.gz"
    array = drawn["case_4"][0].astype(np.uint8)
    if spoil:
        words = spoil(path, array, np.diag([*SPACING, 1]))
    else:
        words = "expected labels, integers from 0 to 65535, got numbers that are no integers"
        write_volume(path, array * np.float32(0.5))
    message = error_of(volume_call(folder))
    assert "--masks: " in message and words in message


@pytest.mark.parametrize(
    "options, words",
    [
        ("--group-by (.+)-", "--group-by: not for scores of volumes: the patients are the groups"),
        ("--strata table.csv", "--strata: not for"),
        ("--resize", "--resize: not for"),
        ("--csv-long --out out", "--csv-long: not for"),
        ("--mask-color 255 0 0", "--mask-color: not for"),
        ("--recursive", "--recursive: not for"),
    ],
)
def test_options_that_volumes_do_not_have(folder, options, words):
    assert words in error_of(volume_call(folder, *options.split()))


def slices_call(data, *options):
    return with_network("--data-path", data, "--subset", "all", "--per-volume", *options)


def test_slices_without_volumes_csv(data):
    (data / "volumes.csv").unlink()
    message = error_of(slices_call(data))
    assert "expected slices of prepare_data.py with a file volumes.csv" in message


def test_a_name_that_is_no_slice(data):
    for folder in ("images", "masks"):
        (data / folder / "case_0-0001.png").rename(data / folder / "case_0.png")
    assert "expected names PATIENT-SLICE, got case_0" in error_of(slices_call(data))


def test_a_patient_without_slices(data):
    for path in [*data.glob("*/case_6-*.png")]:
        path.unlink()
    message = error_of(slices_call(data))
    assert "expected slices of each patient" in message and "case_6" in message


def test_a_patient_with_some_slices(data):
    for folder in ("images", "masks"):
        (data / folder / "case_6-0003.png").unlink()
    assert "expected all 14 slices of case_6, got 13 in data" in error_of(slices_call(data))


def test_a_slice_without_mask_and_map(data, tmp_path):
    """What is missing is a mask: nothing is wrong with the maps, one for each mask."""
    shutil.copytree(data / "masks", tmp_path / "maps")
    for folder in (tmp_path / "maps", data / "images", data / "masks"):
        (folder / "case_6-0003.png").unlink()
    done = test_py("--predictions", tmp_path / "maps", "--masks", data / "masks", "--per-volume")
    assert "--masks: expected all 14 slices of case_6, got 13" in error_of(done)


@pytest.mark.parametrize("argument", ["predictions", "masks"])
def test_a_folder_that_cannot_be_read(data, argument, monkeypatch):
    """Whatever it holds, images or volumes."""
    real = os.listdir
    folders = {"predictions": data / "masks", "masks": data / "masks"} | {argument: data / "images"}

    def listdir(path="."):
        if os.path.samefile(path, data / "images"):
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "listdir", listdir)
    done = test_py("--predictions", folders["predictions"], "--masks", folders["masks"])
    message = error_of(done)
    assert f"--{argument}: expected a readable folder" in message and "Permission denied" in message


def test_a_hidden_file_is_no_volume(data):
    """As macOS leaves it in a folder of images, for a volume that was moved away."""
    (data / "masks" / "._case_0.nii.gz").write_bytes(b"Mac OS X")
    done = test_py("--predictions", data / "masks", "--masks", data / "masks")
    assert done.returncode == 0, done.stderr
    assert "Protocol pranet" in done.stdout


def test_a_split_by_slices(data, tmp_path):
    """A run whose test split has some slices of a patient: the message says why."""
    run = tmp_path / "run"
    shutil.copytree(RUN, run)
    for name in ("files.csv", "data.txt"):
        (run / name).unlink(missing_ok=True)
    (run / "split" / "test.txt").write_text("case_1-0001\ncase_1-0002\n")
    done = with_network("--data-path", data, "--per-volume", model=run)
    message = error_of(done)
    assert "expected all 14 slices of case_1, got 2 in data test" in message
    assert "whose split divides patients" in message


def test_an_unknown_patient(data):
    table = data / "volumes.csv"
    table.write_text(table.read_text().replace("case_6,", "case_9,", 1).replace("case_9,", "x,"))
    for name in ("images", "masks"):
        for index in range(14):
            shutil.copy(data / name / f"case_5-{index:04d}.png", data / name / f"x-{index:04d}.png")
    assert "expected case_6 in" in error_of(slices_call(data))


@pytest.mark.parametrize(
    "old, new, words",
    [
        ("slice_spacing", "spacing_of_slices", "expected the column slice_spacing"),
        ("0.9 0.8 2.5", "0.9 0.8", "numbers that fit together"),
        ("0.9 0.8 2.5", "0.9 -0.8 2.5", "numbers that fit together"),
        (",14,14,", ",14,15,", "numbers that fit together"),
        (",14,14,", ",many,14,", "many"),
    ],
)
def test_a_bad_volumes_csv(data, old, new, words):
    table = data / "volumes.csv"
    table.write_text(table.read_text().replace(old, new))
    message = error_of(slices_call(data))
    assert "expected the volumes.csv of prepare_data.py" in message and words in message


@pytest.mark.parametrize("value", [math.nan, 1.5, -0.1])
def test_a_map_of_a_slice_with_other_numbers(data, tmp_path, value):
    maps = tmp_path / "maps"
    maps.mkdir()
    for mask in (data / "masks").iterdir():
        map_ = cv2.imread(str(mask), cv2.IMREAD_GRAYSCALE) / np.float32(255)
        if mask.stem == "case_3-0006":
            map_[5, 5] = value
        np.save(maps / f"{mask.stem}.npy", map_)
    done = test_py("--predictions", maps, "--masks", data / "masks", "--per-volume")
    assert "case_3-0006.npy: expected numbers in [0, 1]" in error_of(done)


def test_a_network_that_gives_nan(data, monkeypatch):
    monkeypatch.setattr(Stub, "__call__", lambda self, images: [i[..., 0] * np.nan for i in images])
    assert "case_0-0000: expected probabilities, got nan" in error_of(slices_call(data))


def test_slices_of_two_sizes(data):
    for name in ("images", "masks"):
        path = str(data / name / "case_2-0009.png")
        cv2.imwrite(path, cv2.imread(path)[:-2])
    message = error_of(slices_call(data))
    assert "case_2-0009: expected the size of the other slices of case_2, 40 x 36" in message


# --- the report


@pytest.fixture(scope="module")
def page(tmp_path_factory, drawn):
    folder = tmp_path_factory.mktemp("page")
    write_slices(folder / "data", drawn)
    done = with_network(
        *("--data-path", folder / "data", "--subset", "all", "--per-volume"),
        *("--names", "a <b> model", "--out", folder / "out"),
    )
    assert done.returncode == 0, done.stderr
    return folder / "out" / "report.html"


def test_the_page_has_the_numbers(page, drawn):
    text = page.read_text()
    dice = expected(drawn)["dice"]
    assert f"{100 * dice.mean():.2f}<small>± {100 * dice.std(ddof=1):.2f}</small>" in text
    assert "<title>a &lt;b&gt; model on data</title>" in text and text.count("<script") == 2
    (data,) = json.loads(re.search(r'id="data">(.*?)</script>', text, re.S)[1])
    assert [image["dice"] for image in data["images"]] == pytest.approx(list(dice), abs=1e-5)
    ml = [truth.sum() * ML for truth, _ in drawn.values()]
    assert [image["size"] for image in data["images"]] == pytest.approx(ml, abs=1e-4)
    worst = sorted(zip(dice, drawn))
    assert [tile["stem"] for tile in data["gallery"]] == [name for _, name in worst]
    assert set(re.findall(r"https?://[^\"' ]+", text)) == {"http://www.w3.org/2000/svg"}


def test_the_page_in_a_browser(page, drawn):
    """Its script runs without an error, and fills the charts and the table."""
    browser = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)
    if browser is None:
        pytest.skip("needs a browser")
    caught = "<script>addEventListener('error', e => document.title = 'error: ' + e.message)"
    copy = page.with_name("caught.html")
    copy.write_text(page.read_text().replace("<head>", f"<head>{caught}</script>"))
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    command += [f"--user-data-dir={page.parent / 'profile'}", copy.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    text = re.sub(r"<script.*?</script>", "", done.stdout, flags=re.S)
    assert "<title>error" not in text
    assert text.count("<figure") == text.count("<circle") == len(drawn)
    rows = re.findall(r"<tr><td class=\"name\".*?</tr>", text.split('id="images"')[1])
    lowest = expected(drawn)["dice"].argmin()
    assert len(rows) == len(drawn) and f"case_{lowest}<" in rows[0]
    assert f">{100 * expected(drawn)['dice'].max():.2f}<" in rows[-1]

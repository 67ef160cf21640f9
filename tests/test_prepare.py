"""`prepare_data.py`: volumes to slices, checked against formulas written here."""

import contextlib
import csv
import hashlib
import json
import multiprocessing
import os
import re
import shlex
import signal
import time
import tracemalloc
from pathlib import Path

import cv2
import nibabel
import numpy as np
import pytest
from dicom_series import write_series
from in_process import run_script

from polypseg.commands import train
from polypseg.data import prepare
from polypseg.data.groups import group_names
from polypseg.data.pairs import find_pairs
from polypseg.data.preparation import Preparation
from polypseg.data.prepare import Case, write_slices
from polypseg.data.verify import verify
from polypseg.errors import InputErrors
from polypseg.files import atomic_folder

SCRIPT = Path(__file__).resolve().parent.parent / "prepare_data.py"
WINDOW = ("--window", "-100", "240")


def draw_ras(seed=0, shape=(9, 7, 5)):
    """Hounsfield units and labels 0, 1, 3, both indexed to the right, anterior and superior."""
    rng = np.random.default_rng(seed)
    volume = rng.integers(-400, 600, shape).astype(np.int16)
    labels = rng.choice(np.array([0, 0, 0, 1, 3], np.uint8), shape)
    labels[:, :, 0] = 0
    return volume, labels


def rotation(degrees):
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    about_x = np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    about_z = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    return about_x @ about_z


def write(path, ras, spacing=(0.7, 0.7, 2.5), codes="RAS", degrees=0.0):
    """Write an array in RAS order as a file whose axes point to `codes`, turned by `degrees`."""
    stored, places = ras, ["RL".find, "AP".find, "SI".find]
    order = [next(axis for axis, find in enumerate(places) if find(code) >= 0) for code in codes]
    stored = ras.transpose(order)
    affine = np.eye(4)
    for axis, (code, of_ras) in enumerate(zip(codes, order)):
        column = np.zeros(3)
        column[of_ras] = spacing[of_ras]
        if code in "LPI":
            stored = np.flip(stored, axis)
            column = -column
        affine[:3, axis] = rotation(degrees) @ column
    affine[:3, 3] = -31.25, 12.5, 400
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(np.ascontiguousarray(stored), affine), path)


def windowed(levels, low=-100.0, high=240.0):
    """0 to 255, by the formula in float64."""
    return (np.clip(np.asarray(levels, float), low, high) - low) / (high - low) * 255


def shown(ras, plane, index):
    """A slice, pixel by pixel: right on the left, or anterior on the left; superior on top."""
    across, down = {"axial": (0, 1), "coronal": (0, 2), "sagittal": (1, 2)}[plane]
    width, height = ras.shape[across], ras.shape[down]
    image = np.empty((height, width), ras.dtype)
    for row in range(height):
        for column in range(width):
            place = [index] * 3
            place[across], place[down] = width - 1 - column, height - 1 - row
            image[row, column] = ras[tuple(place)]
    return image


def read_png(path):
    pixels = cv2.imread(os.fspath(path), cv2.IMREAD_UNCHANGED)
    return pixels if pixels.ndim == 2 else pixels[..., ::-1]


@pytest.fixture
def data(tmp_path):
    """Two patients; the axes and the affines of the files are of different kinds."""
    for seed, (name, codes, degrees) in enumerate((("p-1", "LPS", 0), ("p 2", "SLA", 9))):
        for kind, ras in zip(("v", "l"), draw_ras(seed)):
            write(tmp_path / kind / f"{name}.nii.gz", ras, codes=codes, degrees=degrees)
    return tmp_path


def call(folder, *more, window=WINDOW, out="out"):
    return run_script(
        SCRIPT, "--volumes", "v", "--labels", "l", "--out", out, *window, *more, cwd=folder
    )


def rows_of(folder):
    with open(folder / "volumes.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_slices_of_an_oblique_left_handed_volume_are_where_a_formula_puts_them(data):
    assert np.linalg.det(nibabel.load(data / "v" / "p 2.nii.gz").affine) < 0
    result = call(data, "--label", "1")
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    for seed, patient in enumerate(("p_1", "p_2")):
        volume, labels = draw_ras(seed)
        for index in range(5):
            name = f"{patient}-{index:04d}.png"
            image = read_png(data / "out" / "images" / name)
            expected = windowed(shown(volume, "axial", index))
            assert image.shape == (7, 9, 3)
            # A level between two integers may be rounded either way.
            assert np.abs(image - expected[..., None]).max() <= 0.5001
            mask = read_png(data / "out" / "masks" / name)
            np.testing.assert_array_equal(mask, 255 * (shown(labels, "axial", index) == 1))
    pairs, orphans = find_pairs(data / "out")
    assert len(pairs) == 10 and not orphans and not verify(pairs).errors


def test_the_tables(data):
    call(data, "--label", "3", "1", "--keep-empty", "0")
    assert json.loads((data / "out" / "volume.json").read_text()) == {
        "window": [-100, 240],
        "plane": "axial",
        "spacing": None,
        "neighbours": 0,
        "label": [3, 1],
    }
    one, two = rows_of(data / "out")
    foreground = int(np.count_nonzero(draw_ras(1)[1]))
    assert two == {
        "patient": "p_2",
        "file": "p 2.nii.gz",
        "shape": "5 9 7",
        "spacing": "2.5 0.7 0.7",
        "orientation": "SLA",
        "slices": "5",
        "kept": "4",  # the lowest one has no foreground
        "slice_spacing": "0.7 0.7 2.5",
        "label_voxels": str(foreground),
        "label_ml": f"{round(foreground * 0.7 * 0.7 * 2.5 / 1000, 3):g}",
    }
    assert one["patient"] == "p_1" and one["orientation"] == "LPS" and one["shape"] == "9 7 5"
    assert not (data / "out" / "images" / "p_2-0000.png").exists()


def test_neighbours_are_the_channels(data):
    assert call(data, "--neighbours", "1").returncode == 0
    volume, labels = draw_ras(0)
    for index, (below, above) in {0: (0, 1), 2: (1, 3), 4: (3, 4)}.items():
        image = read_png(data / "out" / "images" / f"p_1-{index:04d}.png")
        for channel, place in enumerate((below, index, above)):
            expected = windowed(shown(volume, "axial", place))
            assert np.abs(image[..., channel] - expected).max() <= 0.5001
        mask = read_png(data / "out" / "masks" / f"p_1-{index:04d}.png")
        np.testing.assert_array_equal(mask, 255 * (shown(labels, "axial", index) > 0))


@pytest.mark.parametrize("plane, count", [("coronal", 7), ("sagittal", 9)])
def test_other_planes(plane, count, tmp_path):
    """Voxels that are cubes, so that nothing is resampled."""
    volume, labels = draw_ras(2)
    for kind, ras in (("v", volume), ("l", labels)):
        write(tmp_path / kind / "a.nii.gz", ras, spacing=(2, 2, 2), codes="PIR", degrees=5)
    assert call(tmp_path, "--plane", plane).returncode == 0
    assert len(list((tmp_path / "out" / "images").iterdir())) == count
    for index in (0, 3, count - 1):
        image = read_png(tmp_path / "out" / "images" / f"a-{index:04d}.png")
        assert np.abs(image[..., 1] - windowed(shown(volume, plane, index))).max() <= 0.5001
        mask = read_png(tmp_path / "out" / "masks" / f"a-{index:04d}.png")
        np.testing.assert_array_equal(mask, 255 * (shown(labels, plane, index) > 0))


def test_spacing_is_that_of_the_pixels(tmp_path):
    """A ball of 40 mm keeps its area in mm², whatever the size of a pixel."""
    x, y, z = np.meshgrid(*(np.arange(n) - n // 2 for n in (81, 61, 13)), indexing="ij")
    ball = ((0.8 * x) ** 2 + (0.8 * y) ** 2 + (4 * z) ** 2 < 20**2).astype(np.uint8)
    write(tmp_path / "l" / "a.nii.gz", ball, spacing=(0.8, 0.8, 4))
    volume = (ball * 140.0 - 100).astype(np.int16)
    write(tmp_path / "v" / "a.nii.gz", volume, spacing=(0.8, 0.8, 4))
    for plane, size, index in (("axial", (24, 32), 6), ("coronal", (26, 32), 30)):
        result = call(tmp_path, "--spacing", "2", "--plane", plane, out=plane)
        assert result.returncode == 0, result.stderr
        mask = read_png(tmp_path / plane / "masks" / f"a-{index:04d}.png")
        assert mask.shape == size
        assert np.count_nonzero(mask) * 2 * 2 == pytest.approx(np.pi * 20**2, rel=0.06)
        row, column, between = map(float, rows_of(tmp_path / plane)[0]["slice_spacing"].split())
        assert (row * size[0], column * size[1]) == pytest.approx(
            ((61 * 0.8, 13 * 4)[plane == "coronal"], 81 * 0.8), rel=1e-4
        )
        assert between == pytest.approx((4, 0.8)[plane == "coronal"], rel=1e-4)


@pytest.mark.parametrize("fraction", [0, 0.25, 0.5, 1])
def test_the_empty_slices_that_are_kept_are_spread_evenly(fraction, tmp_path):
    labels = np.zeros((4, 4, 48), np.uint8)
    labels[1, 2, 20:28] = 1
    volume = np.random.default_rng(3).integers(-500, 500, labels.shape).astype(np.int16)
    write(tmp_path / "v" / "a.nii.gz", volume)
    write(tmp_path / "l" / "a.nii.gz", labels)
    result = call(tmp_path, "--keep-empty", str(fraction))
    assert result.returncode == 0, result.stderr
    assert ("slices without foreground are left out" in result.stderr) == (fraction < 1)
    kept = sorted(int(path.stem[2:]) for path in (tmp_path / "out" / "images").iterdir())
    assert set(range(20, 28)) <= set(kept)
    empty = [index if index < 20 else index - 8 for index in kept if not 20 <= index < 28]
    assert len(empty) == round(fraction * 40)
    if fraction:
        step = 1 / fraction  # from the first to the last, without large gaps
        assert np.diff(empty).max() <= step and empty[0] < step and empty[-1] >= 40 - step


def test_the_command_to_go_on_with_keeps_patients_together(data):
    result = call(data, out="my data/out")
    written, foreground, following = result.stdout.splitlines()
    assert re.fullmatch(r"foreground: [\d.]+ to [\d.]+ ml in a patient", foreground)
    assert written == (
        "written: 10 of 10 slices of 2 patients in my data/out/ (axial slices, -100 to 240 HU)"
    )
    words = shlex.split(following.removeprefix("next: "))
    assert words[:2] == ["python", "train.py"]
    with contextlib.chdir(data):
        config = train.parse(words[2:])
    assert config.data_path == "my data/out"
    stems = [pair.stem for pair in find_pairs(data / config.data_path)[0]]
    groups = group_names(stems, config.group_by)
    assert {stem: stem[:3] for stem in stems} == groups


def other_shape(folder):
    write(folder / "l" / "p 2.nii.gz", draw_ras(1)[1][:-1], codes="SLA", degrees=9)


def other_affine(folder):
    write(folder / "l" / "p-1.nii.gz", draw_ras(0)[1], codes="RPS")


def no_labels(folder):
    (folder / "l" / "p-1.nii.gz").unlink()


def no_volume(folder):
    write(folder / "l" / "q.nii.gz", draw_ras(0)[1])


def twice(folder):
    write(folder / "v" / "p 1.nii.gz", draw_ras(5)[0])


def same_voxels(folder):
    write(folder / "v" / "z.nii.gz", draw_ras(0)[0])
    write(folder / "l" / "z.nii.gz", draw_ras(0)[1])


def with_nan(folder):
    volume = draw_ras(0)[0].astype(np.float32)
    volume[3, 2, 1] = np.nan
    write(folder / "v" / "p-1.nii.gz", volume, codes="LPS")


def of_four_dimensions(folder):
    image = nibabel.Nifti1Image(np.zeros((9, 7, 5, 2), np.int16), np.eye(4))
    nibabel.save(image, folder / "v" / "p-1.nii.gz")


def truncated(folder):
    data = (folder / "v" / "p-1.nii.gz").read_bytes()
    (folder / "v" / "p-1.nii.gz").write_bytes(data[: len(data) // 2])


def nothing(folder):
    pass


def black(folder):
    for name, codes, degrees in (("p-1", "LPS", 0), ("p 2", "SLA", 9)):
        empty = np.zeros((9, 7, 5), np.uint8)
        write(folder / "l" / f"{name}.nii.gz", empty, codes=codes, degrees=degrees)


@pytest.mark.parametrize(
    "harm, options, expected",
    [
        (other_shape, (), r"--labels: expected 9 x 7 x 5 voxels .*got 8 x 7 x 5"),
        (other_affine, (), "--labels: expected the affine of .*p-1"),
        (no_labels, (), "--labels: expected a label volume for each volume, got none for p_1"),
        (no_volume, (), "--volumes: expected a volume for each label volume, got none for q"),
        (twice, (), "--volumes: expected one volume for each patient.*both of p_1"),
        (same_voxels, (), "--volumes: expected each patient once, got the same voxels in .*z.nii"),
        (with_nan, (), "--volumes: expected finite numbers, got 1 voxels"),
        (of_four_dimensions, (), "--volumes: expected a volume of three dimensions"),
        (truncated, (), "--volumes: expected a complete NIfTI file"),
        (black, (), "--labels: expected foreground in some label volume, got none"),
        (
            nothing,
            ("--label", "7", "3"),
            r"--label: expected labels that are there, got 7, which no .* \(there are: 1, 3\)$",
        ),
        (
            nothing,
            ("--label", "7"),
            r"--label: .*got 7, which no .*\(there are: 1, 3\)$",
        ),
        (nothing, ("--window", "240", "-100"), "--window: expected two Hounsfield units"),
        (nothing, ("--window", "1"), "--window: expected two Hounsfield units"),
        (nothing, ("--plane", "oblique"), "--plane: expected one of axial"),
        (nothing, ("--spacing", "0"), "--spacing: expected a number of mm"),
        (nothing, ("--neighbours", "2"), "--neighbours: expected 0 or 1"),
        (nothing, ("--label", "0"), "--label: expected levels from 1"),
        (nothing, ("--keep-empty", "1.5"), "--keep-empty: expected 0 to 1"),
        (nothing, ("--preset", "ct82"), "--volumes: expected a --source alone"),
        (nothing, ("--source", "v"), "--source: expected a --preset"),
        (nothing, ("--out", "v"), "--out: expected a folder without the input"),
        (nothing, ("--out", "."), "--out: expected a folder without the input"),
        (nothing, ("--out", "v/p-1.nii.gz"), "--out: expected a folder, got the file"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(harm, options, expected, data):
    harm(data)
    before = sorted(data.rglob("*"))
    result = call(data, *options)
    assert result.returncode == 2
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.stderr
    assert re.search(rf"^prepare_data.py: error: {expected}", lines[0])
    assert result.stdout == ""
    assert sorted(data.rglob("*")) == before


@pytest.mark.parametrize(
    "arguments, expected",
    [
        (("--volumes", "v", "--labels", "l"), "--window: expected LOW HIGH in Hounsfield units"),
        (("--volumes", "v", *WINDOW), "--labels: expected label volumes for the masks"),
        (("--labels", "l", *WINDOW), "--volumes: expected CT volumes, a --preset, or --negatives"),
        (("--mask-suffix", "_m"), "--mask-suffix: expected --negatives beside it, got _m"),
        (("--preset", "ct28"), "--preset: expected ct82 | "),
        (("--preset", "ct82"), "--source: expected the folder of the unpacked archive (PANCREAS_"),
        (("--preset", "ct82", "--source", "none"), "imagingarchive.net/collection/pancreas-ct/"),
        (("--preset", "pranet", "--source", "v", *WINDOW), "--window: expected CT volumes, which"),
        (("--preset", "pranet", "--source", "v", "--keep-empty", "0"), "--keep-empty: expected CT"),
        (("--preset", "pranet", "--source", "v"), "--source: expected TrainDataset/{image,mask}"),
    ],
)
def test_options_that_are_missing_or_do_not_fit(arguments, expected, data):
    before = sorted(data.rglob("*"))
    result = run_script(SCRIPT, "--out", "out", *arguments, cwd=data)
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1 and expected in result.stderr
    assert sorted(data.rglob("*")) == before


def test_all_problems_are_told_together(data):
    other_affine(data)
    other_shape(data)
    write(data / "v" / "c.nii.gz", draw_ras(7)[0])
    write(data / "l" / "c.nii.gz", draw_ras(7)[1] * np.float32(0.25))
    result = call(data)
    assert result.returncode == 2
    one, two, three = result.stderr.splitlines()
    assert "--labels: expected labels, integers" in one and "c.nii.gz" in one
    assert "--labels: expected the affine of" in two and "p-1.nii.gz" in two
    assert "--labels: expected 9 x 7 x 5 voxels" in three and "p 2.nii.gz" in three
    assert not (data / "out").exists()


def test_overwrite_replaces_only_what_this_command_wrote(data):
    assert call(data).returncode == 0
    again = call(data)
    assert again.returncode == 2
    assert "--out: expected a new or empty folder (or --overwrite), got out" in again.stderr
    assert call(data, "--overwrite", "--keep-empty", "0").returncode == 0
    assert len(list((data / "out" / "images").iterdir())) == 8
    (data / "out" / "thesis.docx").touch()
    refused = call(data, "--overwrite")
    assert refused.returncode == 2 and "in which there is thesis.docx" in refused.stderr
    (data / "empty").mkdir()
    assert call(data, out="empty").returncode == 0
    assert sorted(os.listdir(data)) == ["empty", "l", "out", "v"]


def test_a_link_to_a_folder_remains(data):
    """`--out` is often a link to a larger disk."""
    (data / "disk").mkdir()
    (data / "out").symlink_to("disk")
    assert call(data).returncode == 0
    assert (data / "out").is_symlink()
    assert sorted(os.listdir(data / "disk")) == ["images", "masks", "volume.json", "volumes.csv"]
    assert sorted(os.listdir(data)) == ["disk", "l", "out", "v"]


def test_nothing_that_names_a_person_is_written(data):
    path = data / "v" / "p-1.nii.gz"
    image = nibabel.load(path)
    image.header["descrip"] = b"DOE^JANE"
    image.header["db_name"] = b"DOE^JANE"
    nibabel.save(nibabel.Nifti1Image(np.asarray(image.dataobj), image.affine, image.header), path)
    result = run_script(
        SCRIPT, "--volumes", data / "v", "--labels", data / "l", *WINDOW, "--out", "out", cwd=data
    )
    assert result.returncode == 0
    texts = [file.read_bytes() for file in (data / "out").rglob("*") if file.is_file()]
    texts.append((result.stdout + result.stderr).encode())
    assert not [text for text in texts if b"JANE" in text or os.fsencode(data) in text]


def _stall(folder, begun):
    with atomic_folder(folder / "out") as temporary:
        (temporary / "images").mkdir()
        begun.set()
        time.sleep(60)


@pytest.mark.parametrize("before", [None, "folder", "link"])
def test_what_a_killed_command_leaves_is_removed_by_the_next(before, data):
    place = data
    if before:
        place = data / ("disk" if before == "link" else "out")
        place.mkdir()
    if before == "link":
        (data / "out").symlink_to("disk")
    context = multiprocessing.get_context("spawn")
    begun = context.Event()
    process = context.Process(target=_stall, args=(data, begun))
    process.start()
    assert begun.wait(30)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    left = [name for name in os.listdir(place) if name not in ("l", "v")]
    assert len(left) == 1 and left[0].startswith(".part-")
    result = call(data)
    assert result.returncode == 0, result.stderr
    assert sorted(os.listdir(data / "out")) == ["images", "masks", "volume.json", "volumes.csv"]
    assert not [path for path in data.iterdir() if path.name.startswith(".")]


def test_volumes_are_read_once_and_no_slice_is_written_after_a_problem(data, monkeypatch):
    other_affine(data)
    read, written = [], []
    real = prepare.read_volume
    monkeypatch.setattr(
        prepare, "read_volume", lambda path, *more: read.append(path) or real(path, *more)
    )
    monkeypatch.setattr(prepare, "write_png", lambda path, array: written.append(path))
    names = ("p-1.nii.gz", "p 2.nii.gz")
    cases = [Case(name[:3], data / "v" / name, data / "l" / name) for name in names]
    (data / "out").mkdir()
    with pytest.raises(InputErrors, match="labels: expected the affine") as bad:
        write_slices(cases, data / "out", Preparation((-100, 240)))
    assert len(bad.value.errors) == 1 and len(read) == 2 and not written


def test_a_name_that_is_not_utf8(data):
    """No CSV file in UTF-8 has it, so `test.py` would not find the patient."""
    for kind in ("v", "l"):
        path = os.fsencode(data / kind / "p 2.nii.gz")
        os.rename(path, path.replace(b"p 2", b"a\xff"))
    result = call(data)
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert "--volumes: expected a name in UTF-8, got v/a\\udcff.nii.gz" in line
    assert sorted(os.listdir(data)) == ["l", "v"]


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_voxels_are_compared_without_a_copy(axes):
    array = np.random.default_rng(1).integers(-999, 999, (97, 80, 71)).astype(np.int16)
    expected = hashlib.blake2b(array.tobytes(), digest_size=8).hexdigest()
    stored = np.ascontiguousarray(array.transpose(axes))
    tracemalloc.start()
    assert prepare._digest(stored.transpose(np.argsort(axes))) == expected
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < array.nbytes / 2


@pytest.mark.parametrize("flip", [None, 1, 2, (1, 2)])
def test_ct82_labels_whose_affine_says_nothing(flip, tmp_path):
    """The label files of TCIA are in the order of the DICOM files, whatever their affine says."""
    volume, labels = draw_ras(shape=(12, 11, 6))
    volume[:], labels = -500, (labels == 1).astype(np.uint8)
    volume[labels == 1] = 90
    write_series(tmp_path / "in" / "PANCREAS_0007", volume[::-1, ::-1], (0.7, 0.7, 2.5))
    stored = labels[::-1, ::-1] if flip is None else np.flip(labels[::-1, ::-1], flip)
    image = nibabel.Nifti1Image(np.ascontiguousarray(stored), np.diag([0.7, 0.7, 2.5, 1]))
    nibabel.save(image, tmp_path / "in" / "label0007.nii.gz")
    result = run_script(
        *(SCRIPT, "--preset", "ct82", "--source", "in", "--out", "out"), cwd=tmp_path
    )
    if flip is not None:
        assert result.returncode == 2 and not (tmp_path / "out").exists()
        line = result.stderr.splitlines()[-1]
        assert "in the order of the DICOM files" in line and "100% in another order" in line
        return
    assert result.returncode == 0, result.stderr
    for index in range(6):
        mask = read_png(tmp_path / "out" / "masks" / f"PANCREAS_0007-{index:04d}.png")
        np.testing.assert_array_equal(mask, 255 * shown(labels, "axial", index))


def test_ct82_from_tcias_dicom_folders(tmp_path):
    source = tmp_path / "in"
    for number in (7, 30, 50):
        volume, labels = draw_ras(number)
        study = source / f"Pancreas-CT/PANCREAS_{number:04d}/11-24-2015/1.2.826"
        # DICOM's x grows to the left and its y to posterior.
        write_series(study, volume[::-1, ::-1], (0.7, 0.7, 2.5))
        # In another order of the axes: what counts is where the voxels lie.
        path = source / "labels" / f"label{number:04d}.nii.gz"
        affine = np.diag([-0.7, 0.7, 2.5, 1])
        affine[:2, 3] = 0, -0.7 * 6
        path.parent.mkdir(exist_ok=True)
        nibabel.save(nibabel.Nifti1Image(labels[::-1].copy(), affine), path)
    result = run_script(
        *(SCRIPT, "--preset", "ct82", "--source", "in", "--out", "out"), cwd=tmp_path
    )
    assert result.returncode == 0, result.stderr
    notes = result.stderr.splitlines()
    assert "79 of the 82 cases are missing" in notes[0] and "no split fold-4" in notes[1]
    assert len(notes) == 2
    for number in (7, 30, 50):
        volume, labels = draw_ras(number)
        for index in range(5):
            name = f"PANCREAS_{number:04d}-{index:04d}.png"
            image = read_png(tmp_path / "out" / "images" / name)[..., 0]
            assert np.abs(image - windowed(shown(volume, "axial", index))).max() <= 0.5001
            mask = read_png(tmp_path / "out" / "masks" / name)
            np.testing.assert_array_equal(mask, 255 * (shown(labels, "axial", index) == 1))
    assert [row["file"] for row in rows_of(tmp_path / "out")] == [
        f"PANCREAS_{number:04d}" for number in (7, 30, 50)
    ]
    words = shlex.split(result.stdout.splitlines()[-1].removeprefix("next: "))
    config = train.parse(words[2:])
    assert config.split_dir == "out/splits/fold-1"
    lists = {
        path.stem: path.read_text().split() for path in (tmp_path / config.split_dir).iterdir()
    }
    assert {name: {stem[:13] for stem in stems} for name, stems in lists.items()} == {
        "train": {"PANCREAS_0050"},
        "val": {"PANCREAS_0030"},
        "test": {"PANCREAS_0007"},
    }
    texts = [file.read_bytes() for file in (tmp_path / "out").rglob("*") if file.is_file()]
    texts.append((result.stdout + result.stderr).encode())
    assert not [text for text in texts if b"SECRET" in text or b"1.2.826" in text]

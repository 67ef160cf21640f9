"""Volumes are read in Hounsfield units and RAS order, and written back into their own grid."""

import gzip
import itertools
import warnings
from pathlib import Path

import numpy as np
import pytest

from polypseg.data.volumes import (
    check_same_grid,
    find_volumes,
    patient_name,
    read_labels,
    read_probability,
    read_volume,
    write_nifti,
)
from polypseg.errors import InputError, Note

nib = pytest.importorskip("nibabel")

SAMPLE = Path(__file__).parent / "data" / "ct_sample"
# Each way in which three axes can point: a permutation and three directions.
ORIENTATIONS = ["".join(axes) for pairs in itertools.permutations(("RL", "AP", "SI"))
                for axes in itertools.product(*pairs)]  # fmt: skip


def rotation(rng, degrees=20):
    """A random right-handed rotation by up to `degrees` around each axis, `(3, 3)`."""
    turned = np.eye(3)
    for axis, angle in enumerate(np.radians(rng.uniform(-degrees, degrees, 3))):
        one, other = (axis + 1) % 3, (axis + 2) % 3
        turn = np.eye(3)
        turn[[one, other], [one, other]] = np.cos(angle)
        turn[one, other], turn[other, one] = -np.sin(angle), np.sin(angle)
        turned = turned @ turn
    return turned


def affine_of(orientation, spacing, rng):
    """An oblique affine whose axes point to about where the three letters say."""
    axes = np.zeros((3, 3))
    for column, letter in enumerate(orientation):
        row = ("RL", "AP", "SI").index(next(pair for pair in ("RL", "AP", "SI") if letter in pair))
        axes[row, column] = 1 if letter in "RAS" else -1
    affine = np.eye(4)
    affine[:3, :3] = rotation(rng) @ axes @ np.diag(spacing)
    affine[:3, 3] = rng.uniform(-200, 200, 3)
    return affine


def save(path, array, affine=None):
    """Write a NIfTI file with an affine in millimetres."""
    affine = np.eye(4) if affine is None else affine
    image = nib.Nifti1Image(array, affine, dtype=array.dtype)
    image.header.set_xyzt_units("mm")
    nib.save(image, path)
    return path


def hounsfield(rng, shape=(7, 9, 5)):
    return rng.integers(-1000, 1500, shape).astype(np.int16)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_each_voxel_is_read_where_it_lies_and_written_back(orientation, tmp_path):
    rng = np.random.default_rng(ORIENTATIONS.index(orientation))
    stored, affine = hounsfield(rng), affine_of(orientation, (0.7, 0.9, 2.5), rng)
    volume = read_volume(save(tmp_path / "a.nii.gz", stored, affine))
    assert volume.grid.orientation == orientation and volume.array.dtype == np.int16
    assert volume.grid.voxel_ml == pytest.approx(0.7 * 0.9 * 2.5 / 1000)

    # Each axis of the array goes to the right, anterior or superior; the place of each voxel in
    # the file is found through the world's millimetres.
    for axis in range(3):
        assert volume.grid.ras_affine[axis, axis] > 0.8 * volume.spacing[axis]
    for index in itertools.product(*map(range, volume.array.shape)):
        world = volume.grid.ras_affine @ [*index, 1]
        there = np.linalg.solve(affine, world)[:3]
        place = tuple(np.rint(there).astype(int))
        assert np.abs(there - place).max() < 1e-3
        assert volume.array[index] == stored[place]

    write_nifti(tmp_path / "b.nii.gz", volume.array > 100, volume)
    written, original = nib.load(tmp_path / "b.nii.gz"), nib.load(tmp_path / "a.nii.gz")
    assert np.array_equal(np.asarray(written.dataobj), stored > 100)
    assert written.get_data_dtype() == np.uint8
    assert np.array_equal(written.affine, original.affine)
    assert written.header.get_xyzt_units() == original.header.get_xyzt_units()
    assert np.array_equal(written.header["pixdim"], original.header["pixdim"])


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".NII.GZ"])
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
def test_header_is_kept_but_for_texts(kind, suffix, tmp_path):
    rng = np.random.default_rng(0)
    affine = affine_of("LPS", (0.7, 0.9, 2.5), rng)
    image = kind(hounsfield(rng)[..., None], affine)
    image.set_qform(affine, 1)
    image.set_sform(affine, 2)
    image.header["descrip"] = b"SECRET NAME"
    image.header["aux_file"] = b"SECRET"
    if "data_type" in image.header:
        image.header["data_type"] = b"SECRET"
    image.header["cal_max"] = 240
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"SECRET extension"))
    # nibabel chooses how to write by the suffix, in small letters.
    nib.save(image, tmp_path / f"a{suffix.lower()}")
    path = (tmp_path / f"a{suffix.lower()}").rename(tmp_path / f"a{suffix}")
    volume = read_volume(path)
    for array, dtype in ((volume.array > 0, np.uint8), (volume.array * np.float32(0.1), "f4")):
        write_nifti(tmp_path / "b.nii.gz", array, volume)
        written = nib.load(tmp_path / "b.nii.gz")
        assert isinstance(written, kind) and written.get_data_dtype() == dtype
        assert written.shape == image.shape and np.array_equal(written.affine, image.affine)
        assert written.header["qform_code"] == 1 and written.header["sform_code"] == 2
        assert written.header["cal_max"] == 0
        assert b"SECRET" not in gzip.decompress((tmp_path / "b.nii.gz").read_bytes())


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.float32, np.float64, ">i2"])
def test_units_are_hounsfield(dtype, tmp_path):
    rng = np.random.default_rng(1)
    units = hounsfield(rng)
    volume = read_volume(save(tmp_path / "a.nii.gz", units.astype(dtype)))
    assert volume.array.dtype == np.int16 and np.array_equal(volume.array, units)


@pytest.mark.parametrize("slope, intercept", [(1.0, -1024.0), (2.0, -1000.0), (0.1, -900.5)])
def test_slope_and_intercept_are_applied(slope, intercept, tmp_path):
    rng = np.random.default_rng(2)
    raw = rng.integers(0, 4096, (7, 9, 5)).astype(np.uint16)
    image = nib.Nifti1Image(raw, np.eye(4))
    image.header.set_slope_inter(slope, intercept)
    nib.save(image, tmp_path / "a.nii.gz")
    # nibabel scales a new image's data when it writes them: store the raw numbers.
    content = bytearray(gzip.decompress((tmp_path / "a.nii.gz").read_bytes()))
    content[352:] = raw.tobytes(order="F")
    content[112:120] = np.array([slope, intercept], "<f4").tobytes()
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(bytes(content)))
    volume = read_volume(tmp_path / "a.nii.gz")
    expected = raw.astype(np.float64) * np.float64(np.float32(slope)) + intercept
    assert volume.array.dtype == (np.float32 if slope == 0.1 else np.int16)
    assert np.abs(volume.array - expected).max() < 1e-3


def test_labels_and_probabilities(tmp_path):
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 105, (7, 9, 5))
    for dtype in (np.uint8, np.int16, np.int64, np.float32, np.float64):
        path = save(tmp_path / "l.nii.gz", labels.astype(dtype))
        assert np.array_equal(read_labels(path).array, labels)
    map_ = rng.random((7, 9, 5)).astype(np.float32)
    volume = read_probability(save(tmp_path / "p.nii.gz", map_))
    assert volume.array.dtype == np.float32 and np.array_equal(volume.array, map_)
    for level in (1, 255):
        mask = (map_ > 0.5) * np.uint8(level)
        volume = read_probability(save(tmp_path / "m.nii.gz", mask))
        assert volume.array.dtype == bool and np.array_equal(volume.array, map_ > 0.5)


def bad_volumes(folder):
    """Files that are no CT volumes: what the message says of them."""
    rng = np.random.default_rng(4)
    units = hounsfield(rng)
    whole = gzip.compress(save(folder / "whole.nii", units).read_bytes())
    (folder / "truncated.nii.gz").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.nii.gz").write_bytes(b"")
    (folder / "no.nii.gz").write_bytes(b"not a volume" * 100)
    (folder / "image.png").write_bytes(b"")
    with_nan = units.astype(np.float32)
    with_nan[2, 3, 1] = np.nan
    with_inf = units.astype(np.float32)
    with_inf[2, 3, 1] = np.inf
    padded = (units + 1024).clip(0)
    padded[0, :2] = -2000  # what the scanner did not see
    colours = np.zeros((7, 9, 5), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    skewed = np.eye(4)
    skewed[0, 1] = 0.3
    return {
        save(folder / "4d.nii.gz", hounsfield(rng, (7, 9, 5, 2))): "three dimensions",
        save(folder / "2d.nii.gz", hounsfield(rng, (7, 9))): "three dimensions",
        save(folder / "nan.nii.gz", with_nan): "1 voxels of",
        save(folder / "inf.nii.gz", with_inf): "nan or infinite",
        save(folder / "colour.nii.gz", colours): "one real number a voxel",
        save(folder / "complex.nii.gz", units.astype(np.complex64)): "one real number a voxel",
        save(folder / "unsigned.nii.gz", (units + 1024).astype(np.uint16)): "Hounsfield units",
        save(folder / "padded.nii.gz", padded): "Hounsfield units",
        save(folder / "grey.nii.gz", np.abs(units % 256).astype(np.uint8)): "Hounsfield units",
        save(folder / "unit.nii.gz", rng.random((7, 9, 5)).astype(np.float32)): "Hounsfield units",
        save(folder / "z.nii.gz", rng.standard_normal((7, 9, 5)).astype(np.float32)): "Hounsfield",
        save(folder / "metres.nii.gz", units, np.diag([7e-4, 7e-4, 2.5e-3, 1])): "in metres?",
        save(folder / "far.nii.gz", units, np.diag([700, 700, 2500, 1])): "voxels of 0.1 to 20 mm",
        save(folder / "skewed.nii.gz", units, skewed): "skewed",
        folder / "truncated.nii.gz": "a complete NIfTI file",
        folder / "empty.nii.gz": "a complete NIfTI file",
        folder / "no.nii.gz": "a complete NIfTI file",
        folder / "image.png": "a NIfTI file (.nii.gz, .nii) or a folder with a DICOM series",
        folder / "missing.nii.gz": "an existing file",
    }  # fmt: skip


def test_bad_volumes_are_refused_in_one_line(tmp_path):
    for path, expected in bad_volumes(tmp_path).items():
        with pytest.raises(InputError) as error:
            read_volume(path)
        message = str(error.value)
        assert expected in message and path.name in message and "\n" not in message, message
        assert message.startswith("volume: ")


def test_a_header_with_an_impossible_size_needs_no_memory(tmp_path):
    path = save(tmp_path / "a.nii", hounsfield(np.random.default_rng(0)))
    content = bytearray(path.read_bytes())
    content[42:48] = np.array([30000] * 3, "<i2").tobytes()
    path.write_bytes(content)
    with pytest.raises(InputError, match="at most"):
        read_volume(path)


def test_voxels_of_size_zero(tmp_path, capfd):
    """nibabel would take them for 1 mm, and print a line of its own."""
    content = bytearray(save(tmp_path / "a.nii", hounsfield(np.random.default_rng(0))).read_bytes())
    content[254:256] = bytes(2)  # no sform
    content[80:92] = np.array([0.7, 0.7, 0], "<f4").tobytes()
    (tmp_path / "a.nii").write_bytes(content)
    with pytest.raises(InputError, match=r"voxels with a size, got .* of 0\.7 x 0\.7 x 0"):
        read_volume(tmp_path / "a.nii")
    assert capfd.readouterr() == ("", "")


def test_metres_are_converted_if_the_header_says_so(tmp_path):
    image = nib.Nifti1Image(hounsfield(np.random.default_rng(0)), np.diag([7e-4, 7e-4, 2.5e-3, 1]))
    image.header.set_xyzt_units("meter")
    nib.save(image, tmp_path / "a.nii.gz")
    assert read_volume(tmp_path / "a.nii.gz").spacing == pytest.approx((0.7, 0.7, 2.5))


def test_an_unclear_orientation_is_noted(tmp_path):
    units = hounsfield(np.random.default_rng(0))
    content = bytearray(save(tmp_path / "none.nii", units).read_bytes())
    content[252:256] = bytes(4)  # the codes of qform and sform
    (tmp_path / "none.nii").write_bytes(content)
    with pytest.warns(Note, match="left and right may be exchanged"):
        read_volume(tmp_path / "none.nii")
    image = nib.Nifti1Image(units, np.eye(4))
    image.set_sform(np.diag([-1, 1, 1, 1]), 1)
    image.set_qform(np.eye(4), 1)
    nib.save(image, tmp_path / "two.nii.gz")
    with pytest.warns(Note, match="two different orientations"):
        assert read_volume(tmp_path / "two.nii.gz").grid.orientation == "LAS"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_volume(save(tmp_path / "clear.nii.gz", units))


@pytest.mark.parametrize(
    "levels, expected",
    [
        ([-1, 0, 1], "-1 to 1"),
        ([0, 1, 70000], "0 to 70000"),
        ([0.0, 0.5, 1.0], "numbers that are no integers"),
    ],
)
def test_bad_labels(levels, expected, tmp_path):
    array = np.array(levels * 8).reshape(2, 3, 4)
    path = save(tmp_path / "l.nii.gz", array.astype(np.float64))
    with pytest.raises(InputError, match=expected):
        read_labels(path)


@pytest.mark.parametrize("levels", [[0, 1, 2], [0.0, 1.5], [-0.5, 0.5], [0, 128, 255]])
def test_bad_probabilities(levels, tmp_path):
    path = save(tmp_path / "p.nii.gz", np.array(levels * 6, np.float32).reshape(3, 2, -1))
    with pytest.raises(InputError, match="predictions: expected (a mask|probabilities)"):
        read_probability(path)


def test_grids_are_compared_in_the_world(tmp_path):
    rng = np.random.default_rng(5)
    units, affine = hounsfield(rng), affine_of("LPS", (0.7, 0.9, 2.5), rng)
    volume = read_volume(save(tmp_path / "a.nii.gz", units, affine))
    # The same voxels in another order: the second axis reversed.
    turn = np.diag([1.0, -1.0, 1.0, 1.0])
    turn[1, 3] = units.shape[1] - 1
    labels = (units > 0).astype(np.uint8)
    same = read_labels(save(tmp_path / "s.nii.gz", labels[:, ::-1], affine @ turn))
    check_same_grid(volume, same)
    assert np.array_equal(same.array, volume.array > 0)

    moved = affine.copy()
    moved[:3, 3] += 0.3 * affine[:3, 0] / 0.7
    for name, array, other, expected in (
        ("shape", labels[:, :, 1:], affine, "7 x 9 x 5 voxels"),
        ("moved", labels, moved, r"up to 0\.3 mm away"),
        ("spacing", labels, affine @ np.diag([1, 1, 1.1, 1]), "mm away"),
        ("mirrored", labels, affine @ np.diag([-1, 1, 1, 1]), "mm away"),
    ):
        read = read_labels(save(tmp_path / f"{name}.nii.gz", array, other))
        with pytest.raises(InputError, match=expected):
            check_same_grid(volume, read)


def test_volumes_are_found_by_patient(tmp_path):
    units = hounsfield(np.random.default_rng(0))
    for name in ("b-2.nii.gz", "a 1.nii", ".hidden.nii.gz"):
        save(tmp_path / name, units)
    (tmp_path / "notes.txt").write_text("")
    found = find_volumes([tmp_path], "volumes")
    assert found == {"a_1": tmp_path / "a 1.nii", "b_2": tmp_path / "b-2.nii.gz"}
    assert list(found) == ["a_1", "b_2"]
    assert find_volumes([tmp_path, tmp_path / "b-2.nii.gz"], "volumes") == found
    (tmp_path / "more").mkdir()
    save(tmp_path / "more" / "b_2.nii", units)
    with pytest.raises(InputError, match="both of b_2"):
        find_volumes([tmp_path, tmp_path / "more"], "volumes")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="none in"):
        find_volumes([tmp_path / "empty"], "volumes")


def test_patient_names():
    assert patient_name("x/PANCREAS_0001") == "PANCREAS_0001"
    assert patient_name("x/a-b c.NII.GZ") == "a_b_c"
    assert patient_name("case.12.nii") == "case.12"


def test_a_real_scan():
    volume, labels = read_volume(SAMPLE / "ct.nii.gz"), read_labels(SAMPLE / "labels.nii.gz")
    check_same_grid(volume, labels)
    liver, pancreas = (volume.array[labels.array == label] for label in (5, 7))
    assert pancreas.size == 644 and -50 < np.median(pancreas) < np.median(liver) < 150
    # The liver lies on the right, the spleen (label 1) on the left.
    right = {label: np.argwhere(labels.array == label)[:, 0].mean() for label in (5, 1)}
    assert right[5] > right[1]

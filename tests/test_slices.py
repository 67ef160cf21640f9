"""Slices are windowed, turned and resampled as they should be, and their maps find the way back."""

import itertools
import json

import numpy as np
import pytest

pytest.importorskip("nibabel")

from polypseg.data.preparation import PLANES, Preparation
from polypseg.data.slices import Slicer
from polypseg.data.volumes import read_volume
from polypseg.errors import InputError
from tests.test_volumes import affine_of, save

WINDOW = (-100, 240)


def volume_of(tmp_path, shape=(11, 9, 7), spacing=(0.8, 0.8, 2.1), orientation="LPS", seed=0):
    rng = np.random.default_rng(seed)
    units = rng.integers(-300, 500, shape).astype(np.int16)
    path = save(tmp_path / "v.nii.gz", units, affine_of(orientation, spacing, rng))
    return read_volume(path)


def grey(units):
    """The window in float64: -100 becomes 0, 240 becomes 255."""
    return np.rint(np.clip((np.float64(units) + 100) / 340, 0, 1) * 255)


def expected_pixel(array, plane, index, row, column):
    """The value of a pixel, from the words of the module, for an array in RAS order."""
    x_right, y_front, z_top = (length - 1 for length in array.shape)
    if plane == "axial":  # the patient's right on the left, anterior on top
        return array[x_right - column, y_front - row, index]
    if plane == "coronal":  # right on the left, superior on top
        return array[x_right - column, index, z_top - row]
    return array[index, y_front - column, z_top - row]  # anterior on the left, superior on top


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
@pytest.mark.parametrize("plane", PLANES)
def test_slices_are_windowed_and_turned(plane, dtype, tmp_path):
    volume = volume_of(tmp_path, spacing=(1.0, 1.0, 1.0))
    object.__setattr__(volume, "array", volume.array.astype(dtype))
    slicer = Slicer(volume, Preparation(WINDOW, plane))
    assert len(slicer) == volume.array.shape[("sagittal", "coronal", "axial").index(plane)]
    for index in range(len(slicer)):
        image = slicer.image(index)
        assert image.shape == (*slicer.size, 3) and image.dtype == np.uint8
        for row, column in np.ndindex(slicer.size):
            unit = expected_pixel(volume.array, plane, index, row, column)
            assert (image[row, column] == grey(unit)).all()


@pytest.mark.parametrize("plane", PLANES)
def test_neighbours_are_channels(plane, tmp_path):
    volume = volume_of(tmp_path)
    alone = Slicer(volume, Preparation(WINDOW, plane))
    slicer = Slicer(volume, Preparation(WINDOW, plane, neighbours=1))
    last = len(slicer) - 1
    for index in range(len(slicer)):
        channels = np.moveaxis(slicer.image(index), -1, 0)
        beside = (max(index - 1, 0), index, min(index + 1, last))
        for channel, other in zip(channels, beside, strict=True):
            assert np.array_equal(channel, alone.image(other)[..., 0])


@pytest.mark.parametrize("label", [None, (7,), (3, 5)])
def test_masks(label, tmp_path):
    volume = volume_of(tmp_path)
    labels = np.random.default_rng(1).integers(0, 9, volume.array.shape).astype(np.uint8)
    slicer = Slicer(volume, Preparation(WINDOW, label=label))
    chosen = labels > 0 if label is None else (labels[..., None] == label).any(axis=-1)
    for index in range(len(slicer)):
        mask = slicer.mask(index, labels)
        for row, column in np.ndindex(slicer.size):
            assert mask[row, column] == expected_pixel(chosen, "axial", index, row, column)


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("orientation", ["LPS", "RAS", "IPR"])
def test_maps_find_their_way_back(plane, orientation, tmp_path):
    """A map that is 1 where the image is white says so of the same voxels."""
    spacing = (1.0, 1.0, 1.0)
    volume = volume_of(tmp_path, spacing=spacing, orientation=orientation)
    slicer = Slicer(volume, Preparation(WINDOW, plane))
    out = slicer.empty_map()
    for index in range(len(slicer)):
        slicer.put(index, (slicer.image(index)[..., 0] > 128).astype(np.float32), out)
    assert np.array_equal(out > 0.5, grey(volume.array) > 128)
    for index in range(len(slicer)):
        slicer.put(index, np.ones(slicer.size, np.float32), out, add=True)
    assert np.array_equal(out > 1.5, grey(volume.array) > 128)


@pytest.mark.parametrize(
    "plane, spacing, expected",
    [
        ("axial", None, (9, 11)),  # square already
        ("axial", 1.5, (5, 6)),  # 9 * .8 / 1.5 = 4.8 and 11 * .8 / 1.5 = 5.9
        ("axial", 0.4, (18, 22)),
        ("coronal", None, (18, 11)),  # 7 * 2.1 / .8 = 18.4
        ("sagittal", None, (18, 9)),
        ("sagittal", 1.0, (15, 7)),  # 7 * 2.1 = 14.7 and 9 * .8 = 7.2
    ],
)
def test_pixels_are_square_or_of_the_wanted_size(plane, spacing, expected, tmp_path):
    volume = volume_of(tmp_path)
    slicer = Slicer(volume, Preparation(WINDOW, plane, spacing))
    assert slicer.size == expected and slicer.image(0).shape == (*expected, 3)
    rows, columns = {"axial": (9, 11), "coronal": (7, 11), "sagittal": (7, 9)}[plane]
    row = (0.8 if plane == "axial" else 2.1) * rows / expected[0]
    assert slicer.spacing == pytest.approx(
        (row, 0.8 * columns / expected[1], 2.1 if plane == "axial" else 0.8), abs=1e-5
    )


@pytest.mark.parametrize("plane, spacing", itertools.product(PLANES, (None, 0.5, 1.7)))
def test_a_ball_comes_back_within_a_voxel_of_its_edge(plane, spacing, tmp_path):
    shape, sizes = (41, 37, 21), (0.8, 0.8, 2.0)
    where = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1) * sizes
    distance = np.linalg.norm(where - np.array([16.0, 15.0, 20.0]), axis=-1)
    units = np.where(distance < 11, 300, -500).astype(np.int16)
    volume = read_volume(save(tmp_path / "v.nii.gz", units, np.diag([*sizes, 1])))
    slicer = Slicer(volume, Preparation(WINDOW, plane, spacing))
    out = slicer.empty_map()
    for index in range(len(slicer)):
        slicer.put(index, slicer.image(index)[..., 1] / np.float32(255), out)
    wrong = (out > 0.5) != (units > 0)
    assert np.abs(distance[wrong] - 11).max(initial=0) < max(2.0, spacing or 0)
    assert (out > 0.5).sum() == pytest.approx((units > 0).sum(), rel=0.02)


def test_what_cannot_be_sliced(tmp_path):
    volume = volume_of(tmp_path)
    with pytest.raises(InputError, match="window: expected the Hounsfield units"):
        Slicer(volume, Preparation(None))
    with pytest.raises(InputError, match="spacing: .* 0 x 0 pixels"):
        Slicer(volume, Preparation(WINDOW, spacing=20.0))


@pytest.mark.parametrize(
    "values, expected",
    [
        ({"window": [240, -100]}, "window: expected two Hounsfield units, the lower first"),
        ({"window": [0]}, "window"),
        ({"window": [0, True]}, "window"),
        ({"window": [0, float("nan")]}, "window"),
        ({"window": [-1e9, 1e9]}, "window"),
        ({"plane": "oblique"}, "one of axial, coronal, sagittal"),
        ({"plane": ["axial"]}, "plane"),
        ({"spacing": 0}, "spacing: expected a number of mm from 0.1 to 20"),
        ({"spacing": "1"}, "spacing"),
        ({"neighbours": 2}, "neighbours: expected 0 or 1"),
        ({"neighbours": True}, "neighbours"),
        ({"label": []}, "label"),
        ({"label": [0]}, "label: expected levels from 1 to 65535"),
        ({"label": [1.5]}, "label"),
        ({"label": 7}, "label"),
        ({"more": 1}, "expected the values"),
    ],
)
def test_damaged_volume_json(values, expected, tmp_path):
    good = Preparation(WINDOW, "coronal", 0.8, 1, (7, 8))
    (tmp_path / "volume.json").write_text(good.to_json())
    assert Preparation.read(tmp_path, "data_path") == good
    bad = good.as_dict() | values
    with pytest.raises(ValueError, match=expected):
        Preparation.from_dict(bad)
    (tmp_path / "volume.json").write_text(json.dumps(bad))
    with pytest.raises(InputError, match="data_path: expected the volume.json of prepare_data.py"):
        Preparation.read(tmp_path, "data_path")
    assert Preparation.read(tmp_path / "none", "data_path") is None

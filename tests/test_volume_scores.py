"""Scores of a volume: spheres and boxes, all pairs of surface points, SimpleITK and MONAI."""

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.distance import cdist

from polypseg.data.volumes import read_labels
from polypseg.metrics.bootstrap import bootstrap, interval
from polypseg.metrics.overlap import overlap
from polypseg.metrics.volume import volume_scores

SPACINGS = [(1.0, 1.0, 1.0), (0.7, 0.9, 2.5)]


def box(corner, sides, shape=(31, 27, 23)):
    volume = np.zeros(shape, bool)
    volume[tuple(slice(at, at + side) for at, side in zip(corner, sides))] = True
    return volume


def ball(centre, radius, spacing, size):
    """Voxels whose centre, in mm, lies in the ball; `size` is that of the volume in mm."""
    axes = (np.arange(round(mm / step)) * step + step / 2 for mm, step in zip(size, spacing))
    grid = np.meshgrid(*axes, indexing="ij")
    return sum((axis - at) ** 2 for axis, at in zip(grid, centre)) <= radius**2


def blobs(seed, shape=(19, 23, 17)):
    rng = np.random.default_rng(seed)
    smooth = [ndimage.gaussian_filter(rng.random(shape), 2.5) for _ in range(2)]
    return [one > np.quantile(one, rng.uniform(0.7, 0.9)) for one in smooth]


@pytest.mark.parametrize("shift", list(itertools.product((0, 1, 3), (0, 2), (0, 4))))
def test_a_shifted_box(shift):
    sides, spacing = np.array((9, 8, 7)), (0.7, 0.9, 2.5)
    got = volume_scores(box((5, 6, 7), sides), box((5, 6, 7) + np.array(shift), sides), spacing)
    whole, common = np.prod(sides), np.prod(sides - shift)
    assert got.volume == pytest.approx(
        {
            "dice": common / whole,
            "iou": common / (2 * whole - common),
            "precision": common / whole,
            "recall": common / whole,
            "volume_difference_ml": 0,
            "absolute_volume_difference_ml": 0,
        }
    )
    assert got.truth_ml == got.predicted_ml == pytest.approx(9 * 8 * 7 * 0.7 * 0.9 * 2.5 / 1000)


@pytest.mark.parametrize("seed", range(3))
def test_the_overlap_is_that_of_all_voxels_laid_out_flat(seed):
    truth, prediction = blobs(seed)
    got = volume_scores(truth, prediction, (0.7, 0.9, 2.5)).volume
    for key, value in overlap(truth.reshape(19, -1), prediction.reshape(19, -1)).items():
        assert 0 < value < 1 and got[key] == value
    ml = 0.7 * 0.9 * 2.5 / 1000 * (prediction.sum() - truth.sum())
    assert got["volume_difference_ml"] == pytest.approx(ml)
    assert got["absolute_volume_difference_ml"] == pytest.approx(abs(ml))


@pytest.mark.parametrize("spacing", [(0.5, 0.5, 0.5), (0.4, 0.5, 1.0)])
def test_two_balls(spacing):
    """A ball of radius 10 mm; a prediction of radius 8 mm in it, and one that is moved by 6 mm."""
    pytest.importorskip("surface_distance")
    size, centre = (48.0, 40.0, 40.0), (20.0, 20.0, 20.0)
    truth = ball(centre, 10.0, spacing, size)
    step = max(spacing)
    smaller = volume_scores(truth, ball(centre, 8.0, spacing, size), spacing, tolerance=2 + step)
    assert smaller.truth_ml == pytest.approx(4 / 3 * math.pi, rel=0.01)
    assert smaller.volume["dice"] == pytest.approx(2 * 8**3 / (8**3 + 10**3), abs=0.005)
    assert smaller.volume["precision"] == 1
    assert smaller.volume["recall"] == pytest.approx(0.512, abs=0.005)
    assert smaller.volume["volume_difference_ml"] == pytest.approx(
        4 / 3 * math.pi * (0.512 - 1), rel=0.01
    )
    assert smaller.volume["hd95"] == pytest.approx(2, abs=step)
    assert smaller.volume["surface_dice"] > 0.99
    tight = volume_scores(truth, ball(centre, 8.0, spacing, size), spacing, tolerance=2 - 2 * step)
    assert tight.volume["surface_dice"] < 0.05

    moved = volume_scores(truth, ball((26.0, 20.0, 20.0), 10.0, spacing, size), spacing, 2.0)
    # The lens that two balls of radius r at a distance d share: pi (4 r + d) (2 r - d)^2 / 12.
    lens = math.pi * (4 * 10 + 6) * (2 * 10 - 6) ** 2 / 12
    assert moved.volume["dice"] == pytest.approx(lens / (4 / 3 * math.pi * 1000), abs=0.005)

    # A point of a sphere at the height h, an evenly distributed cosine, has the distance
    # |sqrt(r2 + d2 + 2 r d h) - r| to a sphere that is moved by d.
    def distance(h):
        return abs(math.sqrt(100 + 36 + 2 * 60 * h) - 10)

    heights = np.linspace(-1, 1, 20001)
    distances = np.sort([distance(h) for h in heights])
    assert moved.volume["hd95"] == pytest.approx(distances[int(0.95 * len(distances))], abs=step)
    # The corners of voxels lie up to half a voxel beside the sphere.
    least, most = ((distances <= 2 + error).mean() for error in (-step, step))
    assert least < moved.volume["surface_dice"] < most < least + 0.35


def surface_points(mask, spacing):
    """The corners of voxels that have both foreground and background beside them, in mm."""
    padded = np.pad(mask, 1)
    around = [
        padded[tuple(slice(at, at + side + 1) for at, side in zip(corner, mask.shape))]
        for corner in itertools.product((0, 1), repeat=3)
    ]
    return np.argwhere(np.any(around, axis=0) & ~np.all(around, axis=0)) * spacing


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("seed", range(3))
def test_surfaces_equal_all_pairs_of_points(seed, spacing):
    """By distances alone: all of the surface is within the largest distance, not all within a
    shorter one, and nothing within less than the shortest.
    """
    pytest.importorskip("surface_distance")
    truth, prediction = blobs(seed)
    distance = cdist(surface_points(truth, spacing), surface_points(prediction, spacing))
    nearest = np.concatenate([distance.min(0), distance.min(1)])
    largest, positive = nearest.max(), nearest[nearest > 1e-6].min()
    for tolerance, check in (
        (largest + 1e-6, lambda value: value == 1),
        (largest - 1e-6, lambda value: value < 1),
        (positive - 1e-6, lambda value: 0 < value < 0.5),
    ):
        got = volume_scores(truth, prediction, spacing, tolerance).volume
        assert check(got["surface_dice"])
    # Points differ in area by a factor of a few, so 95 % of the area lies between these.
    low, high = (max(np.quantile(distance.min(axis), q) for axis in (0, 1)) for q in (0.8, 1.0))
    assert low <= got["hd95"] <= high
    assert got["hd95"] == pytest.approx(nearest[np.argmin(abs(nearest - got["hd95"]))])


def test_the_mean_dice_of_slices_is_another_number():
    """What docs/metrics.md says of a pancreas that is shifted by one voxel."""
    pancreas = read_labels(Path(__file__).parent / "data/ct_sample/labels.nii.gz").array == 7
    assert pancreas.sum() == 644
    for step in (-1, 1):
        shifted = np.roll(pancreas, step, axis=0)
        assert round(volume_scores(pancreas, shifted, (3.0,) * 3).volume["dice"], 3) == 0.745
        slices = [overlap(*pair)["dice"] for pair in zip(pancreas.T, shifted.T)]
        with_pancreas = [dice for dice, mask in zip(slices, pancreas.T) if mask.any()]
        assert len(with_pancreas) == 18 and round(np.mean(with_pancreas), 3) == 0.653
        assert len(slices) == 30 and round(np.mean(slices), 3) == 0.792


@pytest.mark.parametrize("axis", range(3))
def test_a_slab_that_is_moved_along_an_axis(axis):
    """A wide, thin box is moved by two voxels: HD95 is their size along that axis."""
    pytest.importorskip("surface_distance")
    spacing, shape = (0.7, 1.1, 2.5), np.array((40, 40, 40))
    sides = np.full(3, 24)
    sides[axis] = 6
    moved = np.full(3, 8)
    moved[axis] += 2
    truth, prediction = box((8, 8, 8), sides, shape), box(moved, sides, shape)
    exact = volume_scores(truth, prediction, spacing, tolerance=2 * spacing[axis]).volume
    assert exact["hd95"] == pytest.approx(2 * spacing[axis])
    assert exact["surface_dice"] == 1
    below = volume_scores(truth, prediction, spacing, tolerance=2 * spacing[axis] - 0.01).volume
    assert below["surface_dice"] < 0.75  # without the two wide faces
    other = np.roll(spacing, 1)
    assert volume_scores(truth, prediction, tuple(other), 1.0).volume["hd95"] == pytest.approx(
        2 * other[axis]
    )


@pytest.mark.parametrize("seed", range(3))
def test_simpleitk(seed):
    sitk = pytest.importorskip("SimpleITK")
    truth, prediction = blobs(seed)
    images = [sitk.GetImageFromArray(one.T.astype(np.uint8)) for one in (truth, prediction)]
    for image in images:
        image.SetSpacing((0.7, 0.9, 2.5))
    measures = sitk.LabelOverlapMeasuresImageFilter()
    measures.Execute(*images)
    got = volume_scores(truth, prediction, (0.7, 0.9, 2.5))
    assert got.volume["dice"] == pytest.approx(measures.GetDiceCoefficient())
    assert got.volume["iou"] == pytest.approx(measures.GetJaccardCoefficient())
    shape = sitk.LabelShapeStatisticsImageFilter()
    for image, ml in zip(images, (got.truth_ml, got.predicted_ml)):
        shape.Execute(image)
        assert ml == pytest.approx(shape.GetPhysicalSize(1) / 1000)


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.filterwarnings("ignore::FutureWarning")  # of MONAI, about itself
def test_monai(seed, spacing):
    """As in two dimensions: MONAI's surface Dice has the same definition, its HD95 takes the
    centres of the outermost voxels.
    """
    pytest.importorskip("monai")
    pytest.importorskip("surface_distance")
    import torch
    from monai.metrics import compute_hausdorff_distance, compute_surface_dice

    rng = np.random.default_rng(seed)
    truth, prediction = (
        ball(rng.uniform(14, 20, 3), rng.uniform(7, 10), spacing, (34, 36, 38)) for _ in range(2)
    )
    got = volume_scores(truth, prediction, spacing, tolerance=2.0).volume
    pair = [torch.from_numpy(one[None, None].astype(np.float32)) for one in (prediction, truth)]
    options = {"include_background": True, "spacing": list(spacing)}
    dice = compute_surface_dice(*pair, class_thresholds=[2.0], use_subvoxels=True, **options)
    assert 0.1 < got["surface_dice"] < 0.9
    assert got["surface_dice"] == pytest.approx(float(dice), abs=1e-6)
    hd95 = compute_hausdorff_distance(*pair, percentile=95, **options)
    assert got["hd95"] == pytest.approx(float(hd95), abs=math.hypot(*spacing))


@pytest.mark.parametrize(
    "empty, on_empty, on_found", [("skip", math.nan, math.nan), ("one", 1, 0), ("zero", 0, 0)]
)
def test_an_empty_truth(empty, on_empty, on_found):
    pytest.importorskip("surface_distance")
    nothing, found = np.zeros((31, 27, 23), bool), box((3, 3, 3), (4, 5, 6))
    for prediction, expected, ml in ((nothing, on_empty, 0), (found, on_found, 0.12)):
        got = volume_scores(nothing, prediction, (1.0, 1.0, 1.0), 1.0, empty).volume
        for key in ("dice", "iou", "precision", "recall", "surface_dice"):
            np.testing.assert_equal(got[key], expected)
        assert math.isnan(got["hd95"]) and got["volume_difference_ml"] == ml


@pytest.mark.parametrize("empty", ["skip", "one", "zero"])
def test_nothing_predicted(empty):
    pytest.importorskip("surface_distance")
    truth = box((3, 3, 3), (4, 5, 6))
    got = volume_scores(truth, np.zeros_like(truth), (0.7, 0.9, 2.5), 1.0, empty).volume
    diagonal = math.sqrt((31 * 0.7) ** 2 + (27 * 0.9) ** 2 + (23 * 2.5) ** 2)
    assert got.pop("hd95") == pytest.approx(diagonal)
    ml = 4 * 5 * 6 * 0.7 * 0.9 * 2.5 / 1000
    assert got.pop("volume_difference_ml") == pytest.approx(-ml)
    assert got.pop("absolute_volume_difference_ml") == pytest.approx(ml)
    assert set(got.values()) == {0}


def test_without_a_tolerance_there_are_no_boundary_scores(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "surface_distance", None)
    truth = box((3, 3, 3), (4, 5, 6))
    assert not {"hd95", "surface_dice"} & {*volume_scores(truth, truth, (1.0, 1.0, 1.0)).volume}
    with pytest.raises(ValueError, match="pip install surface-distance"):
        volume_scores(truth, truth, (1.0, 1.0, 1.0), tolerance=1.0)


def test_the_bootstrap_draws_volumes():
    """The interval of a mean is about 1.96 standard errors on both sides."""
    rng = np.random.default_rng(3)
    patients = []
    for _ in range(60):
        truth = rng.random((6, 5, 4)) < 0.5
        patients.append(volume_scores(truth, truth ^ (rng.random(truth.shape) < 0.2), (1.0,) * 3))
    dices = np.array([patient.volume["dice"] for patient in patients])
    low, high = interval(bootstrap(patients)["volume"]["dice"])
    error = dices.std() / math.sqrt(60)
    assert (low, high) == pytest.approx(
        (dices.mean() - 1.96 * error, dices.mean() + 1.96 * error), abs=0.2 * error
    )


@pytest.mark.parametrize(
    "options, words",
    [
        ({"truth": np.zeros((3, 5), bool)}, r"truth \(X, Y, Z\) bool, got shape \(3, 5\)"),
        ({"prediction": np.zeros((3, 5, 7))}, "prediction .* of float64"),
        ({"prediction": np.zeros((3, 7, 5), bool)}, r"same shape, got truth=\(3, 5, 7\)"),
        ({"spacing": (1.0, 1.0)}, "3 positive numbers"),
        ({"spacing": (1.0, 1.0, 0.0)}, "3 positive numbers"),
        ({"tolerance": -1.0}, "tolerance of 0 or more"),
        ({"empty": "nan"}, "skip, one, zero"),
    ],
)
def test_rejects(options, words):
    if "tolerance" in options:
        pytest.importorskip("surface_distance")
    arguments = {
        "truth": np.zeros((3, 5, 7), bool),
        "prediction": np.zeros((3, 5, 7), bool),
        "spacing": (1.0, 1.0, 1.0),
    }
    with pytest.raises(ValueError, match=words):
        volume_scores(**(arguments | options))

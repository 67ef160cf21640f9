"""HD95 and surface Dice: boxes, all pairs of points in float64, and MONAI."""

import importlib.metadata
import math
import sys

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.distance import cdist

from polypseg.errors import InputError
from polypseg.metrics.boundary import boundary_scores, surface_distance_version
from polypseg.metrics.ground_truth import GroundTruth

pytest.importorskip("surface_distance")


def box(top, left, height, width, shape=(61, 83)):
    image = np.zeros(shape, bool)
    image[top : top + height, left : left + width] = True
    return image


def outline(mask, spacing):
    """Points `(n, 2)` and the length of each: corners of pixels between 1 and 3 pixels of the
    region, or 2.
    """
    padded = np.pad(mask, 1)
    points, lengths = [], []
    half = math.hypot(*spacing) / 2
    for y, x in np.ndindex(mask.shape[0] + 1, mask.shape[1] + 1):
        four = padded[y : y + 2, x : x + 2]
        if four.sum() in (1, 3):
            length = half
        elif four.sum() != 2:
            continue
        elif four[0, 0] == four[1, 1]:
            length = 2 * half
        else:  # pixels side by side: a vertical edge; one above the other: a horizontal one
            length = spacing[0] if four[0, 0] == four[1, 0] else spacing[1]
        points.append((y * spacing[0], x * spacing[1]))
        lengths.append(length)
    return np.array(points), np.array(lengths)


def expected_scores(mask, prediction, tolerance, spacing):
    """From the distances of all pairs of points."""
    (a, a_lengths), (b, b_lengths) = outline(mask, spacing), outline(prediction, spacing)
    distance = cdist(a, b)
    hd95, agreed = 0.0, 0.0
    for nearest, lengths in ((distance.min(1), a_lengths), (distance.min(0), b_lengths)):
        within = [lengths[nearest <= d].sum() / lengths.sum() for d in np.unique(nearest)]
        hd95 = max(hd95, np.unique(nearest)[np.argmax(np.array(within) >= 0.95)])
        agreed += lengths[nearest <= tolerance].sum()
    return hd95, agreed / (a_lengths.sum() + b_lengths.sum())


def blob(rng, shape):
    smooth = ndimage.gaussian_filter(rng.random(shape), 4)
    return smooth > np.quantile(smooth, rng.uniform(0.6, 0.9))


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (0.7, 1.9), (2.5, 0.5)])
@pytest.mark.parametrize("seed", range(4))
def test_equals_all_pairs_of_points(seed, spacing):
    """Blobs, some of them at the image's border."""
    rng = np.random.default_rng(seed)
    mask, prediction = blob(rng, (37, 53)), blob(rng, (37, 53))
    tolerance = (0.0, 1.0, 2.6, 5.1)[seed]
    got = boundary_scores(GroundTruth(mask), prediction, tolerance, spacing=spacing)
    expected = expected_scores(mask, prediction, tolerance, spacing)
    assert 0 < expected[1] < 1 < expected[0]
    assert got == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (0.5, 3.0)])
@pytest.mark.parametrize("grown", [1, 4, 9])
def test_a_box_that_grows_downwards(grown, spacing):
    """The lower edge, more than 5 % of the outline, is too low by `grown` rows."""
    (y, x), (height, width) = spacing, (10, 30)
    mask, prediction = box(5, 7, height, width), box(5, 7, height + grown, width)
    got = boundary_scores(GroundTruth(mask), prediction, 0.0, spacing=spacing)
    assert got.hd95 == pytest.approx(grown * y)
    # At each of the four corners stands half a diagonal. Of the mask, all but the lower edge lies
    # on the outline of the prediction; of the prediction, the upper edge, its corners, and the
    # sides down to the mask's lower corners.
    half = math.hypot(y, x) / 2
    edge = (width - 1) * x
    whole = [2 * edge + 2 * (rows - 1) * y + 4 * half for rows in (height, height + grown)]
    agreed = [edge + 2 * (height - 1) * y + 4 * half, edge + 2 * height * y + 2 * half]
    assert got.surface_dice == pytest.approx(sum(agreed) / sum(whole))
    at = boundary_scores(GroundTruth(mask), prediction, grown * y, spacing=spacing)
    assert at.surface_dice == 1
    below = boundary_scores(GroundTruth(mask), prediction, grown * y - 1e-6, spacing=spacing)
    assert below.surface_dice < 1


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (0.5, 3.0)])
def test_a_box_that_grows_to_the_right(spacing):
    mask, prediction = box(5, 7, 30, 10), box(5, 7, 30, 14)
    got = boundary_scores(GroundTruth(mask), prediction, 1.0, spacing=spacing)
    assert got.hd95 == pytest.approx(4 * spacing[1])


@pytest.mark.parametrize("shift", [1, 2, 5])
def test_a_shifted_square(shift):
    """The edge that faces away, a quarter of the outline, has the distance `shift`."""
    mask, prediction = box(20, 20, 20, 20), box(20, 20 + shift, 20, 20)
    got = boundary_scores(GroundTruth(mask), prediction, float(shift))
    assert got == (shift, 1.0)


def test_the_percentile_is_by_length():
    """Pixels of 1 x 20, and a prediction that is 4 columns too wide.

    Its outline has 2 x 44 points of length 20 on the horizontal edges, 2 x 9 of length 1 on the
    vertical edges, and four corners of half a diagonal. On its right edge, 80 away from the mask,
    are 11 of 110 points, but only 29 of 1818 in length. With the two columns at a distance of 60,
    that is 69, less than 5 %; with those at 40, it is 109, more.
    """
    half = math.hypot(1, 20) / 2
    total = 2 * 44 * 20 + 2 * 9 + 4 * half
    assert (9 + 2 * half + 40) / total < 0.05 < (9 + 2 * half + 80) / total
    assert 11 / 110 > 0.05
    mask, prediction = box(5, 7, 10, 41), box(5, 7, 10, 45)
    got = boundary_scores(GroundTruth(mask), prediction, 1.0, spacing=(1.0, 20.0))
    assert got.hd95 == 40


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (0.7, 1.9)])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.filterwarnings("ignore::FutureWarning")  # of MONAI, about itself
def test_monai(seed, spacing):
    """MONAI's surface Dice has the same definition. For HD95, its outline are the centres of the
    outermost pixels, half a diagonal from their corners: at both ends that is one diagonal.
    """
    pytest.importorskip("monai")
    import torch
    from monai.metrics import compute_hausdorff_distance, compute_surface_dice

    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:61, :83]
    mask, prediction = (
        ((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 <= 1
        for cy, cx, ry, rx in rng.uniform((25, 30, 10, 15), (35, 50, 20, 25), (2, 4))
    )
    got = boundary_scores(GroundTruth(mask), prediction, 3.0, spacing=spacing)
    pair = [torch.from_numpy(one[None, None].astype(np.float32)) for one in (prediction, mask)]
    options = {"include_background": True, "spacing": list(spacing)}
    dice = compute_surface_dice(*pair, class_thresholds=[3.0], use_subvoxels=True, **options)
    assert got.surface_dice == pytest.approx(float(dice), abs=1e-6)
    hd95 = compute_hausdorff_distance(*pair, percentile=95, **options)
    assert got.hd95 == pytest.approx(float(hd95), abs=math.hypot(*spacing))
    assert got.hd95 > 5 * math.hypot(*spacing)


def test_the_border_of_the_image_is_an_outline():
    """A region that reaches the border, and one that stops 3 pixels before."""
    mask, prediction = box(10, 0, 20, 30), box(10, 3, 20, 27)
    assert boundary_scores(GroundTruth(mask), prediction, 2.9).surface_dice < 1
    assert boundary_scores(GroundTruth(mask), prediction, 3.0) == (3.0, 1.0)


@pytest.mark.parametrize(
    "empty, on_empty, on_found", [("skip", math.nan, math.nan), ("one", 1, 0), ("zero", 0, 0)]
)
def test_an_empty_mask(empty, on_empty, on_found):
    nothing = np.zeros((61, 83), bool)
    for prediction, expected in ((nothing, on_empty), (box(3, 3, 9, 9), on_found)):
        got = boundary_scores(GroundTruth(nothing), prediction, 2.0, empty)
        np.testing.assert_array_equal(got, (math.nan, expected))


@pytest.mark.parametrize("empty", ["skip", "one", "zero"])
def test_nothing_predicted_is_as_bad_as_the_image_allows(empty):
    nothing, corner, far = np.zeros((61, 83), bool), box(0, 0, 1, 1), box(60, 82, 1, 1)
    spacing = (0.7, 1.9)
    got = boundary_scores(GroundTruth(corner), nothing, 2.0, empty, spacing)
    assert got == (pytest.approx(math.hypot(61 * 0.7, 83 * 1.9)), 0.0)
    # Single pixels in opposite corners of the image: from the outer corner of one, a quarter of
    # its outline, to the inner corner of the other.
    worst = boundary_scores(GroundTruth(corner), far, 2.0, empty, spacing)
    assert worst.hd95 == pytest.approx(math.hypot(60 * 0.7, 82 * 1.9))
    assert worst.hd95 < got.hd95


def test_ignored_pixels_are_removed_from_the_prediction():
    mask, ignored = box(10, 10, 20, 20), box(0, 40, 61, 43)
    prediction = mask | box(30, 50, 8, 8)
    assert boundary_scores(GroundTruth(mask, ignored), prediction, 1.0) == (0.0, 1.0)
    assert boundary_scores(GroundTruth(mask), prediction, 1.0).hd95 > 20
    only_there = boundary_scores(GroundTruth(mask, ignored), box(30, 50, 8, 8), 1.0)
    assert only_there == (math.hypot(61, 40), 0.0)  # the diagonal of what is not ignored
    nothing = GroundTruth(np.zeros((61, 83)), ignored)
    assert boundary_scores(nothing, box(30, 50, 8, 8), 1.0).surface_dice == 1.0


def test_version():
    assert surface_distance_version() == importlib.metadata.version("surface-distance")


def test_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "surface_distance", None)
    for use in (
        surface_distance_version,
        lambda: boundary_scores(GroundTruth([[1, 0]]), np.array([[True, False]]), 1.0),
    ):
        with pytest.raises(InputError, match=r"pip install surface-distance") as raised:
            use()
        assert raised.value.argument == "boundary"
        assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "options, words",
    [
        ({"tolerance": -1.0}, "tolerance of 0 or more, got tolerance=-1.0"),
        ({"tolerance": math.nan}, "got tolerance=nan"),
        ({"spacing": (1.0, 1.0, 1.0)}, "2 positive numbers"),
        ({"spacing": (1.0, 0.0)}, "2 positive numbers"),
        ({"empty": "nan"}, "skip, one, zero"),
        ({"prediction": np.zeros((5, 3), bool)}, r"mask's size \(3, 5\)"),
        ({"prediction": np.full((3, 5), 7)}, "prediction in {0, 1}"),
    ],
)
def test_rejects(options, words):
    arguments = {"prediction": np.zeros((3, 5), bool), "tolerance": 1.0}
    with pytest.raises(ValueError, match=words):
        boundary_scores(GroundTruth(np.eye(3, 5)), **(arguments | options))

"""Augmentation of slices of volumes: the same for all channels, and without mirroring."""

import numpy as np
import pytest
import tensorflow as tf
from scipy.ndimage import center_of_mass, gaussian_filter, map_coordinates

from polypseg.data.augment import DRAWS, random_draws
from polypseg.data.augment_slices import augment_slices
from polypseg.data.loading import Arrays
from polypseg.data.pipeline import SLICE_AUGMENTATIONS, training_batches
from polypseg.experiment.registry import AUGMENTATIONS
from polypseg.layers.types import IGNORED

NO_NOISE = 0.2
NO_ZOOM = np.log(1 / 0.7) / np.log(1.3 / 0.7)


def drawn(count, seed=0):
    return np.stack([random_draws(seed, 0, index) for index in range(count)])


def neutral(count=1):
    draws = np.full((count, DRAWS), 0.5, np.float32)
    draws[:, 1], draws[:, 7] = NO_ZOOM, NO_NOISE
    return draws


def augmented(images, masks, draws, size):
    return [out.numpy() for out in augment_slices(*map(tf.constant, (images, masks, draws)), size)]


def no_masks(images):
    return np.zeros((*images.shape[:3], 1), np.uint8)


def smooth(rng, *shape):
    """Smooth random channels, uint8 over most of the range."""
    noise = gaussian_filter(rng.standard_normal(shape), (0, 4, 4, 0))
    return (127.5 + 60 * noise / noise.std()).clip(0, 255).astype(np.uint8)


def test_a_repeated_slice_stays_three_equal_channels():
    one = np.random.default_rng(1).integers(0, 256, (40, 37, 41, 1)).astype(np.uint8)
    out, _ = augmented(one.repeat(3, axis=3), no_masks(one), drawn(40), 33)
    np.testing.assert_array_equal(out[..., 0], out[..., 1])
    np.testing.assert_array_equal(out[..., 0], out[..., 2])
    assert out.min() == 0 and out.max() == 255


def test_a_channel_does_not_depend_on_the_others():
    images = np.random.default_rng(2).integers(0, 256, (24, 37, 41, 3)).astype(np.uint8)
    draws = drawn(24, seed=3)
    out, _ = augmented(images, no_masks(images), draws, 33)
    for channel in range(3):
        alone = images[..., channel : channel + 1].repeat(3, axis=3)
        got, _ = augmented(alone, no_masks(alone), draws, 33)
        np.testing.assert_array_equal(got[..., channel], out[..., channel])


def test_geometry_and_grey_levels_follow_the_formula():
    """Rotate, zoom and shift about the centre, black outside; then gamma, contrast, brightness."""
    rng = np.random.default_rng(4)
    (height, width), size = (61, 47), 53
    images = smooth(rng, 8, height, width, 3)
    draws = rng.random((8, DRAWS)).astype(np.float32)
    draws[:, 7] = NO_NOISE
    out, _ = augmented(images, no_masks(images), draws, size)
    position = (np.arange(size) + 0.5) / size - 0.5  # in fractions of the image, from its centre
    y, x = np.meshgrid(position, position, indexing="ij")
    for image, draw, result in zip(images, draws.astype(np.float64), out):
        turn, zoom, right, down, gamma, contrast, brightness = draw[:7]
        turn, zoom = np.deg2rad(30 * turn - 15), 0.7 * (1.3 / 0.7) ** zoom
        from_x = (np.cos(turn) * x - np.sin(turn) * y) / zoom + 0.2 * right - 0.1
        from_y = (np.sin(turn) * x + np.cos(turn) * y) / zoom + 0.2 * down - 0.1
        at = [(from_y + 0.5) * height - 0.5, (from_x + 0.5) * width - 0.5]
        moved = np.stack(
            [map_coordinates(image[..., c].astype(float), at, order=1) for c in range(3)], axis=-1
        )
        shaded = 255 * (moved / 255) ** (1.25 ** (2 * gamma - 1))
        shaded = 127.5 + (0.75 + 0.5 * contrast) * (shaded - 127.5) + 50 * brightness - 25
        # OpenCV moves by steps of 1/32 pixel, and the border is sharp.
        difference = np.abs(result - shaded.clip(0, 255))
        inside = (np.abs(from_x) < 0.47) & (np.abs(from_y) < 0.47)
        outside = (np.abs(from_x) > 0.53) | (np.abs(from_y) > 0.53)
        assert difference[inside].max() < 3, difference[inside].max()
        assert not outside.any() or difference[outside].max() < 1e-3


def test_neutral_draws_change_nothing():
    image = np.random.default_rng(5).integers(0, 256, (1, 40, 40, 3)).astype(np.uint8)
    mask = (image[..., :1] > 90).astype(np.uint8)
    out, out_mask = augmented(image, mask, neutral(), 40)
    np.testing.assert_allclose(out, image, atol=1.1)
    np.testing.assert_array_equal(out_mask, mask)


def test_sides_are_never_swapped():
    """Where three discs go: from the middle to the right, and from the middle down."""
    y, x = np.mgrid[:96, :96]
    discs = [
        ((x - across) ** 2 + (y - down) ** 2 < 6**2).astype(np.uint8)
        for across, down in ((48, 48), (68, 48), (48, 68))
    ]
    count = 300
    draws = drawn(count, seed=6)
    blank = np.zeros((count, 96, 96, 3), np.uint8)
    places = []
    for disc in discs:
        masks = disc[None, ..., None].repeat(count, axis=0)
        _, moved = augmented(blank, masks, draws, 96)
        places.append(np.array([center_of_mass(mask[..., 0]) for mask in moved])[:, ::-1])
    middle, right, below = places
    for side, angle in ((right - middle, 0), (below - middle, 90)):
        turned = np.rad2deg(np.arctan2(side[:, 1], side[:, 0])) - angle
        assert np.abs(turned).max() < 16 and np.ptp(turned) > 25
        zoomed = np.hypot(*side.T) / 20
        assert 0.68 < zoomed.min() < 0.75 and 1.22 < zoomed.max() < 1.32


def test_mask_follows_image():
    y, x = np.mgrid[:60, :60]
    disc = ((y - 25) ** 2 + (x - 35) ** 2 < 14**2)[None, :, :, None].repeat(16, axis=0)
    images = np.where(disc, 220, 40).repeat(3, axis=3).astype(np.uint8)
    draws = drawn(16)
    draws[:, 7] = NO_NOISE
    out, masks = augmented(images, disc.astype(np.uint8), draws, 48)
    assert set(np.unique(masks)) == {0.0, 1.0}
    middle = (out.max(axis=(1, 2, 3)) + out.min(axis=(1, 2, 3))) / 2
    agree = (out.mean(axis=3) > middle[:, None, None]) == (masks[..., 0] > 0.5)
    assert agree.mean() > 0.98
    assert masks.mean(axis=(1, 2, 3)).std() > 0.02, "zoom changes the area"


def test_outside_the_image_is_black_background():
    white = np.full((1, 40, 40, 3), 255, np.uint8)
    draws = neutral()
    draws[:, 1] = 0.0  # zoom 0.7: (1 - 0.7) / 2 * 40 = 6 pixels on each side
    for level in (1, IGNORED):
        out, mask = augmented(white, np.full((1, 40, 40, 1), level, np.uint8), draws, 40)
        inside = np.zeros((40, 40), bool)
        inside[6:34, 6:34] = True
        for got, value in ((out[0, ..., 0], 255), (mask[0, ..., 0], level)):
            assert (got[inside] == value).mean() > 0.95 and not got[~inside].any()


def test_noise_is_in_half_of_the_slices_and_the_same_in_all_channels():
    count = 200
    images = np.full((count, 50, 50, 3), (100, 128, 150), np.uint8)
    draws = neutral(count)
    draws[:, 7:9] = drawn(count)[:, 7:9]
    out, _ = augmented(images, no_masks(images), draws, 50)
    noise = (out - images)[:, 2:-2, 2:-2]
    np.testing.assert_allclose(noise, noise[..., :1].repeat(3, axis=3), atol=1e-4)
    deviation = noise[..., 0].std(axis=(1, 2))
    expected = (24 * draws[:, 7] - 12).clip(min=0)
    np.testing.assert_allclose(deviation, expected, rtol=0.08, atol=1e-4)
    assert 0.4 < (deviation > 0).mean() < 0.6
    first, second = noise[deviation > 6][:2]
    assert abs(np.corrcoef(first[..., 0].ravel(), second[..., 0].ravel())[0, 1]) < 0.1


def batches(arrays, **kwargs):
    settings = {"input_size": 32, "batch_size": 4, "seed": 5, "epochs": 2, "slices": True}
    return [(x.numpy(), y.numpy()) for x, y in training_batches(arrays, **(settings | kwargs))]


@pytest.fixture(scope="module")
def arrays():
    rng = np.random.default_rng(8)
    images = rng.integers(0, 256, (11, 40, 40, 3)).astype(np.uint8)
    return Arrays(images, (images[..., :1] > 150).astype(np.uint8))


def test_repeatable_by_seed_epoch_and_index(arrays):
    first = batches(arrays)
    for ours, theirs in zip(first, batches(arrays), strict=True):
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(a, b)
    assert not np.array_equal(first[0][0], first[2][0]), "epochs differ"
    assert not np.array_equal(first[0][0], batches(arrays, seed=6)[0][0]), "seeds differ"
    np.testing.assert_array_equal(batches(arrays, first_epoch=1)[0][0], first[2][0])


def test_flips_are_the_four_mirror_images():
    slice_ = np.random.default_rng(9).integers(0, 256, (6, 6, 3)).astype(np.uint8)
    mask = (slice_[..., :1] > 90).astype(np.uint8)
    arrays = Arrays(slice_[None].repeat(200, axis=0), mask[None].repeat(200, axis=0))
    ((images, masks),) = batches(arrays, batch_size=200, epochs=1, augmentation="flips")

    def mirrored(array):
        return [array, array[:, ::-1], array[::-1], array[::-1, ::-1]]

    which = [
        [np.array_equal(image, one) for one in mirrored(slice_)].index(True) for image in images
    ]
    assert np.bincount(which, minlength=4).min() > 25
    for index, one in zip(which, masks, strict=True):
        np.testing.assert_array_equal(one, mirrored(mask)[index])


def test_the_names_are_those_of_the_command_line():
    assert set(SLICE_AUGMENTATIONS) == set(AUGMENTATIONS)

"""The cache, the order of images and their augmentation."""

import cv2
import numpy as np
import pytest
import tensorflow as tf

from polypseg.data import pipeline
from polypseg.data.augment import DRAWS, _blur, _colour, augment, random_draws
from polypseg.data.loading import Arrays, load
from polypseg.data.pairs import find_pairs
from polypseg.data.pipeline import evaluation_batches, training_batches
from polypseg.data.synthetic import write_dataset
from polypseg.experiment.registry import AUGMENTATIONS


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_dataset(folder, 11, size=(50, 71), seed=3)
    return find_pairs(folder)[0]


def loaded(pairs, size):
    return load(pairs, [(pairs, size)]).arrays[0]


def batches(arrays, **kwargs):
    settings = {"input_size": 32, "batch_size": 4, "seed": 5, "epochs": 2} | kwargs
    return [(x.numpy(), y.numpy()) for x, y in training_batches(arrays, **settings)]


def test_order_and_augmentation_follow_from_seed_and_epoch(pairs):
    arrays = loaded(pairs, 40)
    first, second = batches(arrays), batches(arrays)
    assert len(first) == 2 * (11 // 4)
    for (x, y), (x2, y2) in zip(first, second):
        np.testing.assert_array_equal(x, x2)
        np.testing.assert_array_equal(y, y2)
    assert not np.array_equal(first[0][0], first[2][0]), "epochs differ"
    assert not np.array_equal(first[0][0], batches(arrays, seed=6)[0][0]), "seeds differ"
    resumed = batches(arrays, first_epoch=1)
    assert len(resumed) == 2
    np.testing.assert_array_equal(resumed[0][0], first[2][0])


def test_an_epoch_shows_each_image_once():
    levels = np.arange(12, dtype=np.uint8)
    arrays = Arrays(
        np.full((12, 8, 8, 3), levels[:, None, None, None]), np.zeros((12, 8, 8, 1), np.uint8)
    )
    epochs = [x[:, 0, 0, 0].tolist() for x, _ in batches(arrays, epochs=2, augmentation="none")]
    first, second = sum(epochs[:3], []), sum(epochs[3:], [])
    assert sorted(first) == sorted(second) == levels.tolist()
    assert first != second and first != levels.tolist()


def test_evaluation_batches_are_the_arrays_in_order(pairs):
    arrays = loaded(pairs, 32)
    got = list(evaluation_batches(arrays, 4))
    assert [len(x) for x, _ in got] == [4, 4, 3]
    np.testing.assert_array_equal(
        np.concatenate([x for x, _ in got]), arrays.images.astype("float32")
    )
    np.testing.assert_array_equal(
        np.concatenate([y for _, y in got]), arrays.masks.astype("float32")
    )


def test_rows_of_shared_arrays_are_what_arrays_of_their_own_are(pairs):
    rows = np.random.default_rng(9).permutation(11)[:7]
    shared = loaded(pairs, 40)
    own = Arrays(shared.images[rows], shared.masks[rows])
    shared = Arrays(shared.images, shared.masks, rows)
    for make in (batches, lambda arrays: list(evaluation_batches(arrays, 3, (0, 1)))):
        for ours, theirs in zip(make(shared), make(own), strict=True):
            for a, b in zip(ours, theirs, strict=True):
                np.testing.assert_array_equal(a, b)


def drawn(count, seed=0):
    return tf.stack([random_draws(seed, 0, index) for index in range(count)])


def test_image_and_mask_move_together():
    # The mask is the bright disc of the image, and stays so under any warp.
    y, x = np.mgrid[:60, :60]
    disc = ((y - 25) ** 2 + (x - 35) ** 2 < 14**2)[None, :, :, None].repeat(16, axis=0)
    images = np.where(disc, 220, 40).repeat(3, axis=3).astype(np.uint8)
    out, masks = augment(images, disc.astype(np.uint8), drawn(16), 48)
    out, masks = out.numpy(), masks.numpy()
    assert set(np.unique(masks)) == {0.0, 1.0}
    middle = (out.max(axis=(1, 2, 3)) + out.min(axis=(1, 2, 3))) / 2
    agree = (out.mean(axis=3) > middle[:, None, None]) == (masks[..., 0] > 0.5)
    assert agree.mean() > 0.97
    areas = masks.mean(axis=(1, 2, 3))
    assert areas.std() > 0.02, "zoom changes the area"


def test_neutral_draws_only_resize():
    image = np.random.default_rng(1).integers(0, 256, (1, 40, 40, 3)).astype(np.uint8)
    mask = (image[..., :1] > 90).astype(np.uint8)
    neutral = np.full((1, DRAWS), 0.5, "float32")
    neutral[:, :3] = 0.0  # no flips, no quarter turn
    neutral[:, 4] = np.log(1 / 0.8) / np.log(1.5 / 0.8)  # zoom 1
    out, out_mask = augment(image, mask, neutral, 40)
    np.testing.assert_allclose(out, image, atol=0.6)
    np.testing.assert_array_equal(out_mask, mask)
    resized = cv2.resize(
        image[0], (27, 27), interpolation=cv2.INTER_LINEAR
    )  # the same centre, other pixels
    np.testing.assert_allclose(
        augment(image, mask, neutral, 27)[0][0], resized, atol=8
    )  # positions of 1/32 pixel
    flipped = neutral.copy()
    flipped[:, 0] = 0.9
    np.testing.assert_array_equal(augment(image, mask, flipped, 40)[1], mask[:, :, ::-1])
    turned = neutral.copy()
    turned[:, 2] = 0.3
    assert any(
        np.array_equal(augment(image, mask, turned, 40)[1][0], np.rot90(mask[0], turns))
        for turns in (1, 3)
    )


def test_flips_give_the_eight_symmetries_of_the_square():
    picture = np.random.default_rng(4).integers(0, 256, (6, 6, 3)).astype(np.uint8)
    mask = (picture[..., :1] > 90).astype(np.uint8)
    arrays = Arrays(picture[None].repeat(200, axis=0), mask[None].repeat(200, axis=0))
    ((images, masks),) = batches(arrays, batch_size=200, epochs=1, augmentation="flips")
    symmetries = [
        np.rot90(side, turns) for side in (picture, picture[:, ::-1]) for turns in range(4)
    ]
    which = [
        [np.array_equal(image, symmetry) for symmetry in symmetries].index(True) for image in images
    ]
    assert np.bincount(which, minlength=8).min() > 10
    moved = [np.rot90(side, turns) for side in (mask, mask[:, ::-1]) for turns in range(4)]
    for index, one in zip(which, masks, strict=True):
        np.testing.assert_array_equal(one, moved[index])


def test_the_command_line_offers_the_augmentations_there_are():
    assert set(pipeline.AUGMENTATIONS) == set(AUGMENTATIONS)


def test_colours_stay_in_range_and_vary():
    images = np.random.default_rng(2).integers(0, 256, (32, 24, 24, 3)).astype(np.uint8)
    out = augment(images, images[..., :1] % 2, drawn(32), 24)[0].numpy()
    assert np.isfinite(out).all() and out.min() >= 0 and out.max() <= 255
    assert out.mean(axis=(1, 2, 3)).std() > 5


def test_colours_follow_the_formula():
    """Gamma, contrast about the mean, brightness, then a turn and a stretch of the chrominance, one
    after the other.
    """
    rng = np.random.default_rng(7)
    images = rng.integers(0, 256, (5, 9, 11, 3)).astype(np.float32)
    draws = rng.random((5, 5)).astype(np.float32)
    to_yiq = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
    for image, out, draw_ in zip(
        images, _colour(images, tf.unstack(draws, axis=1)).numpy(), draws.astype(np.float64)
    ):
        brightness, contrast, gamma, saturation, hue = draw_
        x = 255 * (image.astype(np.float64) / 255) ** np.exp(0.44 * gamma - 0.22)
        x = x.mean() + (x - x.mean()) * (0.75 + 0.5 * contrast)
        y, i, q = np.moveaxis(x * (0.75 + 0.5 * brightness) @ to_yiq.T, -1, 0)
        turned = (i + 1j * q) * (0.7 + 0.6 * saturation) * np.exp(1j * np.deg2rad(20 * hue - 10))
        expected = np.stack([y, turned.real, turned.imag], axis=-1) @ np.linalg.inv(to_yiq).T
        np.testing.assert_allclose(out, expected.clip(0, 255), atol=2e-3)


def test_one_in_five_is_blended_with_its_blur():
    rng = np.random.default_rng(8)
    images = rng.random((4, 9, 6, 3)).astype(np.float32) * 255
    chance, amount = np.float32([0.1, 0.3, 0.19, 0.9]), np.float32([0.4, 0.5, 1.0, 0.2])
    out = _blur(tf.constant(images), (tf.constant(chance), tf.constant(amount))).numpy()
    line = np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1]) / 256
    for image, result, share in zip(images, out, amount * (chance < 0.2)):
        blurred = cv2.filter2D(
            image.astype(np.float64), -1, line, borderType=cv2.BORDER_REFLECT_101
        )
        np.testing.assert_allclose(result, image + share * (blurred - image), atol=1e-3)
    none = _blur(tf.constant(images), (tf.constant(chance + 0.2), tf.constant(amount))).numpy()
    np.testing.assert_array_equal(none, images)

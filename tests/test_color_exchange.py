"""Colours that training images get from each other, against scikit-image's LAB in float64."""

import numpy as np
import pytest
import tensorflow as tf

from polypseg.data.augment import DRAWS, random_draws
from polypseg.data.color_exchange import STEP, ColorExchange
from polypseg.data.loading import Arrays
from polypseg.data.pipeline import training_batches

rgb2lab = pytest.importorskip("skimage.color").rgb2lab


def pictures(rng, count, side=6):
    """Pale pictures of STEP x STEP blocks, so that every fourth pixel stands for all."""
    tint = rng.uniform(100, 160, (count, 1, 1, 3)) + rng.uniform(-25, 25, (count, side, side, 3))
    return tint.round().astype(np.uint8).repeat(STEP, axis=1).repeat(STEP, axis=2)


def statistics(image):
    """Mean and standard deviation of L, a and b, `(2, 3)` float64."""
    lab = rgb2lab(image.astype(np.float64) / 255).reshape(-1, 3)
    return np.array([lab.mean(axis=0), lab.std(axis=0)])


def arrays_of(images, rows=None):
    return Arrays(images, (images[..., :1] > 130).astype(np.uint8), rows)


def test_an_image_gets_the_mean_and_the_deviation_of_its_partner():
    images = pictures(np.random.default_rng(0), 5)
    rows = np.array([4, 0, 3])  # the others are no training images
    exchange = ColorExchange(arrays_of(images, rows), share=0.5)
    batch, indices = images[rows[[1, 2, 0, 1]]].copy(), np.array([1, 2, 0, 1])
    draws = np.float32([[0.0, 0.99], [0.49, 0.1], [0.5, 0.5], [0.2, 0.4]])
    got = exchange(batch, indices, draws)
    assert got.dtype == np.uint8
    for image, before, (chance, other) in zip(got, batch, draws):
        if chance >= 0.5:
            np.testing.assert_array_equal(image, before)
            continue
        own, wanted = statistics(before), statistics(images[rows[int(other * 3)]])
        np.testing.assert_allclose(statistics(image), wanted, atol=0.3)  # rounded to 256 levels
        lab = rgb2lab(before.astype(np.float64) / 255)
        np.testing.assert_allclose(
            rgb2lab(image / 255.0), (lab - own[0]) / own[1] * wanted[1] + wanted[0], atol=0.8
        )


def test_colours_outside_of_rgb_are_clipped_and_grey_images_are_not_amplified():
    rng = np.random.default_rng(1)
    vivid = rng.integers(0, 2, (3, 24, 24, 3), np.uint8) * 255
    vivid[1] = rng.integers(90, 110, (24, 24, 1))
    vivid[2] = 255
    exchange = ColorExchange(arrays_of(vivid), share=1.0)
    draws = np.float32([[0, 0.9], [0, 0.0], [0, 0.4]])
    got = exchange(vivid, np.arange(3), draws)
    # White's mean with white's deviation of 0: all pixels are white. 8-bit LAB would wrap.
    assert got[0].min() >= 254
    # Grey with a deviation of 0 in a and b gets the mean of the vivid image: one tint throughout.
    lab = rgb2lab(got[1] / 255.0)[(got[1].min(axis=-1) > 0) & (got[1].max(axis=-1) < 255)]
    assert lab[:, 1:].std(axis=0).max() < 1.5
    assert got[2].std(axis=(0, 1)).max() == 0


def test_old_draws_keep_their_values():
    """Runs of earlier versions drew 15 numbers for an image; resumed, they draw the same ones."""
    for seed, epoch, index in ((0, 0, 0), (12, 7, 1449), (2**32 - 1, 99, 2**20)):
        earlier = tf.random.stateless_uniform([15], [seed, epoch * 2**32 + index])
        now = random_draws(seed, epoch, index)
        assert now.shape == (DRAWS,) and DRAWS > 15
        np.testing.assert_array_equal(now[:15], earlier)


@pytest.mark.parametrize("augmentation", ["none", "full"])
def test_batches_depend_on_seed_epoch_and_index(augmentation):
    images = pictures(np.random.default_rng(2), 30)

    def batches(share, **options):
        settings = {"input_size": 24, "batch_size": 5, "seed": 3, "epochs": 4} | options
        found = training_batches(
            arrays_of(images), augmentation=augmentation, color_exchange=share, **settings
        )
        return [(x.numpy(), y.numpy()) for x, y in found]

    plain, some, again = batches(0), batches(0.3), batches(0.3)
    changed = []
    for (x, y), (x2, y2), (x3, _) in zip(plain, some, again, strict=True):
        np.testing.assert_array_equal(y, y2)
        np.testing.assert_array_equal(x2, x3)
        changed += [bool((a != b).any()) for a, b in zip(x, x2)]
    # 120 draws of probability 0.3: 36 on average, standard deviation 5 (one in 30 gets its own).
    assert 20 <= sum(changed) <= 52
    np.testing.assert_array_equal(batches(0.3, first_epoch=3)[0][0], some[18][0])

"""Crops of training images: where they lie, and how they go through augmentation."""

import cv2
import numpy as np
import pytest
import tensorflow as tf

from polypseg.data.augment import DRAWS, augment
from polypseg.data.augment_slices import augment_slices
from polypseg.data.crops import Crops
from polypseg.data.loading import Arrays
from polypseg.data.pipeline import training_batches


def test_crops_lie_in_the_image_and_those_around_foreground_have_its_pixel_in_the_middle():
    rng = np.random.default_rng(0)
    masks = (rng.random((400, 30, 50, 1)) < 0.003).astype(np.uint8)
    masks[::7] = 2  # pixels that are ignored are no foreground
    draws = rng.random((400, 5)).astype(np.float32)
    side, x, y = Crops(0.6, share=0.7, foreground=0.4).views(masks, draws).T
    cropped, around = draws[:, 0] < 0.7, draws[:, 1] < 0.4
    np.testing.assert_array_equal(side, np.where(cropped, np.float32(0.6), 1))
    np.testing.assert_array_equal(np.stack([x, y])[:, ~cropped], 0.5)
    for centre in (x, y):
        assert np.all(np.abs(centre - 0.5) <= (1 - side) / 2 + 1e-6)
    anywhere = cropped & ~(around & (masks == 1).any(axis=(1, 2, 3)))
    np.testing.assert_allclose(x[anywhere], 0.3 + 0.4 * draws[anywhere, 3], atol=1e-6)
    np.testing.assert_allclose(y[anywhere], 0.3 + 0.4 * draws[anywhere, 4], atol=1e-6)
    for index in np.flatnonzero(cropped & ~anywhere):
        rows, columns = np.nonzero(masks[index, :, :, 0] == 1)
        # A centre at the end of its range has been moved there, away from the pixel.
        near = [
            (np.abs(at - centre) <= 0.1 + 1e-6) | (np.abs(abs(centre - 0.5) - 0.2) < 1e-6)
            for at, centre in (((columns + 0.5) / 50, x[index]), ((rows + 0.5) / 30, y[index]))
        ]
        assert (near[0] & near[1]).any()


@pytest.mark.parametrize("augmentation", [augment, augment_slices])
def test_a_crop_is_enlarged_in_one_step(augmentation):
    rng = np.random.default_rng(1)
    image = cv2.resize(rng.integers(0, 256, (8, 8, 3), np.uint8), (80, 80))[None]
    mask = (image[..., :1] > 110).astype(np.uint8)
    neutral = np.full((1, DRAWS), 0.5, "float32")
    if augmentation is augment:
        neutral[:, :3] = 0.0  # no flips, no quarter turn
        neutral[:, 4] = np.log(1 / 0.8) / np.log(1.5 / 0.8)  # zoom 1
    else:
        neutral[:, 1] = np.log(1 / 0.7) / np.log(1.3 / 0.7)
    views = tf.constant([[0.5, 0.35, 0.6]])  # columns 8 to 48, rows 28 to 68
    got, got_mask = augmentation(image, mask, neutral, 60, views)
    expected = cv2.resize(image[0, 28:68, 8:48], (60, 60), interpolation=cv2.INTER_LINEAR)
    inside = slice(2, -2)  # at the border the crop shows what lies beside it
    np.testing.assert_allclose(got[0, inside, inside], expected[inside, inside], atol=4)
    shown = cv2.resize(mask[0, 28:68, 8:48] * 255, (60, 60)) > 127
    assert (got_mask[0, :, :, 0].numpy() == shown)[inside, inside].mean() > 0.98


def test_batches_have_empty_crops_and_crops_with_foreground():
    y, x = np.mgrid[:40, :40]
    disc = ((y - 9) ** 2 + (x - 30) ** 2 < 5**2)[None, :, :, None].repeat(200, axis=0)
    arrays = Arrays(disc.repeat(3, axis=3).astype(np.uint8) * 200, disc.astype(np.uint8))

    def filled(crops):
        ((_, masks),) = training_batches(arrays, 32, 200, seed=1, epochs=1, crops=crops)
        return float((masks.numpy() == 1).any(axis=(1, 2, 3)).mean())

    assert filled(None) > 0.99
    assert filled(Crops(0.5, share=1.0, foreground=1.0)) > 0.97
    assert 0.2 < filled(Crops(0.5, share=1.0, foreground=0.0)) < 0.7

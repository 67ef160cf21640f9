"""Augmentation of slices of volumes, whose three channels are neighbouring slices and not colours.

All channels get the same geometry, the same change of grey levels and the same noise. Nothing is
mirrored or turned by 90 degrees: a patient's left and right differ, and a scanner knows them.
"""

import math
from collections.abc import Sequence

import cv2
import numpy as np
import tensorflow as tf

from .augment import between, matrices, warp

DEGREES = 15.0  # largest rotation
ZOOM = 0.7, 1.3
SHIFT = 0.1  # largest, in widths and heights of the image
GAMMA = 1.25  # largest; the smallest is its inverse
CONTRAST = 0.25  # largest change, as a factor about mid-grey
BRIGHTNESS = 25.0  # largest change, in grey levels of 255
NOISE = 12.0  # largest standard deviation, in grey levels; half of the slices get no noise


def augment_slices(
    images: tf.Tensor,
    masks: tf.Tensor,
    draws: tf.Tensor,
    size: int,
    views: tf.Tensor | None = None,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Rotate, scale, shift and shade a batch of slices, and add noise.

    What comes from outside the image is black, and background in the mask. A scanner fills what it
    did not see with the value of air; mirrored, a patient would have two spines.

    Args:
        images: `(B, H, W, 3)` uint8.
        masks: `(B, H, W, 1)` uint8 in {0, 1}, and `IGNORED` where pixels do not count.
        draws: `(B, DRAWS)` from `random_draws`.
        size: height and width of the result.
        views: the parts of the slices that are used, from `Crops.views`; by default all.

    Returns:
        images `(B, size, size, 3)` float32 in 0..255, masks `(B, size, size, 1)` float32 with the
        same levels.
    """
    count, height, width, channels = images.shape
    affine = _affine(tf.unstack(draws, axis=1)[:4], height, width, size, views)
    images, masks = tf.numpy_function(
        _move_and_shade,
        [images, masks, affine, draws[:, 4:9], size],
        (tf.float32, tf.uint8),
        stateful=False,
    )
    images = tf.ensure_shape(images, [count, size, size, channels])
    return images, tf.cast(tf.ensure_shape(masks, [count, size, size, 1]), tf.float32)


def mirror(images: tf.Tensor, masks: tf.Tensor, draws: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Mirror left-right, up-down, both or not at all, equally likely.

    Args:
        images: `(B, H, W, 3)` uint8.
        masks: `(B, H, W, 1)` uint8.
        draws: `(B, DRAWS)` from `random_draws`.

    Returns:
        images `(B, H, W, 3)` float32 in 0..255, masks `(B, H, W, 1)` float32.
    """
    both = tf.concat([tf.cast(images, tf.float32), tf.cast(masks, tf.float32)], axis=-1)
    flip_x, flip_y = (draws[:, index, None, None, None] < 0.5 for index in range(2))
    both = tf.where(flip_x, both, tf.reverse(both, [2]))
    both = tf.where(flip_y, both, tf.reverse(both, [1]))
    return both[..., :3], both[..., 3:]


def _affine(
    draws: Sequence[tf.Tensor], height: int, width: int, size: int, views: tf.Tensor | None
) -> tf.Tensor:
    """Matrices `(B, 2, 3)` from output pixel to input pixel."""
    angle, zoom, shift_x, shift_y = draws
    angle = between(angle, -1.0, 1.0) * math.radians(DEGREES)
    zoom = tf.exp(between(zoom, *map(math.log, ZOOM)))
    cos, sin = tf.cos(angle) / zoom, tf.sin(angle) / zoom
    shift = between(shift_x, -SHIFT, SHIFT), between(shift_y, -SHIFT, SHIFT)
    return matrices((cos, -sin, sin, cos), shift, height, width, size, views)


def _move_and_shade(
    images: np.ndarray, masks: np.ndarray, affine: np.ndarray, draws: np.ndarray, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Apply `affine`, a table of grey levels and noise to each slice; images become float32."""
    moved, masks = warp(images, masks, affine, size, cv2.BORDER_CONSTANT)
    shaded = np.empty(moved.shape, np.float32)
    for index, (gamma, contrast, brightness, noise, seed) in enumerate(draws.astype(np.float64)):
        cv2.LUT(moved[index], grey_table(gamma, contrast, brightness), dst=shaded[index])
        deviation = NOISE * (2.0 * noise - 1.0)
        if deviation > 0:
            random = np.random.Generator(np.random.SFC64(int(seed * 2**24)))
            field = random.standard_normal(moved.shape[1:3], np.float32) * np.float32(deviation)
            noisy = cv2.add(shaded[index], cv2.merge([field] * moved.shape[3]))
            np.clip(noisy, 0.0, 255.0, out=shaded[index])
    return shaded, masks


def grey_table(gamma: float, contrast: float, brightness: float) -> np.ndarray:
    """The new value of each grey level: gamma, then contrast about mid-grey, then brightness.

    Contrast and brightness do to a slice what another width and another centre of the window do.

    Args:
        gamma, contrast, brightness: draws from [0, 1); 0.5 changes nothing.

    Returns:
        `(256,)` float32 in 0..255.
    """
    level = 255.0 * (np.arange(256) / 255.0) ** (GAMMA ** (2.0 * gamma - 1.0))
    level = 127.5 + (1.0 + CONTRAST * (2.0 * contrast - 1.0)) * (level - 127.5)
    level += BRIGHTNESS * (2.0 * brightness - 1.0)
    return level.clip(0.0, 255.0).astype(np.float32)

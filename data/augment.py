"""Augmentation of batches in tf.data. An image and its mask get the same flips and movements.

The augmentation of an image depends only on seed, epoch and index. So a run can be repeated and
resumed with any number of threads.
"""

import math
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import tensorflow as tf

from polypseg.layers.types import IGNORED

DRAWS = 22  # random numbers for one image; the first ones do not depend on how many there are
COLOR_DRAWS = slice(15, 17)  # for the exchange of colours
CROP_DRAWS = slice(17, 22)


def random_draws(
    seed: int | tf.Tensor, epoch: int | tf.Tensor, index: int | tf.Tensor
) -> tf.Tensor:
    """Random numbers for one image, which depend only on the arguments.

    Returns:
        `(DRAWS,)` float32 in [0, 1).
    """
    seed, epoch, index = (tf.cast(value, tf.int64) for value in (seed, epoch, index))
    return tf.random.stateless_uniform([DRAWS], seed=tf.stack([seed, epoch * 2**32 + index]))


def augment(
    images: tf.Tensor,
    masks: tf.Tensor,
    draws: tf.Tensor,
    size: int,
    views: tf.Tensor | None = None,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Flip, rotate, scale, crop and colour a batch.

    Args:
        images: `(B, H, W, 3)` uint8.
        masks: `(B, H, W, 1)` uint8 in {0, 1}, and `IGNORED` where pixels do not count.
        draws: `(B, DRAWS)` from `random_draws`.
        size: height and width of the result.
        views: the parts of the images that are used, from `Crops.views`; by default all.

    Returns:
        images `(B, size, size, 3)` float32 in 0..255, masks `(B, size, size, 1)` float32 with the
        same levels.
    """
    height, width, channels = images.shape[1:]
    draws = tf.unstack(draws, axis=1)
    affine = _affine(draws[:8], height, width, size, views)
    # With OpenCV, because TensorFlow's ImageProjectiveTransformV3 takes seven times as long.
    moved, masks = tf.numpy_function(
        warp, [images, masks, affine, size], (tf.uint8, tf.uint8), stateful=False
    )
    moved = tf.ensure_shape(moved, [images.shape[0], size, size, channels])
    masks = tf.ensure_shape(masks, [images.shape[0], size, size, 1])
    moved = _blur(_colour(tf.cast(moved, tf.float32), draws[8:13]), draws[13:15])
    return moved, tf.cast(masks, tf.float32)


def flip_and_rotate(
    images: tf.Tensor, masks: tf.Tensor, draws: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Flip and rotate by quarter turns: one of a square's eight symmetries, equally likely.

    Args:
        images: `(B, size, size, 3)` uint8.
        masks: `(B, size, size, 1)` uint8.
        draws: `(B, DRAWS)` from `random_draws`.

    Returns:
        images `(B, size, size, 3)` float32 in 0..255, masks `(B, size, size, 1)` float32.
    """
    both = tf.concat([tf.cast(images, tf.float32), tf.cast(masks, tf.float32)], axis=-1)
    flip_x, flip_y, quarter = (draws[:, index, None, None, None] < 0.5 for index in range(3))
    both = tf.where(flip_x, both, tf.reverse(both, [2]))
    both = tf.where(flip_y, both, tf.reverse(both, [1]))
    both = tf.where(quarter, both, tf.transpose(both, [0, 2, 1, 3]))
    return both[..., :3], both[..., 3:]


def between(draw: tf.Tensor, low: float | tf.Tensor, high: float | tf.Tensor) -> tf.Tensor:
    """Scale a draw from [0, 1) to [low, high)."""
    return low + (high - low) * draw


def _affine(
    draws: Sequence[tf.Tensor], height: int, width: int, size: int, views: tf.Tensor | None
) -> tf.Tensor:
    """Matrices `(B, 2, 3)` from output pixel to input pixel.

    They flip, rotate by quarter turns and up to 20 degrees, zoom by 0.8 to 1.5, stretch and shift.
    """
    flip_x, flip_y, quarter, angle, zoom, stretch, shift_x, shift_y = draws
    angle = tf.floor(quarter * 4.0) * (math.pi / 2) + between(angle, -1.0, 1.0) * math.radians(20)
    zoom = tf.exp(between(zoom, math.log(0.8), math.log(1.5)))
    stretch = tf.exp(between(stretch, -0.1, 0.1))
    scale_x = tf.where(flip_x < 0.5, 1.0, -1.0) * stretch / zoom
    scale_y = tf.where(flip_y < 0.5, 1.0, -1.0) / (stretch * zoom)
    room = 0.5 * tf.maximum(1.0 - 1.0 / zoom, 0.1)  # the crop stays (almost) inside the image
    shift_x, shift_y = between(shift_x, -room, room), between(shift_y, -room, room)

    cos, sin = tf.cos(angle), tf.sin(angle)
    linear = cos * scale_x, -sin * scale_y, sin * scale_x, cos * scale_y
    return matrices(linear, (shift_x, shift_y), height, width, size, views)


def matrices(
    linear: Sequence[tf.Tensor],
    shift: Sequence[tf.Tensor],
    height: int,
    width: int,
    size: int,
    views: tf.Tensor | None = None,
) -> tf.Tensor:
    """Affine maps from output to input pixels, from maps of fractions of the image.

    Args:
        linear: a, b, c, d, `(B,)` each: an offset (x, y) from the centre of the output comes from
            (a x + b y, c x + d y) in the input.
        shift: to the right and down, `(B,)` each, added to that.
        height, width: of the input in pixels.
        size: height and width of the output in pixels.
        views: `(B, 3)`, side and centre (x, y) of the part of the input that takes the place of the
            complete one, as fractions of it.

    Returns:
        `(B, 2, 3)`, for `warp`.
    """
    half = 0.5 / size - 0.5  # position of pixel 0
    side, *centre = (1.0, 0.5, 0.5) if views is None else tf.unstack(views, axis=1)
    rows = [
        (
            side * x * length / size,
            side * y * length / size,
            length * (side * (half * (x + y) + moved) + middle) - 0.5,
        )
        for x, y, moved, middle, length in zip(
            linear[::2], linear[1::2], shift, centre, (width, height)
        )
    ]
    return tf.stack([tf.stack(row, axis=1) for row in rows], axis=1)


def warp(
    images: np.ndarray,
    masks: np.ndarray,
    affine: np.ndarray,
    size: int,
    border: int = cv2.BORDER_REFLECT,
) -> tuple[np.ndarray, np.ndarray]:
    """Apply `affine` to uint8 images and masks, bilinearly, by default mirrored at the border.

    Masks are then thresholded at one half.
    """
    moved = np.empty((len(images), size, size, images.shape[3]), np.uint8)
    moved_masks = np.empty((len(images), size, size, 1), np.uint8)
    options: dict[str, Any] = {
        "dsize": (int(size), int(size)),
        "flags": cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        "borderMode": border,
    }
    for index, matrix in enumerate(affine):
        cv2.warpAffine(images[index], matrix, dst=moved[index], **options)
        mask = masks[index]
        foreground = cv2.warpAffine((mask == 1) * np.uint8(255), matrix, **options)
        moved_masks[index, :, :, 0] = foreground > 127
        if mask.max() == IGNORED:
            ignored = cv2.warpAffine((mask == IGNORED) * np.uint8(255), matrix, **options)
            moved_masks[index, (foreground <= 127) & (ignored > 127)] = IGNORED
    return moved, moved_masks


# RGB to luma and two colour differences (YIQ); a hue shift rotates the colour differences.
_TO_YIQ = tf.constant([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
_TO_RGB = tf.linalg.inv(_TO_YIQ)


def _colour(images: tf.Tensor, draws: Sequence[tf.Tensor]) -> tf.Tensor:
    """Brightness and contrast +-25 %, gamma 0.8 to 1.25, saturation +-30 %, hue +-10 degrees."""
    brightness, contrast, gamma, saturation, hue = draws

    gamma = tf.exp(between(gamma, -0.22, 0.22))
    # images**gamma; tf.pow takes six times as long.
    light = tf.exp(gamma[:, None, None, None] * tf.math.log(images))
    # All the other changes are affine in RGB. One matrix and one offset per image apply them in a
    # single pass over the pixels.
    contrast = between(contrast, 0.75, 1.25)
    brightness = between(brightness, 0.75, 1.25) * 255.0 ** (1.0 - gamma)
    hue = between(hue, -1.0, 1.0) * math.radians(10)
    saturation = between(saturation, 0.7, 1.3)
    zero, one = tf.zeros_like(hue), tf.ones_like(hue)
    cos, sin = saturation * tf.cos(hue), saturation * tf.sin(hue)
    matrix = tf.reshape(
        tf.stack([one, zero, zero, zero, cos, -sin, zero, sin, cos], axis=1), [-1, 3, 3]
    )
    matrix = brightness[:, None, None] * tf.transpose(_TO_RGB @ matrix @ _TO_YIQ, [0, 2, 1])
    grey = (1.0 - contrast) * tf.reduce_mean(light, axis=[1, 2, 3])
    offset = grey[:, None, None] * tf.reduce_sum(matrix, axis=1, keepdims=True)
    shape = tf.shape(images)
    images = tf.reshape(light, [shape[0], -1, 3]) @ (contrast[:, None, None] * matrix) + offset
    return tf.clip_by_value(tf.reshape(images, shape), 0.0, 255.0)


def _blur(images: tf.Tensor, draws: Sequence[tf.Tensor]) -> tf.Tensor:
    """Blend every fifth image, on average, with its 5x5 binomial blur."""
    chance, amount = draws
    # Indices (n, 1). n is often 0. MirrorPad and oneDNN's convolution fail for 0 images, so neither
    # is used below.
    chosen = tf.where(chance < 0.2)
    sharp = blurred = tf.gather_nd(images, chosen)
    for _ in range(2):
        size = tf.shape(blurred)[1]
        padded = tf.concat([blurred[:, 2:0:-1], blurred, blurred[:, -2:-4:-1]], axis=1)
        line = tf.add_n(
            [weight / 16 * padded[:, at : at + size] for at, weight in enumerate((1, 4, 6, 4, 1))]
        )
        blurred = tf.transpose(line, [0, 2, 1, 3])
    amount = tf.gather_nd(amount, chosen)[:, None, None, None]
    return tf.tensor_scatter_nd_update(images, chosen, sharp + amount * (blurred - sharp))

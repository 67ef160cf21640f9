"""From files to batches: decode once, keep as uint8, augment in tf.data."""

import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from polypseg.errors import InputError

from .augment import augment, draw, turn
from .images import read_image, read_mask, resize_image, resize_mask

if keras.backend.backend() != "tensorflow":
    tf.config.set_visible_devices([], "GPU")  # tf.data needs none; the backend needs all

# Training pictures are kept larger than the network's input, so that zooming in
# shows detail instead of blur.
MARGIN = 1.25


class Arrays(NamedTuple):
    """Decoded pairs: images `(N, size, size, 3)` and masks `(N, size, size, 1)`, uint8."""

    images: np.ndarray
    masks: np.ndarray


def load(pairs, size, cache_gb=4.0):
    """Decode and resize pairs, in threads.

    Held in memory, or in an unnamed temporary file that the system pages in and out
    when more than `cache_gb` gigabytes would be needed.
    """
    pairs = list(pairs)
    fits = len(pairs) * size * size * 4 <= cache_gb * 1e9
    images, masks = (
        _empty((len(pairs), size, size, channels), in_memory=fits) for channels in (3, 1)
    )

    def read(index):
        images[index] = resize_image(read_image(pairs[index].image), (size, size))
        masks[index, :, :, 0] = resize_mask(read_mask(pairs[index].mask), (size, size))

    with ThreadPoolExecutor() as pool:
        for _ in pool.map(read, range(len(pairs))):
            pass
    return Arrays(images, masks)


def _empty(shape, in_memory):
    if in_memory:
        return np.empty(shape, np.uint8)
    size = max(int(np.prod(shape)), 1)
    try:
        # The file has no name and goes with the process, even one that is killed.
        file = tempfile.TemporaryFile()
        # A full disk is an error here, and a SIGBUS while it is written to.
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
    except OSError as error:
        raise InputError(
            f"expected {size / 1e9:.1f} GB of room for decoded pictures in the temporary folder "
            f"({error.strerror})",
            "cache_gb",
        ) from error
    return np.memmap(file, np.uint8, "w+", shape=shape)


def load_for_training(pairs, input_size, cache_gb=4.0, augmentation="full"):
    """`load`, for full augmentation at the larger size that it crops from."""
    margin = MARGIN if augmentation == "full" else 1
    return load(pairs, round(input_size * margin), cache_gb)


AUGMENTATIONS = {
    "full": augment,
    "flips": lambda images, masks, draws, size: turn(images, masks, draws),
    "none": lambda images, masks, draws, size: (
        tf.cast(images, tf.float32),
        tf.cast(masks, tf.float32),
    ),
}


def scaled_sizes(input_size, rates, stride):
    """The input size times each rate, rounded to a multiple of the network's stride, as PraNet's
    authors round.

    >>> scaled_sizes(352, [0.75, 1, 1.25], 32)
    [256, 352, 448]
    """
    return [round(input_size * rate / stride) * stride for rate in rates]


def training_batches(
    arrays,
    input_size,
    batch_size,
    seed,
    epochs,
    first_epoch=0,
    augmentation="full",
    sizes=None,
    part=(0, 1),
):
    """Shuffled, augmented batches of the given epochs, one after the other.

    Each epoch has `N // batch_size` batches (the left-over pictures change from epoch
    to epoch); order and augmentation follow from (seed, epoch) alone.

    Args:
        sizes: where given, each batch comes once at each of these heights and widths, in this
            order: `len(sizes)` times as many batches.
        part: `(index, count)`, where each of `count` processes takes one part of each batch.

    Returns:
        A `tf.data.Dataset` of float32 images `(batch_size, input_size, input_size, 3)` in
        0..255 and masks `(batch_size, input_size, input_size, 1)` in {0, 1}.
    """
    count = len(arrays.images)

    def one_epoch(epoch):
        order = tf.random.experimental.stateless_shuffle(
            tf.range(count, dtype=tf.int64), seed=[seed, epoch]
        )
        indices = tf.data.Dataset.from_tensor_slices(order)
        drawn = indices.map(lambda index: (index, draw(seed, epoch, index)))
        return drawn.batch(batch_size, drop_remainder=True).map(
            lambda *batch: tf.nest.map_structure(own, batch)
        )

    def own(values):
        return _part(values, batch_size, part)

    def finish(indices, draws):
        return AUGMENTATIONS[augmentation](*_gather(arrays, indices), draws, input_size)

    def at_each_size(images, masks):
        return tf.data.Dataset.from_tensor_slices(sizes).map(
            lambda size: _resize(images, masks, size)
        )

    batches = tf.data.Dataset.range(first_epoch, epochs).flat_map(one_epoch)
    batches = batches.map(finish, num_parallel_calls=tf.data.AUTOTUNE)
    if sizes:
        batches = batches.flat_map(at_each_size)
    return batches.prefetch(2)


def _resize(images, masks, size):
    """Bilinear with align_corners=True, as PraNet's authors resize; the mask is cut at one half, so
    that it stays one.
    """
    images, masks = (
        tf.raw_ops.ResizeBilinear(images=batch, size=[size, size], align_corners=True)
        for batch in (images, masks)
    )
    return images, tf.cast(masks > 0.5, tf.float32)


def evaluation_batches(arrays, batch_size, part=None):
    """Every pair once, in order, as it is; dtypes and shapes as `training_batches`.

    Args:
        part: `(index, count)`, where each batch is divided among devices and, `count` of them,
            processes. The last batch is then filled up, and a third element, float32
            `(batch_size,)`, weighs the pictures so that a mean over the batches is that over all
            pairs.
    """
    count = len(arrays.images)

    def finish(indices):
        images, masks = _gather(arrays, indices)
        return tf.cast(images, tf.float32), tf.cast(masks, tf.float32)

    def weigh(indices):
        indices = _part(indices, batch_size, part)
        weights = tf.where(indices < count, tf.constant(filled / count, tf.float32), 0.0)
        return *finish(indices % count), weights

    if part is None:
        indices = tf.data.Dataset.range(count).batch(batch_size)
        return indices.map(finish, num_parallel_calls=tf.data.AUTOTUNE).prefetch(2)
    filled = -(-count // batch_size) * batch_size
    indices = tf.data.Dataset.range(filled).batch(batch_size, drop_remainder=True)
    return indices.map(weigh, num_parallel_calls=tf.data.AUTOTUNE).prefetch(2)


def _part(values, batch_size, part):
    """Those of a batch that belong to process `index` of `count`."""
    index, count = part
    return values[index * batch_size // count : (index + 1) * batch_size // count]


def _gather(arrays, indices):
    images, masks = tf.numpy_function(
        lambda i: (arrays.images[i], arrays.masks[i]),
        [indices],
        (tf.uint8, tf.uint8),
        stateful=False,
    )
    images.set_shape([indices.shape[0], *arrays.images.shape[1:]])
    masks.set_shape([indices.shape[0], *arrays.masks.shape[1:]])
    return images, masks

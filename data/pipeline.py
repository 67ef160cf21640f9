"""Make batches from decoded pairs and augment them, in tf.data."""

from collections.abc import Callable, Sequence

import keras
import tensorflow as tf

from polypseg.layers.types import IGNORED

from .augment import COLOR_DRAWS, CROP_DRAWS, augment, flip_and_rotate, random_draws
from .augment_slices import augment_slices, mirror
from .color_exchange import ColorExchange
from .crops import Crops
from .loading import Arrays

if keras.backend.backend() != "tensorflow":
    tf.config.set_visible_devices([], "GPU")  # tf.data needs no GPU; the backend needs all memory

Batch = tuple[tf.Tensor, tf.Tensor]
# No function here branches on a tensor, and AutoGraph takes seconds to convert them.
as_written = tf.autograph.experimental.do_not_convert
Augmentation = Callable[..., Batch]  # of images, masks, draws, size, and with "full" views


def _unchanged(images: tf.Tensor, masks: tf.Tensor, draws: tf.Tensor, size: int) -> Batch:
    return tf.cast(images, tf.float32), tf.cast(masks, tf.float32)


AUGMENTATIONS: dict[str, Augmentation] = {
    "full": augment,
    "flips": lambda images, masks, draws, size: flip_and_rotate(images, masks, draws),
    "none": _unchanged,
}
# What the same names mean for slices of volumes.
SLICE_AUGMENTATIONS: dict[str, Augmentation] = {
    "full": augment_slices,
    "flips": lambda images, masks, draws, size: mirror(images, masks, draws),
    "none": _unchanged,
}


def scaled_sizes(input_size: int, rates: Sequence[float], stride: int) -> list[int]:
    """The input size times each rate, rounded to a multiple of the stride, as PraNet's authors do.

    >>> scaled_sizes(352, [0.75, 1, 1.25], 32)
    [256, 352, 448]
    """
    return [round(input_size * rate / stride) * stride for rate in rates]


def training_batches(
    arrays: Arrays,
    input_size: int,
    batch_size: int,
    seed: int,
    epochs: int,
    first_epoch: int = 0,
    augmentation: str = "full",
    sizes: Sequence[int] | None = None,
    part: tuple[int, int] = (0, 1),
    slices: bool = False,
    color_exchange: float = 0.0,
    one_size: bool = False,
    crops: Crops | None = None,
) -> tf.data.Dataset:
    """Shuffled, augmented batches of several epochs, one epoch after the other.

    Each epoch has `N // batch_size` batches. The `N % batch_size` images that are left out differ
    from epoch to epoch. Order and augmentation depend only on seed and epoch.

    Args:
        arrays: N decoded pairs of `training_size`.
        input_size: height and width of the batches.
        batch_size: images per batch, of all processes together.
        seed: seed of order and augmentation.
        epochs: number of epochs of the run; the last epoch is `epochs - 1`.
        first_epoch: the first epoch, counted from 0.
        augmentation: a key of `AUGMENTATIONS`.
        sizes: if given, each batch comes once at each of these heights and widths, in this order.
        part: `(index, count)`: each batch is divided among `count` processes, and this is process
            number `index`.
        slices: the images are slices of volumes, whose channels are no colours:
            `SLICE_AUGMENTATIONS` are used.
        color_exchange: the probability that an image gets the colours of another one, see
            `ColorExchange`, before it is augmented.
        one_size: each batch comes at only one of the `sizes`, which is drawn for it.
        crops: if given, some images are cropped; with augmentation "full" only.

    Returns:
        A `tf.data.Dataset` of float32 images `(batch_size, input_size, input_size, 3)` in
        0..255 and masks `(batch_size, input_size, input_size, 1)` in {0, 1}, and `IGNORED` where
        pixels do not count.

    >>> batches = training_batches(arrays, 352, 16, seed=0, epochs=1)  # doctest: +SKIP
    >>> images, masks = next(iter(batches))  # doctest: +SKIP
    """
    count = arrays.length
    augmented = (SLICE_AUGMENTATIONS if slices else AUGMENTATIONS)[augmentation]
    exchange = ColorExchange(arrays, color_exchange) if color_exchange else None

    @as_written
    def one_epoch(epoch: tf.Tensor) -> tf.data.Dataset:
        order = tf.random.experimental.stateless_shuffle(
            tf.range(count, dtype=tf.int64), seed=[seed, epoch]
        )
        indices = tf.data.Dataset.from_tensor_slices(order)
        drawn = indices.map(as_written(lambda index: (index, random_draws(seed, epoch, index))))
        return drawn.batch(batch_size, drop_remainder=True).map(
            as_written(lambda *batch: tf.nest.map_structure(part_of, batch))
        )

    def part_of(values: tf.Tensor) -> tf.Tensor:
        return _part(values, batch_size, part)

    @as_written
    def finish(indices: tf.Tensor, draws: tf.Tensor) -> Batch:
        images, masks = _gather(arrays, indices)
        if exchange:
            colored = tf.numpy_function(
                exchange, [images, indices, draws[:, COLOR_DRAWS]], tf.uint8, stateful=False
            )
            images = tf.ensure_shape(colored, images.shape)
        if crops is None:
            return augmented(images, masks, draws, input_size)
        views = tf.numpy_function(
            crops.views, [masks, draws[:, CROP_DRAWS]], tf.float32, stateful=False
        )
        return augmented(
            images, masks, draws, input_size, tf.ensure_shape(views, [images.shape[0], 3])
        )

    @as_written
    def at_each_size(images: tf.Tensor, masks: tf.Tensor) -> tf.data.Dataset:
        return tf.data.Dataset.from_tensor_slices(sizes).map(
            as_written(lambda size: _resize(images, masks, size))
        )

    @as_written
    def drawn_sizes(epoch: tf.Tensor) -> tf.data.Dataset:
        # The seed of the random draws of an index that no image has.
        seeds = [seed, epoch * 2**32 + 2**32 - 1]
        which = tf.random.stateless_uniform(
            [count // batch_size], seeds, 0, len(sizes or ()), tf.int32
        )
        return tf.data.Dataset.from_tensor_slices(tf.gather(sizes, which))

    all_epochs = tf.data.Dataset.range(first_epoch, epochs)
    batches = all_epochs.flat_map(one_epoch)
    batches = batches.map(finish, num_parallel_calls=tf.data.AUTOTUNE)
    if sizes and one_size:
        batches = tf.data.Dataset.zip(batches, all_epochs.flat_map(drawn_sizes)).map(
            as_written(lambda batch, size: _resize(batch[0], batch[1], size)),
            num_parallel_calls=tf.data.AUTOTUNE,
        )
    elif sizes:
        batches = batches.flat_map(at_each_size)
    return batches.prefetch(2)


def _resize(images: tf.Tensor, masks: tf.Tensor, size: tf.Tensor) -> Batch:
    """Resize bilinearly with align_corners=True, as PraNet's authors do, and threshold the mask."""
    levels = [tf.cast(masks == level, tf.float32) for level in (1, IGNORED)]
    images, foreground, ignored = (
        tf.raw_ops.ResizeBilinear(images=batch, size=[size, size], align_corners=True)
        for batch in (images, *levels)
    )
    masks = tf.where(foreground > 0.5, 1.0, tf.where(ignored > 0.5, float(IGNORED), 0.0))
    return images, masks


def evaluation_batches(
    arrays: Arrays, batch_size: int, part: tuple[int, int] | None = None
) -> tf.data.Dataset:
    """Batches of all pairs, in order and without augmentation.

    Args:
        arrays: decoded pairs of the network's input size.
        batch_size: images per batch, of all processes together.
        part: `(index, count)`: each batch is divided among `count` processes, and this is process
            number `index`. All batches then have the same size, so that they can be divided among
            devices. For this, the last batch is filled with other images, of weight 0.

    Returns:
        A `tf.data.Dataset` of images and masks like those of `training_batches`. With `part`, a
        third element has the weights of the images, float32 `(batch_size,)`. With these weights,
        the mean over the batches equals the mean over all pairs.
    """
    count = arrays.length

    @as_written
    def finish(indices: tf.Tensor) -> Batch:
        images, masks = _gather(arrays, indices)
        return tf.cast(images, tf.float32), tf.cast(masks, tf.float32)

    if part is None:
        indices = tf.data.Dataset.range(count).batch(batch_size)
        return indices.map(finish, num_parallel_calls=tf.data.AUTOTUNE).prefetch(2)
    filled_count = -(-count // batch_size) * batch_size

    @as_written
    def weigh(indices: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        indices = _part(indices, batch_size, part)
        weights = tf.where(indices < count, tf.constant(filled_count / count, tf.float32), 0.0)
        return *finish(indices % count), weights

    indices = tf.data.Dataset.range(filled_count).batch(batch_size, drop_remainder=True)
    return indices.map(weigh, num_parallel_calls=tf.data.AUTOTUNE).prefetch(2)


def _part(values: tf.Tensor, batch_size: int, part: tuple[int, int]) -> tf.Tensor:
    """The values of a batch that belong to process `index` of `count`."""
    index, count = part
    return values[index * batch_size // count : (index + 1) * batch_size // count]


def _gather(arrays: Arrays, indices: tf.Tensor) -> Batch:
    images, masks = tf.numpy_function(
        arrays.take,
        [indices],
        (tf.uint8, tf.uint8),
        stateful=False,
    )
    images.set_shape([indices.shape[0], *arrays.images.shape[1:]])
    masks.set_shape([indices.shape[0], *arrays.masks.shape[1:]])
    return images, masks

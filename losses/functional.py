"""The losses as pure functions of a mask and logits, in `keras.ops`.

Each loss takes a mask `(B, H, W, 1)` in {0, 1} of any dtype and logits `(B, H, W, S)` of any float
dtype. It returns `(B, S)` float32, one number >= 0 for each image and map. The mask is the target
of all S maps. Inputs are cast to float32 first, because sums over an image overflow float16. A loss
raises ValueError for other shapes.

In the formulas m is the mask, p = sigmoid(logits), w = border_weights(m), and sums and means are
taken over the pixels of one image. A mask may also have the level `IGNORED`: these pixels are in
no sum or mean, and get no gradient. For the border weights of the others, they are background.

>>> mask, logits = keras.ops.ones((8, 32, 32, 1)), keras.ops.zeros((8, 32, 32, 4))
>>> tuple(dice(mask, logits).shape)
(8, 4)
"""

from keras import ops

from polypseg.layers.types import IGNORED, Tensor

WINDOW = 31  # side of the averaging window in `border_weights`, in pixels


def border_weights(mask: Tensor) -> Tensor:
    """Pixel weights 1 + 5 |avgpool31(m) - m|, large near the mask's outline.

    The 31 x 31 average has stride 1 and includes 15 rows and columns of zeros around the image,
    like PyTorch's `avg_pool2d(31, 1, 15)` in the code of Wei et al., "F3Net", AAAI 2020
    (arXiv:1911.11445), and of PraNet. A mask that touches the image's border therefore has large
    weights there too.

    Args:
        mask: `(B, H, W, 1)` in {0, 1}; `IGNORED` pixels are background.

    Returns:
        `(B, H, W, 1)` float32 in [1, 6].

    Raises:
        ValueError: the mask has another shape.
    """
    mask = ops.cast(mask, "float32")
    if len(mask.shape) != 4 or mask.shape[-1] not in (1, None):
        raise ValueError(f"expected mask (B, H, W, 1), got mask={tuple(mask.shape)}")
    mask = ops.where(mask == IGNORED, 0.0, mask)
    rows, columns = ops.shape(mask)[1:3]
    # Two small matrix products sum over the window. The sums are exact, even on a GPU that
    # multiplies in TF32. On a CPU under TensorFlow, this is hundreds of times faster than average
    # pooling.
    total = ops.matmul(ops.matmul(_band(rows), mask[..., 0]), _band(columns))
    return 1.0 + 5.0 * ops.abs(total[..., None] / WINDOW**2 - mask)


def bce(mask: Tensor, logits: Tensor) -> Tensor:
    """Binary cross-entropy, mean over pixels: mean(-m log p - (1 - m) log(1 - p))."""
    return _mean_bce(*_prepare(mask, logits))


def dice(mask: Tensor, logits: Tensor) -> Tensor:
    """Soft Dice: 1 - (2 sum(p m) + 1) / (sum p + sum m + 1)."""
    return _dice(*_prepare(mask, logits))


def iou(mask: Tensor, logits: Tensor) -> Tensor:
    """Soft IoU (Jaccard): 1 - (sum(p m) + 1) / (sum p + sum m - sum(p m) + 1)."""
    return _iou(*_prepare(mask, logits))


def weighted_bce(mask: Tensor, logits: Tensor) -> Tensor:
    """Border-weighted cross-entropy: sum(w bce) / sum(w)."""
    return _mean_bce(*_with_border_weights(*_prepare(mask, logits)))


def weighted_dice(mask: Tensor, logits: Tensor) -> Tensor:
    """Border-weighted Dice: 1 - (2 sum(w p m) + 1) / (sum(w (p + m)) + 1)."""
    return _dice(*_with_border_weights(*_prepare(mask, logits)))


def weighted_iou(mask: Tensor, logits: Tensor) -> Tensor:
    """Border-weighted IoU of F3Net and PraNet.

    1 - (sum(w p m) + 1) / (sum(w (p + m)) - sum(w p m) + 1).
    """
    return _iou(*_with_border_weights(*_prepare(mask, logits)))


def structure(mask: Tensor, logits: Tensor) -> Tensor:
    """weighted_bce + weighted_iou: the loss of the PraNet paper (Fan et al., MICCAI 2020,
    arXiv:2006.11392).
    """
    weighted = _with_border_weights(*_prepare(mask, logits))
    return _mean_bce(*weighted) + _iou(*weighted)


def structure_official(mask: Tensor, logits: Tensor) -> Tensor:
    """bce + weighted_iou: the loss that the published code of PraNet's authors computes.

    Their `structure_loss` passes `reduce='none'` to PyTorch. `reduce` is a flag, and a non-empty
    string is true, so PyTorch returns the mean over all pixels instead of one value per pixel. The
    weighted mean of this constant is the constant: the plain cross-entropy.
    """
    plain = _prepare(mask, logits)
    return _mean_bce(*plain) + _iou(*_with_border_weights(*plain))


def wbce_dice(mask: Tensor, logits: Tensor) -> Tensor:
    """weighted_bce + weighted_dice: the loss of the TensorFlow implementation of PraNet."""
    weighted = _with_border_weights(*_prepare(mask, logits))
    return _mean_bce(*weighted) + _dice(*weighted)


def _prepare(mask: Tensor, logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mask, logits and the pixels' weights as float32; the mask and the weights are 0 where the
    mask is `IGNORED`, and the other weights are 1. Raise ValueError for shapes that losses do not
    take.
    """
    mask, logits = ops.cast(mask, "float32"), ops.cast(logits, "float32")
    shapes = tuple(mask.shape), tuple(logits.shape)
    same = all(None in pair or pair[0] == pair[1] for pair in zip(shapes[0], (*shapes[1][:3], 1)))
    if not same or [len(shape) for shape in shapes] != [4, 4]:
        raise ValueError(
            f"expected mask (B, H, W, 1) and logits (B, H, W, S), got mask={shapes[0]}, "
            f"logits={shapes[1]}"
        )
    weights = ops.cast(mask != IGNORED, "float32")
    return mask * weights, logits, weights


def _with_border_weights(
    mask: Tensor, logits: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    return mask, logits, weights * border_weights(mask)


def _band(size: Tensor) -> Tensor:
    """`(size, size)`: 1 where the window around position i includes position j, else 0."""
    position = ops.arange(size)
    return ops.cast(ops.abs(position[:, None] - position[None]) <= WINDOW // 2, "float32")


def _pixel_bce(mask: Tensor, logits: Tensor) -> Tensor:
    """Cross-entropy per pixel, `(B, H, W, S)`: softplus(x) - x m.

    The usual max(x, 0) - x m + log(1 + exp(-|x|)) has the same value, but automatic differentiation
    gives -m instead of 1/2 - m for its gradient at x = 0.
    """
    return ops.softplus(logits) - logits * mask


def _mean_bce(mask: Tensor, logits: Tensor, weights: Tensor) -> Tensor:
    total = _pixel_sum(weights * _pixel_bce(mask, logits))
    return total / ops.maximum(_pixel_sum(weights), 1.0)  # 0 if all pixels are ignored


def _dice(mask: Tensor, logits: Tensor, weights: Tensor) -> Tensor:
    shared, total = _areas(mask, logits, weights)
    return 1.0 - (2.0 * shared + 1.0) / (total + 1.0)


def _iou(mask: Tensor, logits: Tensor, weights: Tensor) -> Tensor:
    shared, total = _areas(mask, logits, weights)
    return 1.0 - (shared + 1.0) / (total - shared + 1.0)


def _areas(mask: Tensor, logits: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """sum(w p m) and sum(w (p + m)), each `(B, S)`."""
    area = weights * ops.sigmoid(logits)
    return _pixel_sum(area * mask), _pixel_sum(area) + _pixel_sum(weights * mask)


def _pixel_sum(x: Tensor) -> Tensor:
    return ops.sum(x, axis=(1, 2))

"""Dice and IoU as Keras metrics of the last map of the logits, for `fit` and `evaluate`."""

from typing import Any

import keras
from keras import ops

from polypseg.layers.types import IGNORED, Tensor

register = keras.saving.register_keras_serializable(package="polypseg")


EMPTY = ("skip", "one")


class _ImageMean(keras.metrics.Mean):
    """Mean of `score_of_areas` over images. All images have the same weight.

    The state is the sum of the scores and the number of images, two float32 scalars.
    """

    def __init__(self, threshold: float, name: str, empty: str):
        _check_threshold(threshold)
        if empty not in EMPTY:
            raise ValueError(f"expected empty to be skip or one, got empty={empty!r}")
        super().__init__(name=name, dtype="float32")
        self.threshold, self.empty = threshold, empty

    def update_state(
        self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None
    ) -> None:
        shared, found, true = _areas_of_images(y_true, y_pred, self.threshold)
        total = found + true
        # The score is 1 where both are empty. `where` computes both branches everywhere, so the
        # maximum avoids 0/0 there.
        score = ops.where(total > 0, self.score_of_areas(shared, ops.maximum(total, 1.0)), 1.0)
        if self.empty == "skip":
            sample_weight = _times(sample_weight, true > 0)
        super().update_state(score, sample_weight)

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name, "threshold": self.threshold, "empty": self.empty}


@register
class MeanDice(_ImageMean):
    """Mean Dice over images, 2 |P & M| / (|P| + |M|), in [0, 1].

    `y_true` is the mask M `(B, H, W, 1)` in {0, 1} (2 for pixels that are ignored), `y_pred` the
    logits `(B, H, W, S)`. The last of the S maps is scored. P is where its probability is at least
    `threshold`. Callbacks that monitor the metric need `mode="max"`.

    Args:
        threshold: threshold of the probability, in (0, 1).
        name: name in logs.
        empty: the score of an empty mask. With "one" it is 1 if the prediction is empty too, else
            0, as with `overlap(..., empty="one")`. With "skip" the image does not count.

    Raises:
        ValueError: the threshold is outside (0, 1), `empty` is another word, or an update has other
            shapes.

    >>> metric = MeanDice()
    >>> metric.update_state([[[[1]], [[1]], [[0]]]], [[[[2.0]], [[-2.0]], [[-2.0]]]])
    >>> round(float(metric.result()), 4)
    0.6667
    """

    def __init__(self, threshold: float = 0.5, name: str = "dice", empty: str = "one"):
        super().__init__(threshold, name, empty)

    def score_of_areas(self, shared: Tensor, total: Tensor) -> Tensor:
        return 2.0 * shared / total


@register
class MeanIoU(_ImageMean):
    """Mean IoU over images, |P & M| / |P or M|, in [0, 1]; otherwise like `MeanDice`."""

    def __init__(self, threshold: float = 0.5, name: str = "iou", empty: str = "one"):
        super().__init__(threshold, name, empty)

    def score_of_areas(self, shared: Tensor, total: Tensor) -> Tensor:
        return shared / (total - shared)


@register
class FalseAlarms(keras.metrics.Mean):
    """The fraction of images with an empty mask in which the prediction is not empty, in [0, 1].

    Arguments, masks and logits are those of `MeanDice`. The result is 0 if no mask is empty.

    >>> metric = FalseAlarms()
    >>> metric.update_state([[[[0]], [[0]]]], [[[[2.0]], [[-2.0]]]])
    >>> float(metric.result())
    1.0
    """

    def __init__(self, threshold: float = 0.5, name: str = "false_alarms"):
        _check_threshold(threshold)
        super().__init__(name=name, dtype="float32")
        self.threshold = threshold

    def update_state(
        self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None
    ) -> None:
        _, found, true = _areas_of_images(y_true, y_pred, self.threshold)
        super().update_state(found > 0, _times(sample_weight, true == 0))

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name, "threshold": self.threshold}


def _check_threshold(threshold: float) -> None:
    if not 0 < threshold < 1:
        raise ValueError(f"expected threshold between 0 and 1, got threshold={threshold}")


def _times(sample_weight: Tensor | None, counts: Tensor) -> Tensor:
    """The weights of the images that count, and 0 for the others, each `(B,)`."""
    counts = ops.cast(counts, "float32")
    return counts if sample_weight is None else counts * ops.cast(sample_weight, "float32")


def _areas_of_images(mask: Tensor, logits: Tensor, threshold: float) -> tuple[Tensor, ...]:
    """|P & M|, |P| and |M| in pixels, each `(B,)` float32 (exact up to 2**24)."""
    mask, logits = ops.cast(mask, "float32"), ops.cast(logits, "float32")
    if len(mask.shape) != 4 or len(logits.shape) != 4 or mask.shape[-1] not in (1, None):
        raise ValueError(
            "expected mask (B, H, W, 1) and logits (B, H, W, S), "
            f"got mask={tuple(mask.shape)}, logits={tuple(logits.shape)}"
        )
    mask = mask[..., 0]
    counts = ops.cast(mask != IGNORED, "float32")
    mask, found = (
        mask * counts,
        counts * ops.cast(ops.sigmoid(logits[..., -1]) >= threshold, "float32"),
    )
    return tuple(ops.sum(area, axis=(1, 2)) for area in (found * mask, found, mask))

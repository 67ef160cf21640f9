"""Dice and IoU as Keras metrics of the last map of the logits, for `fit` and `evaluate`."""

from typing import Any

import keras
from keras import ops

from polypseg.layers.types import Tensor

register = keras.saving.register_keras_serializable(package="polypseg")


class _ImageMean(keras.metrics.Mean):
    """Mean of `score_of_areas` over images, of which each has the same weight.

    The state is the sum of the scores and the number of images, two float32 scalars.
    """

    def __init__(self, threshold: float, name: str):
        if not 0 < threshold < 1:
            raise ValueError(f"expected threshold between 0 and 1, got threshold={threshold}")
        super().__init__(name=name, dtype="float32")
        self.threshold = threshold

    def update_state(
        self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None
    ) -> None:
        shared, total = _areas_of_images(y_true, y_pred, self.threshold)
        # 1 where both are empty. `where` computes both branches; the maximum avoids 0/0 in one.
        score = ops.where(total > 0, self.score_of_areas(shared, ops.maximum(total, 1.0)), 1.0)
        super().update_state(score, sample_weight)

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name, "threshold": self.threshold}


@register
class MeanDice(_ImageMean):
    """Mean Dice over images, 2 |P & M| / (|P| + |M|), in [0, 1].

    `y_true` is the mask M `(B, H, W, 1)` in {0, 1}, `y_pred` the logits `(B, H, W, S)`. The last of
    the S maps is scored. P is where its probability is at least `threshold`. An image scores 1 if
    mask and prediction are both empty, as with `overlap(..., empty="one")`. Callbacks that monitor
    the metric need `mode="max"`.

    Args:
        threshold: of the probability, in (0, 1).
        name: shown in logs.

    Raises:
        ValueError: a threshold outside (0, 1); when it is updated, other shapes.

    >>> metric = MeanDice()
    >>> metric.update_state([[[[1]], [[1]], [[0]]]], [[[[2.0]], [[-2.0]], [[-2.0]]]])
    >>> round(float(metric.result()), 4)
    0.6667
    """

    def __init__(self, threshold: float = 0.5, name: str = "dice"):
        super().__init__(threshold, name)

    def score_of_areas(self, shared: Tensor, total: Tensor) -> Tensor:
        return 2.0 * shared / total


@register
class MeanIoU(_ImageMean):
    """Mean IoU over images, |P & M| / |P or M|, in [0, 1]; otherwise like `MeanDice`."""

    def __init__(self, threshold: float = 0.5, name: str = "iou"):
        super().__init__(threshold, name)

    def score_of_areas(self, shared: Tensor, total: Tensor) -> Tensor:
        return shared / (total - shared)


def _areas_of_images(mask: Tensor, logits: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    """|P & M| and |P| + |M| in pixels, each `(B,)` float32 (exact up to 2**24)."""
    mask, logits = ops.cast(mask, "float32"), ops.cast(logits, "float32")
    if len(mask.shape) != 4 or len(logits.shape) != 4 or mask.shape[-1] not in (1, None):
        raise ValueError(
            "expected mask (B, H, W, 1) and logits (B, H, W, S), "
            f"got mask={tuple(mask.shape)}, logits={tuple(logits.shape)}"
        )
    mask = mask[..., 0]
    found = ops.cast(ops.sigmoid(logits[..., -1]) >= threshold, "float32")
    return ops.sum(found * mask, axis=(1, 2)), ops.sum(found, axis=(1, 2)) + ops.sum(
        mask, axis=(1, 2)
    )

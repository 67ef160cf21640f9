"""Dice and IoU while a network trains: Keras metrics over the logits' last map."""

from typing import Any

import keras
from keras import ops

from polypseg.layers.types import Tensor

register = keras.saving.register_keras_serializable(package="polypseg")


class _ImageMean(keras.metrics.Mean):
    """Mean over images, each with equal weight, of `score_of_areas` at `threshold`.

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
        # Both empty: agreement, so 1. The maximum keeps 0/0 out of the unused branch.
        score = ops.where(total > 0, self.score_of_areas(shared, ops.maximum(total, 1.0)), 1.0)
        super().update_state(score, sample_weight)

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name, "threshold": self.threshold}


@register
class MeanDice(_ImageMean):
    """Dice of the answer, 2 |P & M| / (|P| + |M|), per image, then the mean over images.

    `y_true` is the mask `(B, H, W, 1)` in {0, 1}, `y_pred` the logits `(B, H, W, S)`,
    of which the last map counts. P is where its probability is at least `threshold`. An image with
    neither mask nor prediction scores 1, as in `overlap(..., empty="one")`.

    Raises ValueError for a threshold outside (0, 1) and for other shapes.
    Monitor it with `mode="max"`.
    """

    def __init__(self, threshold: float = 0.5, name: str = "dice"):
        super().__init__(threshold, name)

    def score_of_areas(self, shared: Tensor, total: Tensor) -> Tensor:
        return 2.0 * shared / total


@register
class MeanIoU(_ImageMean):
    """IoU of the answer, |P & M| / |P | M|, per image, then the mean; else as `MeanDice`."""

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

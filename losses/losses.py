"""The Keras loss: one of the functions by name, added up over the maps."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import keras
from keras import ops

from polypseg.layers.types import Tensor

from . import functional

LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "structure": functional.structure,
    "structure_official": functional.structure_official,
    "wbce_dice": functional.wbce_dice,
    "dice": functional.dice,
    "iou": functional.iou,
    "bce": functional.bce,
    "weighted_bce": functional.weighted_bce,
    "weighted_dice": functional.weighted_dice,
    "weighted_iou": functional.weighted_iou,
}


@keras.saving.register_keras_serializable(package="polypseg")
class SegmentationLoss(keras.losses.Loss):
    """Deep supervision: a loss of `LOSSES` for each map of the logits, added up.

    `y_true` is the mask `(B, H, W, 1)` in {0, 1}, `y_pred` the logits `(B, H, W, S)`;
    the loss per image is sum_s map_weights[s] * f(mask, logits)[:, s]. Computed in
    float32 whatever the precision policy.

    Args:
        loss: a name in `LOSSES`.
        map_weights: S finite numbers >= 0, not all 0, coarse to fine like the maps;
            None means that each map counts 1.
        reduction: as in `keras.losses.Loss`; the default is the mean over images.
        name: shown in logs; the loss's name by default.

    Raises:
        ValueError: an unknown loss, bad weights, or a number of weights other than S.

    Example: `model.compile("adam", loss=SegmentationLoss("structure"))`
    """

    def __init__(
        self,
        loss: str = "structure",
        map_weights: Iterable[float] | None = None,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
    ):
        if loss not in LOSSES:
            raise ValueError(f"expected loss to be one of {', '.join(LOSSES)}, got loss={loss!r}")
        super().__init__(name=name or loss, reduction=reduction, dtype="float32")
        self.loss = loss
        self.map_weights = None if map_weights is None else _checked_weights(map_weights)

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        losses = LOSSES[self.loss](y_true, y_pred)
        if self.map_weights is not None:
            if len(self.map_weights) != y_pred.shape[-1]:
                raise ValueError(
                    f"expected one map weight for each of the {y_pred.shape[-1]} maps, "
                    f"got map_weights={self.map_weights} ({len(self.map_weights)})"
                )
            losses = losses * ops.convert_to_tensor(self.map_weights, "float32")
        return ops.sum(losses, axis=-1)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"loss": self.loss, "map_weights": self.map_weights}


def _checked_weights(map_weights: Iterable[float]) -> list[float]:
    weights = [float(weight) for weight in map_weights]
    if not any(weights) or not all(0 <= weight < math.inf for weight in weights):
        raise ValueError(
            "expected map_weights to be finite numbers >= 0, not all 0, got "
            f"map_weights={map_weights}"
        )
    return weights

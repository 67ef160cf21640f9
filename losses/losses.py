"""The Keras loss: one of the functions in `functional.py`, chosen by name, summed over the maps."""

import math
from collections.abc import Callable, Iterable
from itertools import combinations
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
# The numbers of maps of which sums are supervised too, by the number of maps. One map has no sums.
MAP_SUMS: dict[str, Callable[[int], set[int]]] = {
    "none": lambda maps: set(),
    "all": lambda maps: {maps} if maps > 1 else set(),
    "pairs": lambda maps: {2, maps} if maps > 1 else set(),
}


@keras.saving.register_keras_serializable(package="polypseg")
class SegmentationLoss(keras.losses.Loss):
    """Deep supervision: one loss of `LOSSES`, summed over the maps.

    `y_true` is the mask `(B, H, W, 1)` in {0, 1} (2 for pixels that are ignored), `y_pred` the
    logits `(B, H, W, S)`. The loss of an image is the sum of map_weights[s] *
    loss(mask, logits)[:, s] over s. It is computed in float32 under every precision policy.

    With `map_sums="all"` the sum of all logit maps is supervised too, as one more map of weight 1;
    with `"pairs"` also the sum of each pair of maps. Rahman et al., "EMCAD", CVPR 2024
    (arXiv:2405.06880), add the sum of all four maps for polyps; their MERIT (arXiv:2303.16892)
    supervises sums of all subsets.

    Args:
        loss: a name in `LOSSES`.
        map_weights: S finite numbers >= 0, not all 0, in the order of the maps, coarse to fine.
            None means 1 for each map.
        map_sums: a name in `MAP_SUMS`.
        reduction: as in `keras.losses.Loss`; by default the mean over images.
        name: name in logs; by default the name of the loss.

    Raises:
        ValueError: the loss or `map_sums` is unknown; weights are negative, not finite or all 0;
            or, in a call, the number of weights is not S, or the shapes do not fit.

    >>> loss = SegmentationLoss("dice", map_weights=[1, 2])
    >>> mask, logits = keras.ops.ones((1, 2, 2, 1)), keras.ops.zeros((1, 2, 2, 2))
    >>> round(float(loss(mask, logits)), 4)  # 3 * (1 - (2 * 2 + 1) / (2 + 4 + 1))
    0.8571
    """

    def __init__(
        self,
        loss: str = "structure",
        map_weights: Iterable[float] | None = None,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        map_sums: str = "none",
    ):
        if loss not in LOSSES:
            raise ValueError(f"expected loss to be one of {', '.join(LOSSES)}, got loss={loss!r}")
        if map_sums not in MAP_SUMS:
            raise ValueError(
                f"expected map_sums to be one of {', '.join(MAP_SUMS)}, got map_sums={map_sums!r}"
            )
        super().__init__(name=name or loss, reduction=reduction, dtype="float32")
        self.loss, self.map_sums = loss, map_sums
        self.map_weights = None if map_weights is None else _checked_weights(map_weights)

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """The loss of each image, `(B,)` float32."""
        logits = self._with_sums(y_pred)
        losses = LOSSES[self.loss](y_true, logits)
        if self.map_weights is not None:
            maps = y_pred.shape[-1]
            if len(self.map_weights) != maps:
                raise ValueError(
                    f"expected one map weight for each of the {maps} maps, "
                    f"got map_weights={self.map_weights} ({len(self.map_weights)})"
                )
            weights = self.map_weights + [1.0] * (logits.shape[-1] - maps)
            losses = losses * ops.convert_to_tensor(weights, "float32")
        return ops.sum(losses, axis=-1)

    def _with_sums(self, logits: Tensor) -> Tensor:
        """The logits, and behind them the sums of maps."""
        if self.map_sums == "none":
            return logits
        logits = ops.cast(logits, "float32")
        maps = ops.unstack(logits, axis=-1)
        sums = [
            sum(part)
            for size in MAP_SUMS[self.map_sums](len(maps))
            for part in combinations(maps, size)
        ]
        return ops.concatenate([logits, *(part[..., None] for part in sums)], axis=-1)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "loss": self.loss,
            "map_weights": self.map_weights,
            "map_sums": self.map_sums,
        }


def _checked_weights(map_weights: Iterable[float]) -> list[float]:
    weights = [float(weight) for weight in map_weights]
    if not any(weights) or not all(0 <= weight < math.inf for weight in weights):
        raise ValueError(
            "expected map_weights to be finite numbers >= 0, not all 0, got "
            f"map_weights={map_weights}"
        )
    return weights

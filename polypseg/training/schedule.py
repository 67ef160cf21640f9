"""The learning rate of a run, by schedules of Keras."""

import math
from typing import Any

import keras
from keras import ops
from keras.optimizers.schedules import (
    CosineDecay,
    ExponentialDecay,
    LearningRateSchedule,
    PolynomialDecay,
)

from polypseg.experiment.config import TrainConfig

STEP_DECAY = 50  # epochs; PraNet's authors


def learning_rate(config: TrainConfig, steps: int) -> LearningRateSchedule:
    """The learning rate schedule of a run.

    `config.schedule` is one of

    - `"cosine"`: rises linearly to `config.lr` over two epochs or a tenth of the run, whichever is
      shorter, and falls to a hundredth of it at the end of the run;
    - `"poly"`: rises in the same way and falls to 0 as (1 - t)^0.9, where t goes from 0 to 1;
    - `"constant"`: rises in the same way and stays at `config.lr`;
    - `"step"`: starts at `config.lr` and is divided by 10 every 50 epochs.

    Args:
        config: the options `lr`, `schedule` and `epochs` are used.
        steps: number of steps in an epoch.

    >>> config = TrainConfig(lr=1e-3, schedule="step")
    >>> round(float(learning_rate(config, steps=10)(500)), 6)  # in epoch 51
    0.0001
    """
    if config.schedule == "step":
        return ExponentialDecay(config.lr, STEP_DECAY * steps, 0.1, staircase=True)
    total = config.epochs * steps
    warmup = min(2 * steps, total // 10)
    if config.schedule == "poly":
        return WarmupPolynomialDecay(config.lr, total, warmup)
    return CosineDecay(
        config.lr / (warmup + 1),
        total - warmup,
        alpha=0.01 if config.schedule == "cosine" else 1.0,
        warmup_target=config.lr,
        warmup_steps=warmup,
    )


@keras.saving.register_keras_serializable(package="polypseg")
class WarmupPolynomialDecay(LearningRateSchedule):
    """A linear rise, and then `PolynomialDecay` of Keras to 0 with power 0.9.

    Args:
        lr: the highest learning rate.
        steps: number of training steps in the run.
        warmup: number of steps until `lr` is reached; 0 for none.
    """

    def __init__(self, lr: float, steps: int, warmup: int) -> None:
        super().__init__()
        self.lr, self.steps, self.warmup = lr, steps, warmup
        self.falling = PolynomialDecay(lr, steps - warmup, end_learning_rate=0.0, power=0.9)

    def __call__(self, step: Any) -> Any:
        step = ops.cast(step, "float32")
        rising = self.lr * (step + 1.0) / (self.warmup + 1.0)
        return ops.where(step < self.warmup, rising, self.falling(step - self.warmup))

    def get_config(self) -> dict[str, Any]:
        return {"lr": self.lr, "steps": self.steps, "warmup": self.warmup}


@keras.saving.register_keras_serializable(package="polypseg")
class WarmupSchedule(LearningRateSchedule):
    """The schedule of runs of earlier versions, needed to load their `.keras` files.

    Args:
        lr: the highest learning rate.
        steps: number of training steps in the run.
        warmup: number of steps until `lr` is reached; 0 for none.
        kind: `"cosine"`, `"step"` or `"constant"`.
        decay: with `"step"`, the rate is divided by 10 after every so many steps.
    """

    def __init__(
        self, lr: float, steps: int, warmup: int, kind: str = "cosine", decay: int = 1
    ) -> None:
        super().__init__()
        self.lr, self.steps, self.warmup, self.kind, self.decay = lr, steps, warmup, kind, decay

    def __call__(self, step: Any) -> Any:
        step = ops.cast(step, "float32")
        rising = (step + 1.0) / (self.warmup + 1.0)
        done = ops.clip((step - self.warmup) / max(self.steps - self.warmup, 1), 0.0, 1.0)
        if self.kind == "cosine":
            falling = 0.01 + 0.99 * 0.5 * (1.0 + ops.cos(math.pi * done))
        elif self.kind == "step":
            falling = ops.power(0.1, ops.floor(step / self.decay))
        else:
            falling = ops.ones_like(done)
        return self.lr * ops.minimum(rising, falling)

    def get_config(self) -> dict[str, Any]:
        return {
            "lr": self.lr,
            "steps": self.steps,
            "warmup": self.warmup,
            "kind": self.kind,
            "decay": self.decay,
        }

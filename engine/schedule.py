"""The learning rate over a run."""

import math

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="polypseg")
class WarmupSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up, then cosine decay to a hundredth, two steps down by ten, or constant.

    Args:
        lr: the highest learning rate.
        steps: optimiser steps of the whole run.
        warmup: steps until `lr` is reached.
        kind: `"cosine"`, `"step"` (a tenth after 60 %, a hundredth after 85 %) or `"constant"`.
    """

    def __init__(self, lr, steps, warmup, kind="cosine"):
        super().__init__()
        self.lr, self.steps, self.warmup, self.kind = lr, steps, warmup, kind

    def __call__(self, step):
        step = ops.cast(step, "float32")
        rising = (step + 1.0) / (self.warmup + 1.0)
        done = ops.clip((step - self.warmup) / max(self.steps - self.warmup, 1), 0.0, 1.0)
        if self.kind == "cosine":
            falling = 0.01 + 0.99 * 0.5 * (1.0 + ops.cos(math.pi * done))
        elif self.kind == "step":
            falling = ops.where(done < 0.6, 1.0, ops.where(done < 0.85, 0.1, 0.01))
        else:
            falling = ops.ones_like(done)
        return self.lr * ops.minimum(rising, falling)

    def get_config(self):
        return {"lr": self.lr, "steps": self.steps, "warmup": self.warmup, "kind": self.kind}

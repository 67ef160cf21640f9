"""The learning rate over a run."""

import math

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="polypseg")
class WarmupSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up, then cosine decay to a hundredth, a tenth again and again, or constant.

    Args:
        lr: the highest learning rate.
        steps: training steps of the whole run.
        warmup: steps until `lr` is reached; 0 for none.
        kind: `"cosine"`, `"step"` or `"constant"`.
        decay: of `"step"`: after every so many steps the rate falls to a tenth, counted from the
            start.
    """

    def __init__(self, lr, steps, warmup, kind="cosine", decay=1):
        super().__init__()
        self.lr, self.steps, self.warmup, self.kind, self.decay = lr, steps, warmup, kind, decay

    def __call__(self, step):
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

    def get_config(self):
        return {
            "lr": self.lr,
            "steps": self.steps,
            "warmup": self.warmup,
            "kind": self.kind,
            "decay": self.decay,
        }

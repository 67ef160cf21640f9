"""The learning rate over a run, by Keras's schedules."""

import math

import keras
from keras import ops
from keras.optimizers.schedules import CosineDecay, ExponentialDecay, LearningRateSchedule

from polypseg.experiment.config import TrainConfig

STEP_DECAY = 50  # epochs; PraNet's authors


def learning_rate(config: TrainConfig, steps: int) -> LearningRateSchedule:
    """The schedule of a run.

    "step" is a tenth of the rate every 50 epochs. "cosine" falls from `config.lr` to a hundredth of
    it over the run, "constant" stays there; both rise linearly at first, over two epochs or a tenth
    of the run, whichever is shorter.

    Args:
        config: has `lr`, `schedule` and `epochs`.
        steps: of an epoch.
    """
    if config.schedule == "step":
        return ExponentialDecay(config.lr, STEP_DECAY * steps, 0.1, staircase=True)
    total = config.epochs * steps
    warmup = min(2 * steps, total // 10)
    return CosineDecay(
        config.lr / (warmup + 1),
        total - warmup,
        alpha=0.01 if config.schedule == "cosine" else 1.0,
        warmup_target=config.lr,
        warmup_steps=warmup,
    )


@keras.saving.register_keras_serializable(package="polypseg")
class WarmupSchedule(LearningRateSchedule):
    """The schedule in runs of earlier versions, whose `.keras` files name it.

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

"""Batch normalisation that trains with TensorFlow's fused kernel."""

from typing import Any

import keras
from keras import backend

from .types import Tensor


@keras.saving.register_keras_serializable(package="polypseg")
class BatchNorm(keras.layers.BatchNormalization):
    """`keras.layers.BatchNormalization` with TensorFlow's fused kernel in training.

    In training, Keras normalises a batch with several operations. TensorFlow has one kernel for all
    of them, with which a network trains up to 1.5 times as fast on a CPU (docs/performance.md). The
    kernel is used for `(B, H, W, C)` inputs under the TensorFlow backend. Other backends, inference
    and frozen layers use Keras's code. Weights, results and gradients are those of the Keras layer.

    Args:
        momentum: momentum of the moving statistics. 0.9 corresponds to the default of PyTorch,
            which PraNet's authors used. With Keras's 0.99, the statistics need hundreds of steps to
            forget their initial values.
        epsilon: number that is added to the variance.
    """

    def __init__(self, momentum: float = 0.9, epsilon: float = 1e-5, **kwargs: Any):
        super().__init__(momentum=momentum, epsilon=epsilon, **kwargs)

    def add_weight(self, *args: Any, name: str | None = None, **kwargs: Any) -> keras.Variable:
        if name in ("moving_mean", "moving_variance"):
            # Average over the replicas of a `tf.distribute` strategy, so that all of them have, and
            # save, the same statistics.
            kwargs["aggregation"] = "mean"
        return super().add_weight(*args, name=name, **kwargs)

    def call(
        self, inputs: Tensor, training: bool | None = None, mask: Tensor | None = None
    ) -> Tensor:
        plain = (
            backend.backend() != "tensorflow"
            or not training
            or not self.trainable
            or mask is not None
            or self.synchronized
            or len(inputs.shape) != 4
            or self.axis not in (-1, 3)
            or not (self.scale and self.center)
        )
        if plain:
            return super().call(inputs, training=training, mask=mask)
        return self._fused(inputs)

    def _fused(self, inputs: Tensor) -> Tensor:
        import tensorflow as tf

        x = tf.cast(inputs, self.compute_dtype)
        y, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=x,
            scale=tf.cast(self.gamma, "float32"),
            offset=tf.cast(self.beta, "float32"),
            mean=tf.zeros([0]),
            variance=tf.zeros([0]),
            epsilon=self.epsilon,
            is_training=True,
        )
        # The kernel returns the unbiased variance, the Keras layer stores the biased one.
        count = tf.cast(tf.reduce_prod(tf.shape(x)[:3]), "float32")
        variance *= (count - 1.0) / count
        for moving, value in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(moving * self.momentum + value * (1.0 - self.momentum))
        return y

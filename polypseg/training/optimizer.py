"""Adam, with a graph that TensorFlow builds and runs faster, and SGD with PyTorch's weight decay.

This is the only file that uses private names of Keras: `_clip_gradients`, `_apply_weight_decay`,
`_use_weight_decay`, `_get_variable_index`, `_momentums`, `_velocities` and
`_model_variables_moving_average` of its optimizers. Any minor version can change them, so
pyproject.toml has an upper bound.
"""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf
from keras import backend


class _Optimizer(keras.optimizers.Optimizer):
    """What the optimisers below share: clipping on several replicas, and which weights decay."""

    @property
    def averages(self) -> list[Any]:
        """The moving averages of the trainable variables, in the same order, with `use_ema`."""
        return self._model_variables_moving_average

    def build(self, variables: Sequence[Any]) -> None:
        """Create the variables of the optimiser.

        Biases, and the scales and shifts of normalisations, do not decay. Keras saves no such
        choice, so it is made here, also when a saved model is loaded.
        """
        if not self.built:
            self.exclude_from_weight_decay([each for each in variables if len(each.shape) <= 1])
        super().build(variables)

    def _clip_gradients(self, grads: list[Any]) -> list[Any]:
        return grads if _replicas() > 1 and self.clipvalue else super()._clip_gradients(grads)

    def _clipped_sum(self, gradient: Any) -> Any:
        """The gradient, clipped if it is the sum of those of several replicas.

        Keras clips before the gradients of the replicas are added up; the sum is to be clipped.
        """
        if _replicas() > 1 and self.clipvalue:
            return keras.ops.clip(gradient, -self.clipvalue, self.clipvalue)
        return gradient


@keras.saving.register_keras_serializable(package="polypseg")
class Adam(_Optimizer, keras.optimizers.Adam):
    """`keras.optimizers.Adam` with one TensorFlow kernel per variable instead of 20 operations.

    The results are those of Keras; with `weight_decay` they are those of AdamW (Loshchilov and
    Hutter, ICLR 2019, arXiv:1711.05101). PraNet has 356 variables, and the graph of its training
    step is built about twice as fast. Other backends, AMSGrad and half-precision variables use the
    operations of Keras.
    """

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        gradient = self._clipped_sum(gradient)
        if backend.backend() != "tensorflow" or self.amsgrad or variable.dtype != "float32":
            super().update_step(gradient, variable, learning_rate)
            return
        index = self._get_variable_index(variable)
        step = tf.cast(self.iterations + 1, "float32")
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            beta1_power=tf.pow(self.beta_1, step),
            beta2_power=tf.pow(self.beta_2, step),
            lr=tf.cast(learning_rate, "float32"),
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=tf.cast(gradient, "float32"),
        )


@keras.saving.register_keras_serializable(package="polypseg")
class SGD(_Optimizer, keras.optimizers.SGD):
    """`keras.optimizers.SGD` whose `weight_decay` means what it means in PyTorch's SGD.

    The gradient, after clipping, gets `weight_decay` times the weight added, before the momentum.
    Keras would make each weight smaller by `learning_rate` times `weight_decay` of itself, which
    with a momentum of 0.9 is a tenth of that. Published recipes give the number for PyTorch.
    """

    def _apply_weight_decay(self, variables: Sequence[Any]) -> None:
        pass  # update_step does it

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        gradient = self._clipped_sum(gradient)
        if self.weight_decay and self._use_weight_decay(variable):
            gradient = gradient + self.weight_decay * keras.ops.convert_to_tensor(variable)
        super().update_step(gradient, variable, learning_rate)


def _replicas() -> int:
    """Number of replicas of the current `tf.distribute` strategy; 1 without one."""
    if backend.backend() != "tensorflow":
        return 1
    return tf.distribute.get_strategy().num_replicas_in_sync

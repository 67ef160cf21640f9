"""Adam whose graph is built and run faster under TensorFlow.

The only file that uses what Keras keeps to itself: `_clip_gradients`, `_get_variable_index`,
`_momentums`, `_velocities` and `_model_variables_moving_average` of its optimizers. They can change
with any minor version, hence the upper bound in pyproject.toml.
"""

import keras
from keras import backend


@keras.saving.register_keras_serializable(package="polypseg")
class Adam(keras.optimizers.Adam):
    """`keras.optimizers.Adam`, one TensorFlow kernel a variable in place of some twenty operations.

    The numbers are Keras's. PraNet has 356 variables: the graph of its training step is built
    about twice as fast. Other backends, AMSGrad and half-precision variables go to Keras.
    """

    @property
    def averages(self):
        """The moving averages of the trainable variables, with `use_ema`, in their order."""
        return self._model_variables_moving_average

    def _clip_gradients(self, grads):
        return grads if _replicas() > 1 and self.clipvalue else super()._clip_gradients(grads)

    def update_step(self, gradient, variable, learning_rate):
        if _replicas() > 1 and self.clipvalue:  # only now they are added up over the replicas
            gradient = keras.ops.clip(gradient, -self.clipvalue, self.clipvalue)
        if backend.backend() != "tensorflow" or self.amsgrad or variable.dtype != "float32":
            return super().update_step(gradient, variable, learning_rate)
        import tensorflow as tf

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


def _replicas():
    """Of a `tf.distribute` strategy."""
    if backend.backend() != "tensorflow":
        return 1
    import tensorflow as tf

    return tf.distribute.get_strategy().num_replicas_in_sync

"""Validate and keep the exponential moving average of the weights (Polyak averaging)."""

import contextlib

import keras
import numpy as np


@contextlib.contextmanager
def averages(model):
    """The optimiser's averages as the model's trainable weights, inside this context; bit for bit
    as before after it.

    `keras.callbacks.SwapEMAWeights` swaps by adding and subtracting, which rounds. Nothing happens
    where the optimiser keeps no averages.
    """
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)  # inside loss scaling
    pairs = []
    if optimizer.use_ema:
        # Copies: under torch the arrays would be the weights themselves.
        pairs = [
            (weight, np.array(keras.ops.convert_to_numpy(weight)), average)
            for weight, average in zip(model.trainable_variables, optimizer.averages, strict=True)
        ]
    for weight, _, average in pairs:
        weight.assign(keras.ops.convert_to_numpy(average))
    try:
        yield
    finally:
        for weight, own, _ in pairs:
            weight.assign(own)


class ValidateAverages(keras.callbacks.Callback):
    """Each evaluation during `fit` sees the averages."""

    def on_test_begin(self, logs=None):
        self.swapped = contextlib.ExitStack()
        self.swapped.enter_context(averages(self.model))

    def on_test_end(self, logs=None):
        self.swapped.close()

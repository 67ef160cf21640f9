"""Validate and save the exponential moving average of the weights (Polyak averaging)."""

import contextlib
from collections.abc import Iterator, Mapping

import keras
import numpy as np


@contextlib.contextmanager
def averaged_weights(model: keras.Model) -> Iterator[None]:
    """Context in which the trainable weights are the moving averages that the optimiser computes.

    Afterwards they are what they were, bit for bit; `keras.callbacks.SwapEMAWeights` adds and
    subtracts, which rounds. Nothing happens if the optimiser computes no averages.
    """
    # With loss scaling there is another optimiser around ours.
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    saved = []
    if optimizer.use_ema:
        # Copies, because under torch the arrays would be the weights themselves.
        saved = [
            (weight, np.array(keras.ops.convert_to_numpy(weight)), average)
            for weight, average in zip(model.trainable_variables, optimizer.averages, strict=True)
        ]
    for weight, _, average in saved:
        weight.assign(keras.ops.convert_to_numpy(average))
    try:
        yield
    finally:
        for weight, value, _ in saved:
            weight.assign(value)


class ValidateAverages(keras.callbacks.Callback):
    """Validate with the averaged weights in `fit`."""

    def on_test_begin(self, logs: Mapping[str, float] | None = None) -> None:
        self.swapped = contextlib.ExitStack()
        self.swapped.enter_context(averaged_weights(self.model))

    def on_test_end(self, logs: Mapping[str, float] | None = None) -> None:
        self.swapped.close()

"""An asked-for end while a network trains: at the end of a step, never in the middle of a file."""

import keras


class Interrupted(KeyboardInterrupt):
    """The user, or whoever runs the machine, asked for an end; `exit_code` is the shell's for that
    signal.
    """

    def __init__(self, message="", exit_code=130):
        super().__init__(message)
        self.exit_code = exit_code


class StopWhenAsked(keras.callbacks.Callback):
    """Raise `Interrupted` at the end of the step during which a signal came.

    Args:
        signals: its attribute `signal` is the number of a signal that came, or 0; None: none comes.
    """

    def __init__(self, signals=None):
        super().__init__()
        self.signals = signals

    def on_train_batch_end(self, batch, logs=None):
        if self.signals and self.signals.signal:
            raise Interrupted(exit_code=128 + self.signals.signal)

    on_test_batch_end = on_train_batch_end

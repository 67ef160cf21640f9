"""Ctrl-C and SIGTERM while a network trains: at the end of a step, never in the middle of a file."""

import contextlib
import os
import signal
import threading

import keras


class Interrupted(KeyboardInterrupt):
    """The user, or whoever runs the machine, asked for an end; `exit_code` is the shell's for that signal."""

    def __init__(self, message="", exit_code=130):
        super().__init__(message)
        self.exit_code = exit_code


class StopWhenAsked(keras.callbacks.Callback):
    """Raise `Interrupted` at the end of the step during which the first signal came; a second one ends at once."""

    def __init__(self):
        super().__init__()
        self.signal = None

    @contextlib.contextmanager
    def listening(self):
        """Catch the signals inside this context (in the main thread: Python allows it there only)."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        heard = [number for number in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(number) != signal.SIG_IGN]  # nohup
        before = {number: signal.signal(number, self._note) for number in heard}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _note(self, number, frame):
        if self.signal is not None:
            raise Interrupted(exit_code=128 + number)
        self.signal = number
        os.write(2, b"\nstopping after this step; once more to stop at once\n")  # print is not safe in a handler

    def on_train_batch_end(self, batch, logs=None):
        if self.signal is not None:
            raise Interrupted(exit_code=128 + self.signal)

    on_test_batch_end = on_train_batch_end

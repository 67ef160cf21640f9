"""Stop training after a signal, at the end of a step and never while a file is written."""

from collections.abc import Mapping
from typing import Protocol

import keras


class Signals(Protocol):
    """A context that notices signals, such as `polypseg.console.signals.Signals`.

    Attributes:
        signal: number of the signal that came, 0 before.
    """

    signal: int

    def __enter__(self) -> object: ...

    def __exit__(self, *error: object) -> object: ...


class Interrupted(KeyboardInterrupt):
    """Training was stopped by a signal.

    Args:
        message: what is saved, and how to resume.
        exit_code: of the process, 128 plus the number of the signal, as shells have it.
    """

    def __init__(self, message: str = "", exit_code: int = 130) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class StopWhenAsked(keras.callbacks.Callback):
    """Raise `Interrupted` at the end of the step in which a signal came.

    Args:
        signals: notices the signals; None if there are none.
    """

    def __init__(self, signals: Signals | None = None) -> None:
        super().__init__()
        self.signals = signals

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        if self.signals and self.signals.signal:
            raise Interrupted(exit_code=128 + self.signals.signal)

    on_test_batch_end = on_train_batch_end

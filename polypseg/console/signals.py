"""Finish the current step after Ctrl-C or SIGTERM."""

import os
import signal
import threading
from types import FrameType
from typing import Any, Self


class Stopped(KeyboardInterrupt):
    """Raised by the second signal, to stop at once. `exit_code` is 128 plus its number."""

    def __init__(self, exit_code: int) -> None:
        super().__init__()
        self.exit_code = exit_code


class Signals:
    """Context that stores the first Ctrl-C or SIGTERM. The second one raises `Stopped`.

    Outside of the main thread no signal is stored, because Python allows no handlers there.

    Args:
        message: written to stderr after the first signal.

    Attributes:
        signal: number of the first signal, 0 before it.
    """

    def __init__(self, message: str = "") -> None:
        self.signal, self._message = 0, message

    def __enter__(self) -> Self:
        self._old_handlers: dict[signal.Signals, Any] = {}
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                if signal.getsignal(number) != signal.SIG_IGN:  # as nohup sets it
                    self._old_handlers[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._old_handlers.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.signal:
            raise Stopped(128 + number)
        self.signal = number
        os.write(2, self._message.encode())  # print is not safe in a handler

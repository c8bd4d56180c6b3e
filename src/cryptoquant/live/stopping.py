"""How a trader is asked to stop: the first signal lets it wind down, a second one ends it at once."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any


class Stopping:
    """Takes SIGINT and SIGTERM over while it is entered in the main thread; elsewhere it changes nothing.

    Attributes
    ----------
    asked
        The name of the signal that asked for the end, '' while none has.
    """

    def __init__(self) -> None:
        self.asked = ""
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "Stopping":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._hear)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = signal.Signals(number).name

"""Ctrl-C and SIGTERM during a fit: the step that is being done is finished and its state kept, then the run ends."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType, TracebackType

log = logging.getLogger(__name__)

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_SAME = (
    1.0  # seconds in which a signal to a group of processes comes twice: from its sender, and from the first process
)


class Interruption:
    """Notes the first signal in `asked` instead of ending the process; another one, after a second, ends it at once.

    Who uses it saves and raises KeyboardInterrupt; what nobody acted on is raised at the end, so that none is lost.

    Signals that the process was started to ignore stay ignored, and outside of the main thread, which alone receives
    signals, nothing is changed.
    """

    def __init__(self) -> None:
        self.asked = False
        self._when = 0.0
        self._before: dict[int, Callable[[int, FrameType | None], object] | int | None] = {}

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                if signal.getsignal(number) not in (signal.SIG_IGN, None):
                    self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
        if self.asked and kind is None:
            raise KeyboardInterrupt  # it came when nobody looked any more

    def _note(self, number: int, _: FrameType | None) -> None:
        now = time.monotonic()
        if self.asked and now - self._when > _SAME:
            raise KeyboardInterrupt
        if not self.asked:
            self.asked, self._when = True, now
            log.warning("%s: ending after this step, whose state is kept (again: at once)", signal.Signals(number).name)

"""One decoding process as the process sees it that started it: what it works on, for how long, and its end."""

from __future__ import annotations

import multiprocessing
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import psutil

from medres.config import Limits
from medres.imaging.worker import OVER_PROCESSOR_TIME, OVER_WALL_TIME, serve

_CONTEXT = multiprocessing.get_context(
    "spawn"
)  # the same on Linux, macOS and Windows; inherits no threads and no locks
_UNMEASURED_SECONDS = 0.25  # so long a job's processor time is not asked for


@dataclass(slots=True)
class Task:
    """One item of a run of jobs."""

    number: int  # its place among the items
    item: Any
    alone: bool = False  # no other job ran since it began
    again: bool = False  # it took too long by the clock before, beside others


class DecodingProcess:
    """A process that is told what to do through a pipe.

    Args:
        job: the job it is started for.
        limits: of the process and of each job.

    Raises:
        OSError: the system starts no more processes.
    """

    def __init__(self, job: Callable[[Any], Any], limits: Limits) -> None:
        self.limits = limits
        self.ready = False  # it has imported what it needs
        self.task: Task | None = None  # what it works on
        self._since = time.monotonic()
        self._processor_before = 0.0
        self.pipe, theirs = _CONTEXT.Pipe()
        self.process = _CONTEXT.Process(target=serve, args=(theirs, job, limits), daemon=True)
        try:
            with unguarded_main():
                self.process.start()
        except BaseException:
            self.pipe.close()
            raise
        finally:
            theirs.close()
        assert self.process.pid is not None
        try:
            self._usage: psutil.Process | None = psutil.Process(self.process.pid)
        except psutil.Error:  # it is gone already: the end of its pipe will tell
            self._usage = None

    def give(self, task: Task, job: Callable[[Any], Any]) -> None:
        """Begin a task.

        Raises:
            OSError: it died while it waited.
        """
        before = self._processor_seconds()
        self.pipe.send((task.number, job, task.item))
        self.task, self._since, self._processor_before = task, time.monotonic(), before

    @property
    def wall_seconds(self) -> float:
        """How long it has been at its task, or has been starting, by the clock."""
        return time.monotonic() - self._since

    def over_limit(self) -> str:
        """The code of the refusal that its task has come to; "" while it may go on.

        Processor time of all its threads counts, in the system too: what other programs do on the machine does not.
        """
        wall = self.wall_seconds
        if wall > min(_UNMEASURED_SECONDS, self.limits.seconds):
            if self._processor_seconds() - self._processor_before > self.limits.seconds:
                return "DECODER_TIMEOUT"
            if wall > self.limits.wall_seconds:
                return "DECODER_STALLED"
        return ""

    def end(self) -> str:
        """End it, at once if need be; the code of the refusal that its task, if it has one, comes to by that."""
        self.pipe.close()
        self.process.kill()
        self.process.join()
        signals = {OVER_PROCESSOR_TIME: "DECODER_TIMEOUT", OVER_WALL_TIME: "DECODER_STALLED"}
        code = self.process.exitcode or 0
        return signals.get(-code, "DECODER_CRASH") if code < 0 else "DECODER_CRASH"

    def _processor_seconds(self) -> float:
        try:
            used = self._usage.cpu_times() if self._usage else None
        except psutil.Error:  # it is gone: the end of its pipe will tell
            used = None
        return used.user + used.system if used else 0.0


@contextmanager
def unguarded_main() -> Iterator[None]:
    """Start a process without running the caller's script in it.

    A spawned process imports its parent's `__main__` again. That would run a Streamlit page, a notebook or a script
    that has no `if __name__ == "__main__"` once more in every worker; jobs never come from there.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main

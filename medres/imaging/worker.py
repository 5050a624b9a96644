"""A decoding process from both sides: `serve` runs in it, `DecodingProcess` is what starts, watches and ends it."""

from __future__ import annotations

import multiprocessing
import os
import secrets
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from types import ModuleType
from typing import Any

import psutil

from medres.config import Limits
from medres.errors import Refused
from medres.imaging.sandbox import replies
from medres.imaging.sandbox.confinement import confine
from medres.records import Refusal

_CONTEXT = multiprocessing.get_context(
    "spawn"
)  # the same on Linux, macOS and Windows; inherits no threads and no locks
_ORPHAN_SECONDS = 20.0  # after its limits a process that nobody is left to end ends itself
_OVER_PROCESSOR_TIME = getattr(signal, "SIGPROF", None)  # the signals that do it; Windows has none
_OVER_WALL_TIME = getattr(signal, "SIGALRM", None)
_STUCK_SECONDS = 20.0  # so long an answer may take from its first byte to its last
_UNMEASURED_SECONDS = 0.25  # so long a job's processor time is not asked for


def serve(pipe: Connection, first: Callable[[Any], Any], limits: Limits) -> None:
    """The loop of a worker process. `first`, the job it was started for, has brought its imports with it."""
    del first
    memory = _limit_memory(limits.worker_bytes)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    import cv2

    import medres.imaging.reading  # noqa: F401  now, not in the time of the first file
    from medres.imaging.header import clean

    cv2.setNumThreads(1)
    confine()
    replies.send_ready(pipe)
    while True:
        try:
            number, job, item = pipe.recv()
        except (EOFError, OSError, KeyboardInterrupt):
            return
        _end_by_itself(limits.seconds + _ORPHAN_SECONDS, limits.wall_seconds + _ORPHAN_SECONDS)
        try:
            result: Any = job(item)
        except Refused as refusal:
            result = Refusal("", refusal.code, clean(refusal.detail)[0], refusal.sha256)  # it may quote the header
        except MemoryError:
            result = Refusal("", "OUT_OF_MEMORY", f"it needs more than {memory / 2**30:.1f} GiB, or none was left")
        except RecursionError:
            result = Refusal("", "LIMIT", "RecursionError while the file was read")
        except (KeyboardInterrupt, SystemExit):
            return
        except BaseException as error:  # noqa: BLE001  decoders written in Rust raise what is no Exception
            result = Refusal("", "CORRUPT", f"{type(error).__name__} while the file was read")
        _end_by_itself(0, 0)
        replies.send(pipe, number, result)


def _end_with_parent() -> None:
    """Nobody waits for the result any more."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _end_by_itself(processor_seconds: float, wall_seconds: float) -> None:
    """End this process after so much time (0: never), though a decoder lets no other thread run, `_end_with_parent`."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_PROF, processor_seconds)
        signal.setitimer(signal.ITIMER_REAL, wall_seconds)


def _limit_memory(most: int) -> int:
    """Allow this process so many bytes, or fewer where a limit that it was born with is lower; how many it is."""
    if sys.platform == "linux":
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_AS)
        most = min(most, sys.maxsize, *(limit for limit in (soft, hard) if limit != resource.RLIM_INFINITY))
        resource.setrlimit(resource.RLIMIT_AS, (most, hard))
    return most


@dataclass(slots=True)
class Task:
    """One item of a run of jobs."""

    number: int  # its place among the items
    item: Any
    alone: bool = False  # no other job ran since it began
    handed_back: bool = False  # the process that was given it first had an answer ready before
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
        self._taking_since: float | None = None
        self._asked = -1
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
        self._asked = secrets.randbits(62)  # no answer that was ready before can name it
        self.pipe.send((self._asked, job, task.item))
        self.task, self._since, self._processor_before = task, time.monotonic(), before

    def take(self) -> replies.Reply:
        """Take the answer that has begun to come.

        Raises:
            EOFError, OSError: it has ended, perhaps within its answer.
            BadReply: it answers what no decoding process does.
        """
        self._taking_since = time.monotonic()
        try:
            reply = replies.receive(self.pipe, pixels=self.limits.pixels)
        finally:
            self._taking_since = None
        if (reply.number is None) == self.ready:
            raise replies.BadReply("it starts twice, or answers before it has started")
        if reply.number is not None and (self.task is None or reply.number != self._asked):
            raise replies.UnaskedReply("an answer to nothing that was asked")
        return reply

    def end_if_stuck(self) -> None:
        """End it where it keeps whoever takes its answer waiting: called by another thread than that."""
        since = self._taking_since
        if since is not None and time.monotonic() - since > _STUCK_SECONDS:
            self.process.kill()

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
        signals = {_OVER_PROCESSOR_TIME: "DECODER_TIMEOUT", _OVER_WALL_TIME: "DECODER_STALLED"}
        code = self.process.exitcode or 0
        return signals.get(-code, "DECODER_CRASH") if code < 0 else "DECODER_CRASH"

    def detail(self, code: str) -> str:
        """A refusal with one of these codes in words."""
        if code == "DECODER_TIMEOUT":
            return f"more than {self.limits.seconds:g} s of processor time; its process was ended"
        if code == "DECODER_STALLED":
            return f"not decoded within {self.limits.wall_seconds:g} s while no other file was; its process was ended"
        return "the decoder ended its process; the other files are not affected"

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

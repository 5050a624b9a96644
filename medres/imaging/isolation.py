"""Decoding in worker processes that can be killed: a hang, a crash or a bomb costs exactly one file."""

from __future__ import annotations

import logging
import multiprocessing
import os
import queue
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import ModuleType, TracebackType
from typing import Any, Literal, TypeVar

from medres.config import GATES, Gate, Limits
from medres.errors import Refused
from medres.imaging.worker import serve
from medres.records import Radiograph, Refusal

Item = TypeVar("Item")
T = TypeVar("T")
_CONTEXT = multiprocessing.get_context(
    "spawn"
)  # the same on Linux, macOS and Windows; inherits no threads and no locks
_AHEAD = 16  # results kept ready per worker, so that memory stays flat however many files there are
_START_SECONDS = 120.0  # a new process may import for this long on a busy machine
_STOP_SECONDS = 2.0
log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Worker:
    process: BaseProcess
    pipe: Connection
    ready: bool = False
    number: int | None = None  # what it works on
    deadline: float = 0.0


class Workers:
    """A pool of killable processes, for the length of a `with` block.

    Args:
        count: how many; one per processor by default.
        limits: `seconds` a file may take, and `worker_bytes` a process may allocate (Linux).
    """

    def __init__(self, count: int | None = None, *, limits: Limits | None = None) -> None:
        self.count = count or os.cpu_count() or 1
        self.limits = limits or Limits()
        self._pool: list[_Worker] = []
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Workers:
        """Processes start when they are first needed."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End every process, at once if need be."""
        self.close()

    def map(self, job: Callable[[Item], T], items: Iterable[Item]) -> Iterator[tuple[Item, T | Refusal]]:
        """Run a job on every item (a path, as a rule), in other processes, and yield results in the order of the items.

        Args:
            job: picklable; it returns a picklable result or raises Refused.
            items: picklable; read lazily. `str(item)` is the path in a refusal.

        Yields:
            (item, result), or (item, Refusal): with the job's own code; DECODER_TIMEOUT where it took longer than
            `limits.seconds`; DECODER_CRASH where its process died; LIMIT where it ran out of memory; CORRUPT for any
            other error.
        """
        ready: queue.Queue[Any] = queue.Queue(self.count * _AHEAD)
        self._stopping.clear()
        self._thread = threading.Thread(target=self._dispatch, args=(job, iter(items), ready), daemon=True)
        self._thread.start()
        try:
            while (item := ready.get()) is not None:
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            self._stopping.set()
            while self._thread.is_alive():
                try:  # let a dispatcher that waits for room see that it is to stop
                    ready.get(timeout=0.05)
                except queue.Empty:
                    continue
            for worker in [worker for worker in self._pool if worker.number is not None]:
                self._remove(worker)  # what it still works on belongs to nobody

    def _dispatch(self, job: Callable[[Item], T], items: Iterator[Item], ready: queue.Queue[Any]) -> None:
        """The loop of a thread: hand out numbers, collect results, kill what is late, keep the order."""
        names: dict[int, Item] = {}
        results: dict[int, T | Refusal] = {}
        waiting: deque[Item] = deque()  # read, and not given yet: no more processes start than find work
        following, put, exhausted = 0, 0, False
        try:
            while not self._stopping.is_set():
                while following - put < self.count * _AHEAD:
                    starting = sum(not worker.ready for worker in self._pool)
                    while not exhausted and len(waiting) <= starting:
                        for item in items:
                            waiting.append(item)
                            break
                        else:
                            exhausted = True
                    worker = self._idle(job, may_start=len(waiting) > starting) if waiting else None
                    if worker is None:
                        break
                    names[following] = waiting.popleft()
                    self._give(worker, following, job, names[following])
                    following += 1
                while put in results:
                    ready.put((names.pop(put), results.pop(put)))
                    put += 1
                if exhausted and not waiting and put == following:
                    break
                results.update(self._collect(names))
            ready.put(None)
        except BaseException as error:  # noqa: BLE001  it belongs to the caller's thread, where it is raised
            ready.put(error)

    def _idle(self, job: Callable[[Any], Any], *, may_start: bool) -> _Worker | None:
        """A worker without work; None when all are busy, after another was started where one may and there is room."""
        for worker in self._pool:
            if worker.number is None and worker.ready:
                return worker
        if may_start and len(self._pool) < self.count:
            ours, theirs = _CONTEXT.Pipe()
            process = _CONTEXT.Process(target=serve, args=(theirs, job, self.limits), daemon=True)
            with unguarded_main():
                process.start()
            theirs.close()
            self._pool.append(_Worker(process, ours, deadline=time.monotonic() + _START_SECONDS))
        return None

    def _give(self, worker: _Worker, number: int, job: Callable[[Any], Any], item: Any) -> None:
        worker.number = number
        worker.deadline = time.monotonic() + self.limits.seconds
        try:
            worker.pipe.send((number, job, item))
        except OSError:  # it died while it waited: `_collect` finds its end of the pipe closed, and says so
            log.warning("a decoding process ended while it was idle (exit code %s)", worker.process.exitcode)

    def _collect(self, names: dict[int, Item]) -> list[tuple[int, Any]]:
        """What has come back, and refusals for what has not and will not."""
        found = []
        now = time.monotonic()
        nearest = min(
            (worker.deadline for worker in self._pool if not worker.ready or worker.number is not None), default=now
        )
        wait([worker.pipe for worker in self._pool], timeout=max(0.0, min(nearest - now, 0.25)))
        for worker in list(self._pool):
            try:
                while worker.pipe.poll():
                    message = worker.pipe.recv()
                    if message is None:
                        worker.ready = True
                    else:
                        worker.number = None
                        number, result = message
                        if isinstance(result, tuple) and result and result[0] is Refused:
                            result = Refusal(str(names[number]), *result[1:])
                        found.append((number, result))
            except (EOFError, OSError):
                self._remove(worker)
                if worker.number is not None:
                    detail = "the decoder ended its process; the other files are not affected"
                    found.append((worker.number, Refusal(str(names[worker.number]), "DECODER_CRASH", detail)))
                elif not worker.ready:
                    raise RuntimeError(
                        f"a decoding process did not start (exit code {worker.process.exitcode})"
                    ) from None
                continue
            if time.monotonic() > worker.deadline and (worker.number is not None or not worker.ready):
                self._remove(worker)
                if worker.number is not None:
                    detail = f"not decoded within {self.limits.seconds:g} s; its process was ended"
                    found.append((worker.number, Refusal(str(names[worker.number]), "DECODER_TIMEOUT", detail)))
        return found

    def _remove(self, worker: _Worker) -> None:
        self._pool.remove(worker)
        worker.pipe.close()
        worker.process.kill()
        worker.process.join()

    def close(self) -> None:
        """End every process, at once if need be."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(_STOP_SECONDS)
        for worker in list(self._pool):
            self._remove(worker)


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


_interactive: Workers | None = None
_interactive_lock = threading.Lock()


def read_isolated(
    path: str | os.PathLike[str],
    *,
    gate: Gate | None = None,
    voi: Literal["header", "full", "percentile"] = "header",
    percentiles: tuple[float, float] = (0.5, 99.5),
    limits: Limits | None = None,
    sha256: str = "",
) -> Radiograph:
    """Read one file for a person who waits, through a killable process that is kept for the next file.

    Raises:
        Refused: as `read_radiograph`, and DECODER_TIMEOUT, DECODER_CRASH.
    """
    limits = limits or Limits()
    request = _Request(os.fspath(path), gate or GATES["grayscale"], voi, percentiles, limits, sha256)
    with _interactive_lock:
        global _interactive
        if _interactive is None or _interactive.limits != limits:
            if _interactive is not None:
                _interactive.close()
            _interactive = Workers(1, limits=limits)
        result = next(iter([result for _, result in _interactive.map(_read, [request])]))
    if isinstance(result, Refusal):
        raise Refused(result.code, result.detail, path=path)
    return result


@dataclass(frozen=True, slots=True)
class _Request:
    """One interactive read: a pool that outlives it must be told everything."""

    path: str
    gate: Gate
    voi: Literal["header", "full", "percentile"]
    percentiles: tuple[float, float]
    limits: Limits
    sha256: str

    def __str__(self) -> str:
        return self.path


def _read(request: _Request) -> Radiograph:
    from medres.imaging.reading import read_radiograph

    return read_radiograph(
        request.path,
        gate=request.gate,
        voi=request.voi,
        percentiles=request.percentiles,
        limits=request.limits,
        sha256=request.sha256,
    )

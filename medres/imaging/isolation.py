"""Decoding in worker processes that can be killed: a hang, a crash or a bomb costs exactly one file."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Set
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Literal, TypeVar

from medres.config import GATES, Gate, Limits
from medres.errors import Refused
from medres.imaging.sandbox.dispatch import Dispatch
from medres.imaging.worker import DecodingProcess
from medres.processors import usable_processors
from medres.records import Radiograph, Refusal

AHEAD = 16
"""Results that are kept ready per worker, where they are small."""

Item = TypeVar("Item")
T = TypeVar("T")


class Workers:
    """A pool of killable processes, for the length of a `with` block.

    Beside a process that has been at one job for a second there is a spare one, at most as many as there are workers:
    what hangs holds up nobody.

    Args:
        count: how many; one per processor that this process may use by default.
        limits: `seconds` of processor time and `wall_seconds` by the clock that a job may take, and `worker_bytes`
            that a process may allocate (Linux).
        ahead: results that are kept ready per worker, so that memory stays flat however many files there are.
    """

    def __init__(self, count: int | None = None, *, limits: Limits | None = None, ahead: int = AHEAD) -> None:
        self.count = count or usable_processors()
        self.limits = limits or Limits()
        self.ahead = ahead
        self._pool: list[DecodingProcess] = []
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

    def map(
        self, job: Callable[[Item], T], items: Iterable[Item], *, ordered: bool = False
    ) -> Generator[tuple[Item, T | Refusal]]:
        """Run a job on every item (a path, as a rule), in other processes, and yield results as they are done.

        Args:
            job: picklable; it returns what `sandbox.replies` lets through, or raises Refused.
            items: picklable; read lazily. `str(item)` is the path in a refusal.
            ordered: yield results in the order of the items. What hangs then holds up those that follow it: few are
                begun before it is done.

        Yields:
            (item, result), or (item, Refusal): with the job's own code; DECODER_TIMEOUT where it took more processor
            time than `limits.seconds`; DECODER_STALLED where it took longer than `limits.wall_seconds` by the clock,
            and did so when it was tried again at the end, while no other job ran; DECODER_CRASH where its process
            died; OUT_OF_MEMORY where it ran out of memory; CORRUPT for any other error.

        Raises:
            MedresError: no process can be started.
        """
        self._stopping.clear()
        dispatch = Dispatch(self._pool, self.count, self.limits, job, iter(items), ordered=ordered, ahead=self.ahead)
        self._thread = threading.Thread(target=dispatch.run, args=(self._stopping,), daemon=True)
        self._thread.start()
        try:
            yield from (
                _in_order(dispatch.results()) if ordered else ((item, done) for _, item, done in dispatch.results())
            )
        finally:
            self._stopping.set()
            self._thread.join()
            for process in list(self._pool):
                if process.task is not None or self._pool.index(process) >= self.count:
                    self._pool.remove(process)  # what it still works on belongs to nobody
                    process.end()

    def close(self) -> None:
        """End every process, at once if need be."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
        while self._pool:
            self._pool.pop().end()


def _in_order(results: Iterator[tuple[int, Item, T]]) -> Iterator[tuple[Item, T]]:
    early: dict[int, tuple[Item, T]] = {}
    following = 0
    for number, item, result in results:
        early[number] = (item, result)
        while following in early:
            yield early.pop(following)
            following += 1


_idle: list[Workers] = []  # of one process each, kept for whoever waits next
_idle_lock = threading.Lock()
_in_use = threading.BoundedSemaphore(usable_processors())  # as many people are served at once as there are processors


def read_isolated(
    path: str | os.PathLike[str],
    *,
    gate: Gate | None = None,
    voi: Literal["header", "full", "percentile"] = "header",
    percentiles: tuple[float, float] = (0.5, 99.5),
    limits: Limits | None = None,
    sha256: str = "",
    shorter_side: int | None = None,
    smaller: Set[str] | None = None,
) -> Radiograph:
    """Read one file for a person who waits, through a killable process that is kept for the next file.

    Raises:
        Refused: as `read_radiograph`, and DECODER_TIMEOUT, DECODER_STALLED, DECODER_CRASH.
    """
    limits = limits or Limits()
    from medres.imaging.reading import read_radiograph

    admitted = gate or GATES["grayscale"]
    job = partial(
        read_radiograph, gate=admitted, voi=voi, percentiles=percentiles, limits=limits, sha256=sha256,
        shorter_side=shorter_side, smaller=smaller,
    )  # fmt: skip
    return done_isolated(job, path, limits=limits)


@contextmanager
def _kept_process(limits: Limits) -> Iterator[Workers]:
    """A process that nobody else uses, which is kept for the next file; another where limits have changed."""
    with _idle_lock:
        found = _idle.pop() if _idle else Workers(1, limits=limits)
    if found.limits != limits:
        found.close()
        found = Workers(1, limits=limits)
    try:
        yield found
    finally:
        with _idle_lock:
            _idle.append(found)


def done_isolated(job: Callable[[Path], T | Refusal], path: str | os.PathLike[str], *, limits: Limits) -> T:
    """What a job makes of one file, for a person who waits; see `read_isolated`.

    Raises:
        Refused: as the job, and DECODER_TIMEOUT, DECODER_STALLED, DECODER_CRASH.
    """
    with _in_use, _kept_process(limits) as process:
        result = next(iter([result for _, result in process.map(job, [Path(path)])]))
    if isinstance(result, Refusal):
        raise Refused(result.code, result.detail, path=path)
    return result

"""One run of some decoding processes over some items: hand out, collect, end what is over its limits."""

from __future__ import annotations

import logging
import os
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from multiprocessing.connection import wait
from typing import Any, Generic, TypeVar

from medres.config import Limits
from medres.errors import MedresError
from medres.imaging.preprocessing import Inspected
from medres.imaging.sandbox.replies import BadReply, Reply, UnaskedReply
from medres.imaging.worker import DecodingProcess, Task
from medres.records import Refusal

Item = TypeVar("Item")
T = TypeVar("T")
_LATE_SECONDS = 0.5  # after so long at one job a spare process is started, which takes about as long again
_START_SECONDS = 120.0  # a new process may import for this long on a busy machine
_LOOK_SECONDS, _LOOK_FOR_ROOM_SECONDS = 0.1, 0.02  # how often the clock is looked at, and whether there is room again
log = logging.getLogger(__name__)


class Dispatch(Generic[Item, T]):
    """One run of a pool's processes over some items: see `medres.imaging.isolation.Workers.map`."""

    def __init__(
        self,
        pool: list[DecodingProcess],
        count: int,
        limits: Limits,
        job: Callable[[Item], T],
        items: Iterator[Item],
        *,
        ordered: bool,
        ahead: int,
    ) -> None:
        self.pool, self.count, self.limits, self.job, self.ordered = pool, count, limits, job, ordered
        self._kept = count * ahead  # results that may wait to be taken
        self._items = items
        self._read_items = 0
        self._exhausted = False
        self._waiting: deque[Task] = deque()  # read, and not given yet: no more processes start than find work
        self._again: deque[Task] = deque()  # they took too long by the clock, beside others
        self._undone: dict[int, None] = {}  # numbers of the items that were read and have no result, ascending
        self._most = 2 * count  # processes
        self._done: queue.Queue[tuple[int, Item, T | Refusal] | BaseException | None] = queue.Queue()

    def results(self) -> Iterator[tuple[int, Item, T | Refusal]]:
        """Numbers, items and results as they are done; errors of the loop are raised here."""
        while (found := self._done.get()) is not None:
            if isinstance(found, BaseException):
                raise found
            yield found

    def run(self, stopping: threading.Event) -> None:
        """The loop of a thread."""
        ended = threading.Event()
        threading.Thread(target=self._end_stuck, args=(ended,), daemon=True).start()
        try:
            while not stopping.is_set() and not (self._exhausted and not self._undone):
                self._hand_out()
                self._collect()
            self._done.put(None)
        except BaseException as error:  # noqa: BLE001  it belongs to the caller's thread, where it is raised
            self._done.put(error)
        finally:
            ended.set()

    def _end_stuck(self, ended: threading.Event) -> None:
        """The loop of another thread: a process that stops within its answer would hold up all the others."""
        while not ended.wait(1.0):
            for process in list(self.pool):
                process.end_if_stuck()

    def _hand_out(self) -> None:
        """Give work to idle processes, and start others, as far as there is room for results."""
        while self._room() and not any(process.task and process.task.again for process in self.pool):
            starting = sum(not process.ready for process in self.pool)
            self._read(starting + 1)
            late = sum(process.task is not None and process.wall_seconds > _LATE_SECONDS for process in self.pool)
            busy = sum(process.task is not None for process in self.pool)
            if not self._waiting or busy - late >= self.count:
                break
            idle = self._idle()
            if idle:
                self._give(idle, self._waiting)
            elif len(self._waiting) <= starting or not self._start(self.count + late):
                break
        if self._again and not any(process.task for process in self.pool) and (self._held_up() or not self._fresh()):
            idle = self._idle()
            if idle:
                self._give(idle, self._again)
            elif not self.pool:
                self._start(1)

    def _read(self, count: int) -> None:
        while not self._exhausted and len(self._waiting) < count:
            for item in self._items:
                self._waiting.append(Task(self._read_items, item))
                self._undone[self._read_items] = None
                self._read_items += 1
                break
            else:
                self._exhausted = True

    def _fresh(self) -> bool:
        """Whether there are items that were not tried yet, as far as is known."""
        return bool(self._waiting) or not self._exhausted

    def _held_up(self) -> bool:
        """Whether results keep an order, and too many would have to wait for the first that is missing."""
        given = self._read_items - len(self._waiting)
        return self.ordered and given - next(iter(self._undone), given) >= self._kept

    def _room(self) -> bool:
        """Whether another result could be kept."""
        busy = sum(process.task is not None for process in self.pool)
        return self._done.qsize() + busy < self._kept and not self._held_up()

    def _idle(self) -> DecodingProcess | None:
        return next((process for process in self.pool if process.ready and process.task is None), None)

    def _start(self, most: int) -> bool:
        """Start a process, if there are fewer than so many; whether there is a new one.

        Raises:
            MedresError: it cannot be started, and there is no other.
        """
        if len(self.pool) >= min(most, self._most):
            return False
        try:
            self.pool.append(DecodingProcess(self.job, self.limits))
        except OSError as error:
            self._not_started(error.strerror or type(error).__name__)
            return False
        return True

    def _not_started(self, why: str) -> None:
        self._most = len(self.pool)
        if not self.pool:
            raise MedresError(
                f"a decoding process did not start ({why}): it may need more memory than `ulimit -v`, the container or "
                f"--limit worker_bytes={self.limits.worker_bytes} allow it"
            )
        log.warning("a decoding process did not start (%s): %d go on without it", why, len(self.pool))

    def _give(self, process: DecodingProcess, tasks: deque[Task]) -> None:
        """Let a process begin the first of some tasks; if it died while it waited, another one will."""
        task = tasks[0]
        others = [other.task for other in self.pool if other.task is not None]
        task.alone = not others
        try:
            process.give(task, self.job)
        except OSError:
            self.pool.remove(process)
            process.end()
            log.warning("a decoding process ended while it was idle (exit code %s)", process.process.exitcode)
            return
        tasks.popleft()
        for other in others:
            other.alone = False

    def _collect(self) -> None:
        """Take what has come back, and refuse what has not and will not."""
        room_is_missing = self._waiting and self._idle() is not None
        wait(
            [process.pipe for process in self.pool],
            timeout=_LOOK_FOR_ROOM_SECONDS if room_is_missing else _LOOK_SECONDS,
        )
        for process in list(self.pool):
            try:
                while process.pipe.poll():
                    self._take(process, process.take())
            except UnaskedReply:
                self._hand_back(process)
                continue
            except (EOFError, OSError, BadReply):
                self._end(process)
                continue
            if process.task is not None and (code := process.over_limit()):
                self._end(process, code)
            elif not process.ready and process.wall_seconds > _START_SECONDS:
                self._end(process)

    def _take(self, process: DecodingProcess, reply: Reply) -> None:
        if reply.number is None:
            process.ready = True
            return
        task, result = process.task, reply.result
        assert task is not None  # or `take` had refused it
        if isinstance(result, Inspected) and result.path != os.fspath(task.item):
            raise BadReply("an answer about another file")
        process.task = None
        self._finish(task, replace(result, path=str(task.item)) if isinstance(result, Refusal) else result)

    def _hand_back(self, process: DecodingProcess) -> None:
        """End a process that had an answer ready before it was asked; its task, which is not to blame, gets another."""
        task = process.task
        if task is None or task.handed_back:
            self._end(process)
            return
        task.handed_back = True
        self.pool.remove(process)
        process.end()
        self._waiting.appendleft(task)

    def _finish(self, task: Task, result: Any) -> None:
        del self._undone[task.number]
        self._done.put((task.number, task.item, result))

    def _end(self, process: DecodingProcess, code: str = "") -> None:
        """End a process, and refuse its task with a code, by default with the one that its own end says."""
        self.pool.remove(process)
        own = process.end()
        task, code = process.task, code or own
        if task is None:
            if not process.ready:
                self._not_started(f"exit code {process.process.exitcode}")
        elif code == "DECODER_STALLED" and not task.alone:
            task.again = True
            self._again.append(task)
        else:
            self._finish(task, Refusal(str(task.item), code, process.detail(code)))

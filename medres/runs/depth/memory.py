"""The most memory that a block of work took, above what was in use as it began."""

from __future__ import annotations

import ctypes
import gc
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import torch

_EVERY = 0.01  # seconds between two looks at a process's memory
_FORGET = Path("/proc/self/clear_refs")  # "5" makes Linux forget a process's highest memory: see proc(5)
_STATUS = Path("/proc/self/status")


@dataclass(slots=True)
class Peak:
    """How much memory a block took, above what was in use as it began."""

    taken: int = 0  # bytes


@dataclass(slots=True)
class _Looks:
    """The memory of this process, looked at a hundred times a second, where the system keeps no highest one."""

    most: int = 0
    _done: threading.Event = field(default_factory=threading.Event)

    def watch(self) -> None:
        process = psutil.Process()
        waiting = True
        while waiting:
            waiting = not self._done.wait(_EVERY)
            self.most = max(self.most, process.memory_info().rss)

    def end(self, watcher: threading.Thread) -> int:
        self._done.set()
        watcher.join()
        return self.most


@contextmanager
def peak_memory(device: torch.device) -> Iterator[Peak]:
    """Watches the memory of a block, in bytes: a GPU's allocator counts it, for a processor the system does.

    What was freed earlier goes back to the system first: else a block may take it again, and none is seen to be taken.
    Where the system keeps no highest figure (macOS, Windows), it is looked at a hundred times a second.

    >>> import numpy as np
    >>> with peak_memory(torch.device("cpu")) as peak:
    ...     size = np.ones(30_000_000).nbytes
    >>> peak.taken > size / 2
    True
    """
    gc.collect()
    peak = Peak()
    if device.type == "cuda":
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        yield peak
        peak.taken = torch.cuda.max_memory_allocated(device) - before
        return
    _give_back()
    before = psutil.Process().memory_info().rss
    if _forget_highest():
        yield peak
        peak.taken = max(_highest() - before, 0)
        return
    looks = _Looks()
    watcher = threading.Thread(target=looks.watch, daemon=True)
    watcher.start()
    try:
        yield peak
    finally:
        peak.taken = max(looks.end(watcher) - before, 0)


def _give_back() -> None:
    """Give freed memory back to the system, where the C library (glibc) can."""
    if sys.platform == "linux":
        with suppress(AttributeError, OSError):  # another C library
            ctypes.CDLL(None).malloc_trim(0)


def _forget_highest() -> bool:
    """Make the system forget the highest memory of this process; whether it keeps one."""
    try:
        _FORGET.write_text("5", encoding="ascii")
        return _highest() > 0
    except (OSError, StopIteration):
        return False


def _highest() -> int:
    """The most memory that this process had since the system was made to forget, in bytes."""
    lines = _STATUS.read_text(encoding="ascii").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))

"""What runs in a decoding process: job after job, each within its time and memory, whatever a decoder does."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from medres.config import Limits
from medres.errors import Refused

_ORPHAN_SECONDS = 20.0  # after its limits a process that nobody is left to end ends itself
OVER_PROCESSOR_TIME = getattr(signal, "SIGPROF", None)
"""The signal that ends such a process when it used up its processor time (not on Windows)."""
OVER_WALL_TIME = getattr(signal, "SIGALRM", None)
"""The signal that ends such a process when it was too long at work by the clock (not on Windows)."""


def serve(pipe: Connection, first: Callable[[Any], Any], limits: Limits) -> None:
    """The loop of a worker process. `first`, the job it was started for, has brought its imports with it."""
    del first
    memory = _limit_memory(limits.worker_bytes)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    import cv2

    import medres.imaging.reading  # noqa: F401  now, not in the time of the first file
    from medres.imaging.header import clean

    cv2.setNumThreads(1)
    pipe.send(None)
    while True:
        try:
            number, job, item = pipe.recv()
        except (EOFError, OSError, KeyboardInterrupt):
            return
        _end_by_itself(limits.seconds + _ORPHAN_SECONDS, limits.wall_seconds + _ORPHAN_SECONDS)
        try:
            result: Any = job(item)
        except Refused as refusal:
            result = (Refused, refusal.code, clean(refusal.detail)[0], refusal.sha256)  # it may quote the header
        except MemoryError:
            result = (Refused, "OUT_OF_MEMORY", f"it needs more than {memory / 2**30:.1f} GiB, or none was left")
        except RecursionError:
            result = (Refused, "LIMIT", "RecursionError while the file was read")
        except (KeyboardInterrupt, SystemExit):
            return
        except BaseException as error:  # noqa: BLE001  decoders written in Rust raise what is no Exception
            result = (Refused, "CORRUPT", f"{type(error).__name__} while the file was read")
        _end_by_itself(0, 0)
        pipe.send((number, result))


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

"""What runs in a decoding process: job after job, each within its time and memory, whatever a decoder does."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from medres.config import Limits
from medres.errors import Refused

_ORPHAN_SECONDS = 20.0  # after its time limit a process whose parent was killed ends itself


def serve(pipe: Connection, first: Callable[[Any], Any], limits: Limits) -> None:
    """The loop of a worker process. `first`, the job it was started for, has brought its imports with it."""
    del first
    _limit_memory(limits)
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
        _end_by_itself(limits.seconds + _ORPHAN_SECONDS)
        try:
            result: Any = job(item)
        except Refused as refusal:
            result = (Refused, refusal.code, clean(refusal.detail)[0], refusal.sha256)  # it may quote the header
        except MemoryError:
            result = (
                Refused,
                "OUT_OF_MEMORY",
                f"it needs more than {limits.worker_bytes / 2**30:.1f} GiB, or none was left",
            )
        except RecursionError:
            result = (Refused, "LIMIT", "RecursionError while the file was read")
        except (KeyboardInterrupt, SystemExit):
            return
        except BaseException as error:  # noqa: BLE001  decoders written in Rust raise what is no Exception
            result = (Refused, "CORRUPT", f"{type(error).__name__} while the file was read")
        _end_by_itself(0)
        pipe.send((number, result))


def _end_by_itself(seconds: float) -> None:
    """End this process after so many seconds (0: never) even when the decoder hangs and nobody is left to end it."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, seconds)


def _limit_memory(limits: Limits) -> None:
    if sys.platform == "linux":
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (limits.worker_bytes, hard))

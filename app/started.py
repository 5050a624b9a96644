"""What this server was started with: it came through standard input, not through arguments that others can read."""

from __future__ import annotations

from pathlib import Path
from threading import Lock

from medres import __version__
from medres.errors import UsageError
from medres.review.cases import Worklist
from medres.review.server import Start
from medres.review.store import ReviewStore

_STARTED: list[Start] = []
_OPENED: list[Worklist] = []
_STORES: list[ReviewStore] = []
_OPENING = Lock()


def remember(start: Start) -> None:
    """Keep it for the pages."""
    _STARTED[:] = [start]


def current() -> Start:
    """What `medres app` was given.

    Raises:
        UsageError: Streamlit was started by hand, without the door of `app/gate.py`.
    """
    if not _STARTED:
        raise UsageError("the review app is started with `medres app`, and not otherwise")
    return _STARTED[0]


def worklist() -> Worklist:
    """The cases, for every page and every route alike; opened by whoever asks first.

    Raises:
        UsageError, ModelError, DeviceError: as `Worklist.open`.
    """
    with _OPENING:
        if not _OPENED:
            start = current()
            _OPENED.append(Worklist.open(Path(start.scores), Path(start.model), device=start.device))
        return _OPENED[0]


def store() -> ReviewStore:
    """The verdicts, for every page and every route alike; opened by whoever asks first, and noted as a start.

    Raises:
        StoreError: as `ReviewStore.open`.
    """
    with _OPENING:
        if not _STORES:
            found = ReviewStore.open(current().store)
            found.note("start", "", {"scores": current().scores, "medres": __version__})
            _STORES.append(found)
        return _STORES[0]


def reader(number: str) -> str:
    """The name of a reader by its number in the store's list; "" where there is none.

    Raises:
        StoreError: the store cannot be read.
    """
    return store().listed().get(int(number), "") if number.isdecimal() and len(number) < 10 else ""

"""What this server was started with, and what it opened before it said its address: every page and route has the same.

What it was started with came through standard input, not through arguments that others can read.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

from medres import __version__
from medres.errors import UsageError
from medres.review.cases import Case, Worklist
from medres.review.check_process import Folders
from medres.review.checks import Checks
from medres.review.server import Start
from medres.review.store import ReviewStore

log = logging.getLogger(__name__)
_SECONDS_TO_LOOK = 0.5  # for files, before the address is said; the look goes on


@dataclass
class Room:
    """Open scored folders, their verdicts, and the process that computes its scores again."""

    worklist: Worklist
    store: ReviewStore
    checks: Checks
    blinded: bool  # others' verdicts are shown beside one's own alone
    absent: tuple[Case, ...] = ()  # whose file is not there, as far as it is known by now


_OPEN: list[Room] = []


def open_room(start: Start) -> Room:
    """Open everything that pages need; what is damaged or missing is said now.

    Raises:
        UsageError, ModelError: as `Worklist.open`.
        StoreError: as `ReviewStore.open`.
    """
    worklist = Worklist.open([*map(Path, start.scores)], Path(start.model))
    store = ReviewStore.open(start.store)
    checks = Checks(Folders(scores=start.scores, model=start.model, device=start.device))
    room = Room(worklist, store, checks, not start.open_verdicts)
    store.note("start", "", {"scores": "\n".join(start.scores), "medres": __version__})
    _OPEN[:] = [room]
    looking = Thread(target=_look, args=(room,), daemon=True)
    looking.start()
    looking.join(_SECONDS_TO_LOOK)
    if room.absent:
        log.warning(
            "%d of %d images cannot be shown: their files are not in the scored folder any more",
            len(room.absent), len(worklist.cases),
        )  # fmt: skip
    return room


def _look(room: Room) -> None:
    room.absent = room.worklist.absent()


def room() -> Room:
    """What `medres app` opened.

    Raises:
        UsageError: Streamlit was started by hand, without the door of `app/gate.py`.
    """
    if not _OPEN:
        raise UsageError("the review app is started with `medres app`, and not otherwise")
    return _OPEN[0]


def reader(number: str) -> str:
    """The name of a reader by its number in the store's list; "" where there is none.

    Raises:
        StoreError: the store cannot be read.
    """
    return room().store.listed().get(int(number), "") if number.isdecimal() and len(number) < 10 else ""

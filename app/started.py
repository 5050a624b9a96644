"""What this server was started with: it came through standard input, not through arguments that others can read."""

from __future__ import annotations

from medres.errors import UsageError
from medres.review.server import Start

_STARTED: list[Start] = []


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

"""Writers wait in line: who came first is first, so that nobody waits for longer than all before them take."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock


class Turns:
    """A lock that is handed on in the order in which it was asked for; SQLite's own waiting is a lottery."""

    def __init__(self) -> None:
        self._guard, self._taken = Lock(), False
        self._waiting: deque[Lock] = deque()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Inside, nobody else has a turn."""
        mine = self._line_up()
        try:
            if mine is not None:
                mine.acquire()  # whoever is done lets it go, and so hands the turn on
        except BaseException:  # interrupted while waiting: the turn goes to the next one, now or when it comes
            self._leave(mine)
            raise
        try:
            yield
        finally:
            self._hand_on()

    def _line_up(self) -> Lock | None:
        with self._guard:
            if not self._taken:
                self._taken = True
                return None
            mine = Lock()
            mine.acquire()
            self._waiting.append(mine)
            return mine

    def _leave(self, mine: Lock | None) -> None:
        with self._guard:
            if mine is not None and mine in self._waiting:
                self._waiting.remove(mine)
                return
        self._hand_on()

    def _hand_on(self) -> None:
        with self._guard:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._taken = False

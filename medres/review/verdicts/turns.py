"""Writers wait in line, who came first is first; and those who wait are served together, by one commit."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from threading import Event, Lock

from sqlalchemy import Connection, Engine, Transaction
from sqlalchemy.exc import IntegrityError, SQLAlchemyError


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


@dataclass
class _Batch:
    """One transaction, and everybody's part in it."""

    connection: Connection
    transaction: Transaction
    settled: Event = field(default_factory=Event)  # committed, or not: see `error`
    error: BaseException | None = None


class Writers:
    """Those who write to one database: one after the other, and who waits meanwhile shares the next commit.

    A commit waits for the disk many times as long as a verdict takes to be written. Whoever begins a transaction does
    their part, lets all who wait do theirs, and commits for all of them. A part that fails leaves nothing; where the
    database fails, all are told so. Nobody is told that something is kept before it is.

    Args:
        engine: of the database.
        begin: called with each transaction that begins.
    """

    def __init__(self, engine: Engine, begin: Callable[[Connection], None]) -> None:
        self._engine, self._begin, self._turns = engine, begin, Turns()
        self._open: _Batch | None = None  # that the next one joins

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """One's part of a transaction; behind it, what was written is on the disk.

        Raises:
            SQLAlchemyError: the database cannot be written, by one's own part or by that of another.
        """
        failed: BaseException | None = None
        with self._turns.turn():
            leads, batch = self._open is None, self._open or self._opened()
            try:
                with batch.connection.begin_nested():
                    yield batch.connection
            except BaseException as error:  # noqa: BLE001  raised below, once the parts of others are settled
                failed = error
                if isinstance(error, SQLAlchemyError) and not isinstance(error, IntegrityError):
                    self._settle(batch, error)  # the database may have forgotten all parts
        while leads and not batch.settled.is_set():  # also for others, whatever interrupts
            try:
                with self._turns.turn():
                    self._settle(batch, None)
            except BaseException as error:  # noqa: BLE001  as above
                failed = error
        if failed is not None:
            raise failed
        batch.settled.wait()
        if batch.error is not None:
            raise batch.error

    def _opened(self) -> _Batch:
        connection = self._engine.connect()
        try:
            batch = _Batch(connection, connection.begin())
            self._begin(connection)
        except BaseException:
            connection.close()
            raise
        self._open = batch
        return batch

    def _settle(self, batch: _Batch, error: BaseException | None) -> None:
        """Commit, or take all back; whose turn it is does so."""
        if batch.settled.is_set():
            return
        self._open, batch.error = None, error
        try:
            if error is None:
                batch.transaction.commit()
        except BaseException as why:  # noqa: BLE001  told to all
            batch.error = why
        finally:
            with suppress(SQLAlchemyError):
                if batch.error is not None:
                    batch.connection.invalidate()  # the transaction ends with its connection, whatever state it is in
                batch.connection.close()
            batch.settled.set()

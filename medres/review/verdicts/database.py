"""The database behind a review store: opened so that what was acknowledged is on the disk, or refused by name.

SQLite keeps a rollback journal: between two saves `reviews.db` by itself is the whole store, and a copy of it is one,
too. A write-ahead log, which earlier versions kept, held verdicts that a copy of the file did not.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from random import uniform
from time import monotonic, sleep
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, OperationalError

from medres.errors import OutputExists, StoreError, UsageError
from medres.files import ensure_file
from medres.review.verdicts.mounts import Mount, mounted, share_below

BUSY_SECONDS = 10.0  # how long a writer waits for another program
_ASK_EVERY = 0.004  # seconds at most
WRITES = "medres_writes"  # the execution option of transactions that write
DAMAGED = "STORE_DAMAGED"
"""The code of a store that holds verdicts that may still be read: see `salvage`."""

_REMEDY = (
    "restore its last backup (`medres verdicts restore BACKUP`), or save what can be read (`medres verdicts export`)"
)
_ELSEWHERE = "give --store a file on a disk of this machine, or PostgreSQL"
_WRITERS = 0x6D6564726573  # "medres": the number of the lock that PostgreSQL's writers take


def sqlite_file(url: URL) -> Path | None:
    """The file of a SQLite store; None for another database.

    Raises:
        StoreError: the URL names no file, or says more than a file.
    """
    if url.get_backend_name() != "sqlite":
        return None
    if not url.database or url.database == ":memory:" or url.query.get("mode") == "memory":
        raise StoreError(
            "a review store in memory would lose every verdict when the app ends: name a file, "
            "for example --store sqlite:////data/reviews.db",
            code="STORE_IN_MEMORY",
        )
    if url.query or url.host or url.username or url.database.startswith("file:"):
        raise StoreError("the review store's URL says more than its file: sqlite:/// and a path are enough")
    return Path(url.database)


def need_store(url: str) -> Path | None:
    """The file of a SQLite store that is there: who asks after verdicts does not make an empty one.

    Returns:
        None of another database, and of an address that is none: whoever opens it is told.

    Raises:
        UsageError: there is no such file.
        StoreError: as `sqlite_file`.
    """
    try:
        path = sqlite_file(make_url(url))
    except ArgumentError:
        return None
    if path is not None and not path.exists():
        raise UsageError(f"{path} does not exist: there are no verdicts yet, or --store names another file")
    return path


def open_engine(url: URL, *, mounts: Sequence[Mount] | None = None) -> Engine:
    """The engine of a store.

    Args:
        url: of SQLite or PostgreSQL.
        mounts: what is mounted; the kernel's table if None.

    Raises:
        StoreError: the store is in memory, on a network share, a copy without its log, or in no folder.
    """
    path = sqlite_file(url)
    if path is None:
        return create_engine(url, pool_pre_ping=True)
    if not path.parent.is_dir():
        raise StoreError(f"the review store's folder {path.parent} does not exist")
    refuse_share(path, mounted() if mounts is None else mounts)
    if path.exists():
        _refuse_halves(path)
    else:
        try:
            ensure_file(path)  # for its owner alone, and so are the files that SQLite puts beside it
        except OutputExists as error:
            raise StoreError(f"the review store cannot be opened: {error}") from None
        except OSError as error:
            raise StoreError(f"the review store cannot be opened: {error.strerror}") from None
    engine = create_engine(url, connect_args={"timeout": BUSY_SECONDS})

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _: object) -> None:
        connection.isolation_level = None  # transactions begin where `_begin` says, not where the driver guesses
        prepare(connection)

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # A writer that began as a reader could only fail when it finds that another one was faster.
        if connection.get_execution_options().get(WRITES, False):
            _begin_writing(connection)
        else:
            connection.exec_driver_sql("BEGIN")

    return engine


def _begin_writing(connection: Connection) -> None:
    """Wait for other programs' writers, and ask often: between two of theirs there may be a few milliseconds.

    SQLite's own waiting asks ten times a second, and would seldom meet them.
    """
    until = monotonic() + BUSY_SECONDS
    connection.exec_driver_sql("PRAGMA busy_timeout=0")
    try:
        while True:
            try:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            except OperationalError as error:
                if "locked" not in str(error.orig) or monotonic() > until:
                    raise
                sleep(uniform(0, _ASK_EVERY))
            else:
                return
    finally:
        connection.exec_driver_sql(f"PRAGMA busy_timeout={round(BUSY_SECONDS * 1000)}")


def prepare(connection: sqlite3.Connection) -> None:
    """Set what every connection to a SQLite store has.

    EXTRA is FULL, and the folder as well: without it a crash of the machine could bring a journal back, and with it the
    time before a verdict that was acknowledged.

    Raises:
        StoreError: another program holds the file open as earlier versions did.
    """
    connection.execute(f"PRAGMA busy_timeout={round(BUSY_SECONDS * 1000)}")
    for pragma in ("synchronous=EXTRA", "fullfsync=ON", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")
    try:
        (mode,) = connection.execute("PRAGMA journal_mode=DELETE").fetchone()
    except sqlite3.OperationalError as error:
        if "locked" not in str(error):
            raise
        mode = "wal"
    if mode != "delete":
        raise StoreError(
            "another program holds the review store open with a write-ahead log, as earlier versions of medres did: "
            "end it, then try again"
        )


def refuse_share(path: Path, mounts: Sequence[Mount]) -> None:
    """Say no to a folder on a network share.

    Raises:
        StoreError: names the file system and where it is mounted.
    """
    share = share_below(path.parent.resolve(), mounts)
    if share is not None:
        raise StoreError(
            f"{path} lies on a network share ({share.kind}, mounted at {share.place}), where SQLite's locks do not "
            f"hold and verdicts can be lost: {_ELSEWHERE}",
            code="STORE_ON_SHARE",
        )


def _refuse_halves(path: Path) -> None:
    """A file that says it has a write-ahead log, and has no table: what it held is in the log that was not copied."""
    try:
        with path.open("rb") as file:
            head = file.read(112)
    except OSError:
        return  # SQLite says what is wrong with it
    logged = head[:16] == b"SQLite format 3\0" and head[18:20] == b"\x02\x02"
    tables = len(head) > 105 and head[100] == 0x0D and int.from_bytes(head[103:105], "big") == 0
    log = path.with_name(f"{path.name}-wal")
    if logged and tables and not (log.is_file() and log.stat().st_size):
        raise StoreError(
            f"{path} is half of a store of an earlier medres: what it held is in {log.name}, which is missing; copy "
            "both files from where they were, or delete this one",
            code="STORE_WITHOUT_LOG",
        )


def refuse_damaged(connection: Connection) -> None:
    """Say no to a SQLite file that is not whole.

    Raises:
        StoreError: with the code DAMAGED.
    """
    if connection.dialect.name == "sqlite":
        found = str(connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one())
        if found != "ok":
            raise damaged("its pages contradict each other")


def damaged(why: str) -> StoreError:
    """The refusal of a damaged store, with its remedy."""
    return StoreError(f"the review store is damaged ({why}): {_REMEDY}", code=DAMAGED)


def is_damage(error: BaseException) -> bool:
    """Whether what a driver raised says that a SQLite file is not whole."""
    return any(said in str(error) for said in ("malformed", "not a database", "disk image"))


def take_turn(connection: Connection) -> None:
    """Let no other writer come between what is read and what is written, and the disk have it before it is said.

    SQLite's writers have begun with the lock; PostgreSQL's take one here, first come, first served.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(
            text("SELECT pg_advisory_xact_lock(:number), set_config('synchronous_commit', 'on', true)"),
            {"number": _WRITERS},
        )

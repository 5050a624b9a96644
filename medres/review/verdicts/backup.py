"""Copies of a store that are whole, made while readers go on saving, and put back.

A backup is a SQLite file whatever the store is: a review store by itself, which `medres app --store` opens.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex

from sqlalchemy import Connection, delete, func, insert, make_url, select

from medres.documents import read_document
from medres.errors import OutputExists, StoreError, UsageError
from medres.files import ensure_file, refuse_link
from medres.review.schema import Base
from medres.review.store import ReviewStore
from medres.review.verdicts import audit, database, rows
from medres.review.verdicts.verification import EXPORT, Kept, refuse_faulty

_AT_A_TIME = 1000  # rows that are carried over at once


@dataclass(frozen=True, slots=True)
class Copied:
    """What a backup or a restored store holds."""

    verdicts: int
    head: audit.Head
    kept: Path | None = None  # where the store that was replaced lies now


def url_of(path: Path) -> str:
    """The URL of a SQLite file."""
    return f"sqlite:///{path.resolve().as_posix()}"


def back_up(url: str, out: Path) -> Copied:
    """Write a copy of a store as it is at one moment, also while others save into it.

    Raises:
        OutputExists: `out` is there already.
        StoreError: the store cannot be opened or read, or the copy is not whole.
    """
    if out.exists() or out.is_symlink():
        raise OutputExists(f"{out} is there already: a backup never takes the place of another one")
    if not out.parent.is_dir():
        raise UsageError(f"the folder {out.parent} does not exist")
    with _beside(out) as copy:
        with ReviewStore.open(url) as store:
            if store.path is not None:
                _copy_pages(store.path, copy)
            else:
                with ReviewStore.open(url_of(copy)) as target:
                    _copy_rows(store, target)
        with ReviewStore.open(url_of(copy)) as written:
            found = _counted(written)
        copy.replace(out)
    return found


def restore(backup: Path, url: str, *, force: bool = False) -> Copied:
    """Put a backup in the place of a store; an app that has the store open goes on with what was restored.

    Args:
        backup: what `back_up` wrote, or any whole SQLite store.
        url: of the store.
        force: replace verdicts that are there; they are kept in a file beside.

    Raises:
        OutputExists: the store holds verdicts, and `force` is not given.
        StoreError: the backup is not whole, or the store cannot be written.
    """
    with opened_copy(backup) as source:
        refuse_faulty(source, str(backup))
        source.note("restore", "", {"lines": source.head().number})
        path = database.sqlite_file(make_url(url))
        kept = _restore_rows(source, url, backup, force) if path is None else _restore_file(source, path, force)
        found = _counted(source)
    return Copied(found.verdicts, found.head, kept)


@contextmanager
def opened_copy(backup: Path) -> Iterator[ReviewStore]:
    """A store that is a copy of a backup, brought to today's schema; the backup itself is only read.

    Raises:
        UsageError: there is no such file.
        StoreError: it is damaged, or no store.
    """
    if not backup.is_file():
        raise UsageError(f"{backup} is no file: name a backup of `medres verdicts backup`")
    import tempfile

    with tempfile.TemporaryDirectory(prefix="medres-verdicts-") as folder:
        copy = Path(folder) / "copy.db"
        ensure_file(copy)
        try:
            _copy_pages(backup, copy)
            with closing(sqlite3.connect(copy)) as held:
                verdicts = held.execute("SELECT 1 FROM sqlite_master WHERE name = 'verdicts'").fetchone()
        except sqlite3.Error as error:
            raise StoreError(f"{backup} is damaged, or no backup: {error}") from None
        if verdicts is None:  # an empty file is an empty database
            raise StoreError(f"{backup} holds no verdicts at all: it is no backup")
        with ReviewStore.open(url_of(copy)) as store:
            yield store


def kept_head(path: Path) -> audit.Head:
    """The head that a backup, or an export (its folder or `verdicts.json`), keeps.

    Raises:
        UsageError, StoreError: it is neither.
    """
    if path.is_dir() or path.suffix == ".json":
        return read_document(path / EXPORT if path.is_dir() else path, Kept).head()
    with opened_copy(path) as copy:
        return copy.head()


def _counted(store: ReviewStore) -> Copied:
    with store.reading() as connection:
        count = connection.execute(select(func.count()).select_from(rows.TABLE)).scalar_one()
        return Copied(int(count), audit.head(connection))


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """A private file beside another one, to fill and to move."""
    refuse_link(path)
    temporary = path.with_name(f".{path.name[:50]}.{token_hex(8)}.partial")
    ensure_file(temporary)
    try:
        yield temporary
    finally:
        for name in (temporary, temporary.with_name(f"{temporary.name}-journal")):
            name.unlink(missing_ok=True)


def _copy_pages(source: Path, target: Path) -> None:
    """SQLite's own copy of a database at one moment; whoever has the target open sees the old one or the new one."""
    with (
        closing(sqlite3.connect(source.resolve().as_uri() + "?mode=ro", uri=True)) as old,
        closing(sqlite3.connect(target, timeout=database.BUSY_SECONDS)) as new,
    ):
        old.execute(f"PRAGMA busy_timeout={round(database.BUSY_SECONDS * 1000)}")
        new.execute("PRAGMA synchronous=EXTRA")
        old.backup(new)
        if new.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
            raise sqlite3.DatabaseError("database disk image is malformed")


def _restore_file(source: ReviewStore, path: Path, force: bool) -> Path | None:
    """The copy's pages into the store's file."""
    database.open_engine(make_url(url_of(path))).dispose()  # a folder that a store may lie in; the file is made
    old = source.path
    assert old is not None  # a copy is a file
    kept = None
    if path.stat().st_size:
        if not force and _holds_verdicts(path):
            raise OutputExists(f"{path} holds verdicts: --force replaces them, and keeps them in a file beside it")
        kept = _until(path)
        _keep(path, kept)
    try:
        _copy_pages(old, path)
    except sqlite3.DatabaseError as error:
        if not database.is_damage(error):
            raise StoreError(f"{path} cannot be written: {error}") from None
        with _beside(path) as fresh:  # what lies there is no database that could be written into
            shutil.copyfile(old, fresh)
            fresh.replace(path)
    return kept


def _until(path: Path) -> Path:
    """Where a store is kept that is replaced now."""
    return path.with_name(f"{path.name}.until-{datetime.now(UTC):%Y%m%dT%H%M%S.%f}Z")


def _holds_verdicts(path: Path) -> bool:
    """Whether a file holds any; a damaged one may."""
    try:
        with ReviewStore.open(url_of(path)) as store:
            return _counted(store).verdicts > 0
    except StoreError:
        return True


def _keep(path: Path, kept: Path) -> None:
    ensure_file(kept)
    try:
        _copy_pages(path, kept)
    except sqlite3.Error:  # damaged: its bytes are kept as they are
        shutil.copyfile(path, kept)
        journal = path.with_name(f"{path.name}-journal")
        with suppress(FileNotFoundError):
            shutil.copyfile(journal, kept.with_name(f"{kept.name}-journal"))


def _restore_rows(source: ReviewStore, url: str, backup: Path, force: bool) -> Path | None:
    """The copy's rows into another database, in one transaction."""
    with ReviewStore.open(url) as store:
        kept = None
        if _counted(store).verdicts:
            if not force:
                raise OutputExists("the store holds verdicts: --force replaces them, and keeps them beside the backup")
            kept = _until(backup)
            back_up(url, kept)
        _copy_rows(source, store)
    return kept


def _copy_rows(source: ReviewStore, target: ReviewStore) -> None:
    """Every row of every table, as it is at one moment, in place of what is there."""
    with source.reading() as old, target.writing("written") as new:
        if old.dialect.name == "postgresql":
            old = old.execution_options(isolation_level="REPEATABLE READ")
        for table in Base.metadata.sorted_tables:
            new.execute(delete(table))
            for part in old.execute(select(table)).mappings().partitions(_AT_A_TIME):
                new.execute(insert(table), [dict(row) for row in part])
        _count_on(new)


def _count_on(connection: Connection) -> None:
    """PostgreSQL's counters do not see ids that were written by hand."""
    if connection.dialect.name != "postgresql":
        return
    for table in Base.metadata.sorted_tables:
        if "id" in table.c:
            place = func.pg_get_serial_sequence(table.name, "id")
            highest = select(func.coalesce(func.max(table.c.id), 0) + 1).scalar_subquery()
            connection.execute(select(func.setval(place, highest, False)))

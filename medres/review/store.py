"""Verdicts of clinicians, kept: an append-only history in SQLite or PostgreSQL.

Nothing here changes or deletes a verdict. A change of mind is one more row, and whoever saves must say which
revision they had before their eyes, so that nobody overrules a colleague without having read them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, cast, get_args

from sqlalchemy import URL, Connection, Engine, create_engine, event, func, make_url, select
from sqlalchemy.exc import ArgumentError, IntegrityError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.orm import Session

from medres.errors import OutputExists, StoreError
from medres.files import ensure_file
from medres.review import address
from medres.review.names import fault_of_name
from medres.review.schema import VerdictRow, upgrade

Opinion = Literal["agree", "disagree", "unsure"]
"""What a reviewer says of a model's call at its operating point."""

LONGEST_COMMENT = 4000  # characters
LONGEST_NAME = 200  # characters, of reviewers, labels and models
_BUSY_SECONDS = 5.0  # how long a writer waits for another one
_WRITES = "medres_writes"  # the execution option of transactions that write


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one reviewer said of one label of one image."""

    sop_instance_uid: str  # or the SHA-256 of the file, where several scored images have the same SOPInstanceUID
    model_id: str
    label: str
    verdict: Opinion
    reviewer: str
    comment: str = ""
    created_at: datetime | None = None  # UTC; set when saved
    revision: int = 0  # 1 for the first verdict on a label of an image; set when saved


class Conflict(StoreError):  # noqa: N818  reads as what it says: somebody else was faster
    """Somebody saved a verdict in between; `latest` is theirs, and nothing was written."""

    default_code = "CONFLICT"

    def __init__(self, latest: Verdict | None) -> None:
        whose = "the history of this image has changed" if latest is None else f"{latest.reviewer} has saved a verdict"
        super().__init__(f"{whose} since this page was opened; nothing was saved")
        self.latest = latest


class ReviewStore:
    """An open review store.

    >>> with ReviewStore.open("sqlite://") as store:
    ...     saved = store.save(Verdict("1.2.3", "m", "nodule", "agree", "R. Ader"), expected_revision=0)
    ...     store.latest("m")["1.2.3", "nodule"].revision
    1
    """

    def __init__(self, engine: Engine, secrets: tuple[str, ...] = ()) -> None:
        self._reading, self._secrets = engine, secrets
        self._writing_engine = engine.execution_options(**{_WRITES: True})

    @classmethod
    def open(cls, url: str) -> ReviewStore:
        """Open a store, creating or upgrading its tables.

        Args:
            url: an SQLAlchemy URL, for example `sqlite:////data/reviews.db` or `postgresql+psycopg://host/reviews`.
                Its password is in no message.

        Raises:
            StoreError: the URL is not one, the database cannot be opened, is damaged, or is of a newer schema.
        """
        secrets = address.secrets(url)
        try:
            engine = _engine(make_url(address.checked(url)))
        except (ArgumentError, NoSuchModuleError, ImportError, ValueError, TypeError) as error:
            said = address.without(_line(error), secrets)
            raise StoreError(f"the review store's URL cannot be used: {said}") from None
        store = cls(engine, secrets)
        try:
            with store._storing("opened"), store._writing_engine.begin() as connection:
                _refuse_damaged(connection)
                upgrade(connection)
        except StoreError:
            store.close()
            raise
        return store

    def __enter__(self) -> ReviewStore:
        """Already open."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Let all connections go."""
        self._reading.dispose()

    def save(self, verdict: Verdict, *, expected_revision: int) -> Verdict:
        """Add a verdict to the history, and return it with its revision and time.

        Args:
            verdict: its `created_at` and `revision` are set here.
            expected_revision: of the latest verdict that the reviewer saw; 0 if there was none.

        Raises:
            Conflict: the latest revision is another one.
            StoreError: the verdict is not one, or the database cannot be written; nothing was saved.
        """
        complete = replace(_checked(verdict), created_at=datetime.now(UTC), revision=expected_revision + 1)
        key = (verdict.sop_instance_uid, verdict.model_id, verdict.label)
        with self._storing("saved"):
            try:
                with Session(self._writing_engine) as session, session.begin():
                    rows = _of(*key).order_by(VerdictRow.revision.desc()).limit(1)
                    latest = session.scalars(rows).one_or_none()
                    if (latest.revision if latest else 0) != expected_revision:
                        raise Conflict(_verdict(latest) if latest else None)
                    session.add(_row(complete))
            except IntegrityError:  # where writers do not wait for each other, the unique constraint is the judge
                seen = self.history(*key)
                raise Conflict(seen[-1] if seen else None) from None
        return complete

    def latest(self, model_id: str) -> dict[tuple[str, str], Verdict]:
        """The latest verdict of every reviewed label, by (sop_instance_uid, label)."""
        newest = (
            select(VerdictRow.sop_instance_uid, VerdictRow.label, func.max(VerdictRow.revision).label("revision"))
            .where(VerdictRow.model_id == model_id)
            .group_by(VerdictRow.sop_instance_uid, VerdictRow.label)
            .subquery()
        )
        rows = (
            select(VerdictRow)
            .join(
                newest,
                (VerdictRow.sop_instance_uid == newest.c.sop_instance_uid)
                & (VerdictRow.label == newest.c.label)
                & (VerdictRow.revision == newest.c.revision),
            )
            .where(VerdictRow.model_id == model_id)
        )
        with self._storing("read"), Session(self._reading) as session:
            return {(row.sop_instance_uid, row.label): _verdict(row) for row in session.scalars(rows)}

    def history(self, sop_instance_uid: str, model_id: str, label: str) -> tuple[Verdict, ...]:
        """All verdicts on one label of one image, oldest first."""
        rows = _of(sop_instance_uid, model_id, label).order_by(VerdictRow.revision)
        with self._storing("read"), Session(self._reading) as session:
            return tuple(_verdict(row) for row in session.scalars(rows))

    @contextmanager
    def _storing(self, done: str) -> Iterator[None]:
        try:
            yield
        except SQLAlchemyError as error:
            said = address.without(_line(error), self._secrets)
            raise StoreError(f"the review store could not be {done}: {said}") from None


def _of(sop_instance_uid: str, model_id: str, label: str) -> Any:
    return select(VerdictRow).where(
        VerdictRow.sop_instance_uid == sop_instance_uid,
        VerdictRow.model_id == model_id,
        VerdictRow.label == label,
    )


def _verdict(row: VerdictRow) -> Verdict:
    return Verdict(
        sop_instance_uid=row.sop_instance_uid,
        model_id=row.model_id,
        label=row.label,
        verdict=cast(Opinion, row.verdict),  # the table's constraint holds it
        reviewer=row.reviewer,
        comment=row.comment,
        created_at=row.created_at,
        revision=row.revision,
    )


def _row(verdict: Verdict) -> VerdictRow:
    return VerdictRow(**{name: getattr(verdict, name) for name in Verdict.__slots__})


def _checked(verdict: Verdict) -> Verdict:
    """The verdict with its texts stripped; refused where a database could not return what it was given."""
    clean = replace(verdict, reviewer=verdict.reviewer.strip(), comment=verdict.comment.strip())
    if clean.verdict not in get_args(Opinion):
        raise StoreError(f"a verdict is one of {', '.join(get_args(Opinion))}, not {clean.verdict!r}")
    for name, text, longest in (
        ("the image's SOPInstanceUID", clean.sop_instance_uid, 64),  # a SHA-256 has 64, too
        ("the model's name", clean.model_id, LONGEST_NAME),
        ("the label", clean.label, LONGEST_NAME),
        ("the reviewer's name", clean.reviewer, LONGEST_NAME),
        ("the comment", clean.comment, LONGEST_COMMENT),
    ):
        if not text and name != "the comment":
            raise StoreError(f"{name} is missing; nothing was saved")
        if len(text) > longest:
            raise StoreError(f"{name} has {len(text)} characters, and at most {longest} are kept; nothing was saved")
        if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
            raise StoreError(f"{name} holds characters that are not text; nothing was saved")
    if fault := fault_of_name(clean.reviewer):
        raise StoreError(f"{fault}; nothing was saved")
    return clean


def _engine(url: URL) -> Engine:
    if url.get_backend_name() != "sqlite":
        return create_engine(url, pool_pre_ping=True)
    if url.database and url.database != ":memory:" and not Path(url.database).parent.is_dir():
        raise StoreError(f"the review store's folder {Path(url.database).parent} does not exist")
    whole = url.database and url.database != ":memory:" and not (url.query or url.host or url.username)
    if whole and not Path(str(url.database)).exists():
        try:
            ensure_file(Path(str(url.database)))  # for its owner alone, and so are the files that SQLite puts beside it
        except OutputExists as error:
            raise StoreError(f"the review store cannot be opened: {error}") from None
        except OSError as error:
            raise StoreError(f"the review store cannot be opened: {error.strerror}") from None
    engine = create_engine(url, connect_args={"timeout": _BUSY_SECONDS})

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _: object) -> None:
        connection.isolation_level = None  # transactions begin where `_begin` says, not where the driver guesses
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")
        connection.execute(f"PRAGMA busy_timeout={round(_BUSY_SECONDS * 1000)}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # A writer that began as a reader could only fail when it finds that another one was faster.
        writes = connection.get_execution_options().get(_WRITES, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _refuse_damaged(connection: Connection) -> None:
    if connection.dialect.name == "sqlite":
        found = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one()
        if found != "ok":
            raise StoreError("the review store is damaged; restore its last backup")


def _line(error: BaseException) -> str:
    """The cause in one line, without the statement and its values."""
    return " ".join(str(getattr(error, "orig", None) or error).split())

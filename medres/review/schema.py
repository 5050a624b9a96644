"""The tables of the review store, and how an older or empty database is brought up to them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import (
    CheckConstraint,
    Connection,
    DateTime,
    Dialect,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
    inspect,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from medres.errors import StoreError

MIGRATIONS = Path(__file__).with_name("migrations")


class UTCDateTime(TypeDecorator[datetime]):
    """An instant. Databases without time zones (SQLite) hold it in UTC; Python always sees it with its zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """To UTC; an instant without a zone is refused, since nobody knows when it was."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("an instant needs its time zone")
        instant = value.astimezone(UTC)
        return instant.replace(tzinfo=None) if dialect.name == "sqlite" else instant

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002  the base class names it
        """From UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Base(DeclarativeBase):
    """All tables of the store."""


def reader_of(name: str) -> str:
    """By what a reader is known, however the name is typed: without case and repeated spaces.

    >>> reader_of("Dr.  Zoë") == reader_of("dr. zoë")
    True
    """
    return " ".join(name.split()).casefold()


def _reader(context: Any) -> str:
    return reader_of(context.get_current_parameters()["reviewer"])


class VerdictRow(Base):
    """One opinion at one time. Rows are added, never changed: revision counts up per image, model and label."""

    __tablename__ = "verdicts"
    __table_args__ = (
        UniqueConstraint("sop_instance_uid", "model_id", "label", "revision", name="one_verdict_per_revision"),
        CheckConstraint("revision >= 1", name="revisions_count_from_one"),
        CheckConstraint("verdict IN ('agree', 'disagree', 'unsure', 'own', 'skipped')", name="known_verdict"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    sop_instance_uid: Mapped[str] = mapped_column(String(64))
    model_id: Mapped[str] = mapped_column(String(200))
    label: Mapped[str] = mapped_column(String(200))
    verdict: Mapped[str] = mapped_column(String(16))
    comment: Mapped[str] = mapped_column(Text)
    reviewer: Mapped[str] = mapped_column(String(200))  # as it is shown
    reader: Mapped[str] = mapped_column(Text, default=_reader)  # whom it names: `reader_of` it
    created_at: Mapped[datetime] = mapped_column(UTCDateTime)
    revision: Mapped[int]
    confidence: Mapped[int | None]
    grade: Mapped[str] = mapped_column(String(200), default="")
    corrected_label: Mapped[str] = mapped_column(String(200), default="")
    marks: Mapped[str] = mapped_column(Text, default="[]")  # JSON: see `record.marks_text`
    heatmap: Mapped[str] = mapped_column(String(16), default="")
    skip_reason: Mapped[str] = mapped_column(Text, default="")
    seconds_in_view: Mapped[float | None]
    heatmap_shown: Mapped[bool | None]
    called: Mapped[int | None]
    probability: Mapped[float | None]


class ReaderRow(Base):
    """Somebody whose verdicts the store keeps."""

    __tablename__ = "readers"
    __table_args__ = (UniqueConstraint("reader", name="one_row_per_reader"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(200))  # as it is shown
    reader: Mapped[str] = mapped_column(Text)
    added_at: Mapped[datetime] = mapped_column(UTCDateTime)


class DraftRow(Base):
    """What a reader has begun to say of an image, and not saved; it is replaced as they type."""

    __tablename__ = "drafts"

    reader: Mapped[str] = mapped_column(Text, primary_key=True)
    model_id: Mapped[str] = mapped_column(String(200), primary_key=True)
    sop_instance_uid: Mapped[str] = mapped_column(String(64), primary_key=True)
    content: Mapped[str] = mapped_column(Text)  # the page's own words
    saved_at: Mapped[datetime] = mapped_column(UTCDateTime)


class AuditRow(Base):
    """One line of the audit trail: each holds the hash of the one before."""

    __tablename__ = "audit"

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)  # 1, 2, … without gaps
    at: Mapped[str] = mapped_column(String(32))  # ISO 8601, UTC
    actor: Mapped[str] = mapped_column(String(200))  # a reader; "" for the program itself
    action: Mapped[str] = mapped_column(String(16))
    detail: Mapped[str] = mapped_column(Text)  # JSON
    hash: Mapped[str] = mapped_column(String(64))


def upgrade(connection: Connection) -> None:
    """Bring the database of an open transaction up to the newest known schema.

    Raises:
        StoreError: a newer medres has already changed the database in ways this one does not know.
    """
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    scripts = ScriptDirectory.from_config(config)
    known = {script.revision for script in scripts.walk_revisions()}
    found = MigrationContext.configure(connection).get_current_heads()
    for revision in found:
        if revision not in known:
            raise StoreError(
                f"the review store has schema {revision!r}, which this version of medres does not know; "
                "open it with the newer medres that wrote it, or name another --store",
                code="NEWER_STORE",
            )
    if not found and (others := inspect(connection).get_table_names()):
        raise StoreError(
            f"the database that --store names is not a review store: it holds tables of another program "
            f"({', '.join(sorted(others)[:3])}); name another file or database",
            code="FOREIGN_STORE",
        )
    if found == tuple(scripts.get_heads()):
        return

    def steps(current: Any, _: MigrationContext) -> Any:
        return scripts._upgrade_revs("head", current)  # what alembic's own `upgrade` command calls

    with EnvironmentContext(config, scripts, fn=steps, destination_rev="head") as environment:
        environment.configure(connection=connection, target_metadata=Base.metadata)
        environment.run_migrations()

"""Verdicts of readers, each with what they saw; the readers, their drafts, and the audit trail.

SQLite cannot change a constraint of a table, so the table of verdicts is written anew, in the one transaction of the
migration: whoever is interrupted finds the old one.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from medres.review.names import fault_of_name
from medres.review.schema import UTCDateTime, reader_of
from medres.review.verdicts import audit
from medres.review.verdicts.record import Verdict, digest

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

OLD = ("id", "sop_instance_uid", "model_id", "label", "verdict", "comment", "reviewer", "created_at", "revision")
EMPTY = {"grade": "", "corrected_label": "", "marks": "[]", "heatmap": "", "skip_reason": ""}


def upgrade() -> None:
    connection = op.get_bind()
    kept = connection.execute(_old()).mappings().all()
    op.drop_table("verdicts")
    verdicts = op.create_table(
        "verdicts",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("sop_instance_uid", sa.String(64), nullable=False),
        sa.Column("model_id", sa.String(200), nullable=False),
        sa.Column("label", sa.String(200), nullable=False),
        sa.Column("verdict", sa.String(16), nullable=False),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.Column("reviewer", sa.String(200), nullable=False),
        sa.Column("reader", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("confidence", sa.Integer(), nullable=True),
        sa.Column("grade", sa.String(200), nullable=False),
        sa.Column("corrected_label", sa.String(200), nullable=False),
        sa.Column("marks", sa.Text(), nullable=False),
        sa.Column("heatmap", sa.String(16), nullable=False),
        sa.Column("skip_reason", sa.Text(), nullable=False),
        sa.Column("seconds_in_view", sa.Double(), nullable=True),
        sa.Column("heatmap_shown", sa.Boolean(), nullable=True),
        sa.Column("called", sa.Integer(), nullable=True),
        sa.Column("probability", sa.Double(), nullable=True),
        sa.UniqueConstraint("sop_instance_uid", "model_id", "label", "revision", name="one_verdict_per_revision"),
        sa.CheckConstraint("revision >= 1", name="revisions_count_from_one"),
        sa.CheckConstraint("verdict IN ('agree', 'disagree', 'unsure', 'own', 'skipped')", name="known_verdict"),
    )
    readers = op.create_table(
        "readers",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("reader", sa.Text(), nullable=False),
        sa.Column("added_at", sa.DateTime(timezone=True), nullable=False),
        sa.UniqueConstraint("reader", name="one_row_per_reader"),
    )
    op.create_table(
        "drafts",
        sa.Column("reader", sa.Text(), primary_key=True),
        sa.Column("model_id", sa.String(200), primary_key=True),
        sa.Column("sop_instance_uid", sa.String(64), primary_key=True),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("saved_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_table(
        "audit",
        sa.Column("number", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("at", sa.String(32), nullable=False),
        sa.Column("actor", sa.String(200), nullable=False),
        sa.Column("action", sa.String(16), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
    )
    listed: set[str] = set()
    for row in kept:
        reader = reader_of(row["reviewer"])
        connection.execute(sa.insert(verdicts).values(**row, reader=reader, **EMPTY))
        _note(connection, row)
        if reader not in listed and not fault_of_name(row["reviewer"]):  # a name with markup is nobody to choose
            listed.add(reader)
            name = " ".join(row["reviewer"].split())
            connection.execute(sa.insert(readers).values(name=name, reader=reader, added_at=row["created_at"]))


def _old() -> sa.Select[tuple[object, ...]]:
    table = sa.table("verdicts", *(sa.column(name, UTCDateTime() if name == "created_at" else None) for name in OLD))
    return sa.select(table).order_by(table.c.id)


def _note(connection: sa.Connection, row: sa.RowMapping) -> None:
    """The line of the audit trail that holds a verdict of before there was one."""
    verdict = Verdict(**{name: row[name] for name in OLD if name != "id"})
    told: audit.Detail = {"digest": digest(verdict), "image": verdict.sop_instance_uid, "label": verdict.label,
            "model": verdict.model_id, "revision": verdict.revision}  # fmt: skip
    audit.append(connection, "migrate", verdict.reviewer, told)


def downgrade() -> None:
    raise NotImplementedError("verdicts are never dropped; restore a backup instead")

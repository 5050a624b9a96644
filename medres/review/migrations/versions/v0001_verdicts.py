"""The baseline: the append-only table of verdicts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "verdicts",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("sop_instance_uid", sa.String(64), nullable=False),
        sa.Column("model_id", sa.String(200), nullable=False),
        sa.Column("label", sa.String(200), nullable=False),
        sa.Column("verdict", sa.String(16), nullable=False),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.Column("reviewer", sa.String(200), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.UniqueConstraint("sop_instance_uid", "model_id", "label", "revision", name="one_verdict_per_revision"),
        sa.CheckConstraint("revision >= 1", name="revisions_count_from_one"),
        sa.CheckConstraint("verdict IN ('agree', 'disagree', 'unsure')", name="known_verdict"),
    )


def downgrade() -> None:
    raise NotImplementedError("verdicts are never dropped; restore a backup instead")

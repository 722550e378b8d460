"""Late and overlapping runs, events, declared tasks, and what the ledger needs to tell."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from modules.core.column_types import UtcDateTime

JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


# A process of the version before goes on writing rows without these: each may be missing.
def _added() -> dict[str, tuple[sa.Column[Any], ...]]:
    return {
        "scheduler_events": (
            sa.Column("overlap_key", sa.String(length=200), nullable=True),
            sa.Column("others_open", sa.Integer(), server_default="0", nullable=False),
            sa.Column("catch_up_limit", sa.Integer(), nullable=True),
            sa.Column("expires_at", UtcDateTime(), nullable=True),
            sa.Column("on_event", sa.String(length=100), nullable=True),
            sa.Column("on_task_id", sa.String(length=36), nullable=True),
            sa.Column("paused_at", UtcDateTime(), nullable=True),
            sa.Column("pause_actor", sa.String(length=100), nullable=True),
            sa.Column("declared_by", sa.String(length=100), nullable=True),
            sa.Column("declaration", sa.String(length=64), nullable=True),
        ),
        "scheduler_executions": (
            sa.Column("overlap_key", sa.String(length=200), nullable=True),
            sa.Column("parameters", JSON, nullable=True),
            sa.Column("actor", sa.String(length=100), nullable=True),
        ),
        "scheduler_missed_runs": (sa.Column("detail", sa.Text(), nullable=True),),
    }


def upgrade() -> None:
    for table, columns in _added().items():
        for column in columns:
            op.add_column(table, column)
    op.create_index(
        "ix_scheduler_executions_overlap_key",
        "scheduler_executions",
        ["overlap_key", "id"],
        sqlite_where=sa.text("success IS NULL AND overlap_key IS NOT NULL"),
        postgresql_where=sa.text("success IS NULL AND overlap_key IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_index("ix_scheduler_executions_overlap_key", table_name="scheduler_executions")
    for table, columns in reversed(_added().items()):
        with op.batch_alter_table(table, schema=None) as batch_op:
            for column in reversed(columns):
                batch_op.drop_column(column.name)

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
            sa.Column("catch_up_limit", sa.Integer(), nullable=True),
            sa.Column("expires_at", UtcDateTime(), nullable=True),
            sa.Column("on_event", sa.String(length=100), nullable=True),
            sa.Column("on_task_id", sa.String(length=36), nullable=True),
            sa.Column("watched", sa.Boolean(), nullable=True),
            sa.Column("paused_at", UtcDateTime(), nullable=True),
            sa.Column("pause_actor", sa.String(length=100), nullable=True),
            sa.Column("declared_by", sa.String(length=100), nullable=True),
            sa.Column("declaration", sa.String(length=64), nullable=True),
        ),
        "scheduler_executions": (
            sa.Column("overlap_key", sa.String(length=200), nullable=True),
            sa.Column("parameters", JSON, nullable=True),
            sa.Column("cause", JSON, nullable=True),
            sa.Column("actor", sa.String(length=100), nullable=True),
        ),
        "scheduler_missed_runs": (sa.Column("detail", sa.Text(), nullable=True),),
    }


_PAUSES_THAT_END = "status = 'paused' AND paused_until IS NOT NULL"
_INDEXES = (
    ("ix_scheduler_events_paused_until", "scheduler_events", ["paused_until"], _PAUSES_THAT_END),
    ("ix_scheduler_events_on_event", "scheduler_events", ["on_event", "id"], "on_event IS NOT NULL"),
    ("ix_scheduler_events_on_task_id", "scheduler_events", ["on_task_id", "id"], "on_task_id IS NOT NULL"),
    (
        "ix_scheduler_executions_waiting",
        "scheduler_executions",
        ["event_id", "kind", "scheduled_for"],
        "state = 'ready'",
    ),
)


def _downtimes() -> tuple[Any, ...]:
    return (
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("from_time", UtcDateTime(), nullable=False),
        sa.Column("until_time", UtcDateTime(), nullable=True),
        sa.Column("node_id", sa.String(length=36), nullable=True),
        sa.Column("tasks", sa.Integer(), nullable=True),
        sa.Column("fire_times", sa.BigInteger(), nullable=True),
        sa.Column("to_run", sa.BigInteger(), nullable=True),
        sa.Column("complete", sa.Boolean(), nullable=True),
        sa.CheckConstraint("until_time IS NULL OR from_time <= until_time", name=op.f("ck_scheduler_downtimes_span")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_scheduler_downtimes")),
    )


def upgrade() -> None:
    op.create_table("scheduler_downtimes", *_downtimes())
    for table, columns in _added().items():
        for column in columns:
            op.add_column(table, column)
    for name, table, of, where in _INDEXES:
        op.create_index(name, table, of, sqlite_where=sa.text(where), postgresql_where=sa.text(where))


def downgrade() -> None:
    for name, table, _, _ in reversed(_INDEXES):
        op.drop_index(name, table)
    for table, columns in reversed(_added().items()):
        with op.batch_alter_table(table, schema=None) as batch_op:
            for column in reversed(columns):
                batch_op.drop_column(column.name)
    op.drop_table("scheduler_downtimes")

"""The queues are read by priority, then by time."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

DUE = sa.text("status = 'pending' AND active_execution_id IS NULL")
READY = sa.text("state = 'ready'")


def upgrade() -> None:
    op.drop_index("ix_scheduler_events_due", table_name="scheduler_events")
    op.create_index(
        "ix_scheduler_events_due",
        "scheduler_events",
        ["priority", "next_execution", "id", "module_id", "function_name"],
        sqlite_where=DUE,
        postgresql_where=DUE,
    )
    op.drop_index("ix_scheduler_executions_ready", table_name="scheduler_executions")
    op.create_index(
        "ix_scheduler_executions_ready",
        "scheduler_executions",
        ["priority", "run_at", "id"],
        sqlite_where=READY,
        postgresql_where=READY,
    )


def downgrade() -> None:
    op.drop_index("ix_scheduler_executions_ready", table_name="scheduler_executions")
    op.create_index(
        "ix_scheduler_executions_ready", "scheduler_executions", ["run_at"], sqlite_where=READY, postgresql_where=READY
    )
    op.drop_index("ix_scheduler_events_due", table_name="scheduler_events")
    op.create_index(
        "ix_scheduler_events_due", "scheduler_events", ["next_execution"], sqlite_where=DUE, postgresql_where=DUE
    )

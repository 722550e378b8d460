"""Nodes say where they run, what they hold, how their clock stands and what blocked their event loop."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


# A process of the version before goes on writing its row without these: each may be missing or has a default.
def _added() -> tuple[sa.Column[Any], ...]:
    return (
        sa.Column("host", sa.String(length=255), nullable=True),
        sa.Column("pid", sa.Integer(), nullable=True),
        sa.Column("slots", sa.Integer(), nullable=True),
        sa.Column("lease_seconds", sa.Float(), nullable=True),
        sa.Column("running", sa.Integer(), server_default="0", nullable=False),
        sa.Column("drain_requested", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("clock_offset_ms", sa.Float(), nullable=True),
        sa.Column("loop_block", JSON, nullable=True),
        sa.Column("doorbell_port", sa.Integer(), nullable=True),
    )


def upgrade() -> None:
    for column in _added():
        op.add_column("scheduler_nodes", column)


def downgrade() -> None:
    with op.batch_alter_table("scheduler_nodes", schema=None) as batch_op:
        for column in reversed(_added()):
            batch_op.drop_column(column.name)

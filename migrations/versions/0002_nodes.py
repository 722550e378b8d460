"""Nodes say where they run, what they hold, how their clock stands and what blocked their event loop."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # A process of the version before goes on writing its row without these: each may be missing or has a default.
    with op.batch_alter_table("scheduler_nodes", schema=None) as batch_op:
        batch_op.add_column(sa.Column("host", sa.String(length=255), nullable=True))
        batch_op.add_column(sa.Column("pid", sa.Integer(), nullable=True))
        batch_op.add_column(sa.Column("slots", sa.Integer(), nullable=True))
        batch_op.add_column(sa.Column("lease_seconds", sa.Float(), nullable=True))
        batch_op.add_column(sa.Column("running", sa.Integer(), server_default="0", nullable=False))
        batch_op.add_column(sa.Column("drain_requested", sa.Boolean(), server_default=sa.false(), nullable=False))
        batch_op.add_column(sa.Column("clock_offset_ms", sa.Float(), nullable=True))
        batch_op.add_column(sa.Column("loop_block", JSON, nullable=True))
        batch_op.add_column(sa.Column("doorbell_port", sa.Integer(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("scheduler_nodes", schema=None) as batch_op:
        for name in (
            "doorbell_port", "loop_block", "clock_offset_ms", "drain_requested", "running", "lease_seconds", "slots",
            "pid", "host",
        ):  # fmt: skip
            batch_op.drop_column(name)

"""The scheduler's tables: events, executions, missed runs, nodes, cleanup configs, API keys."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

MOMENT = sa.DateTime(timezone=True)
JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "scheduler_api_keys",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("prefix", sa.String(length=16), nullable=False),
        sa.Column("key_hash", sa.String(length=64), nullable=False),
        sa.Column("scope", sa.String(length=10), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("expires_at", MOMENT, nullable=True),
        sa.Column("revoked_at", MOMENT, nullable=True),
        sa.CheckConstraint("scope IN ('read', 'operate', 'admin')", name=op.f("ck_scheduler_api_keys_scope")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_scheduler_api_keys")),
        sa.UniqueConstraint("key_hash", name=op.f("uq_scheduler_api_keys_key_hash")),
    )
    op.create_table(
        "scheduler_cleanup_config",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("module_id", sa.String(length=100), nullable=False),
        sa.Column("cleanup_type", sa.String(length=50), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=True),
        sa.Column("config", JSON, nullable=False),
        sa.Column("retention", JSON, nullable=True),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("last_run", MOMENT, nullable=True),
        sa.Column("next_run", MOMENT, nullable=True),
        sa.Column("last_report", JSON, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_scheduler_cleanup_config")),
        sa.UniqueConstraint(
            "module_id", "cleanup_type", name=op.f("uq_scheduler_cleanup_config_module_id_cleanup_type")
        ),
    )
    op.create_table(
        "scheduler_events",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("module_id", sa.String(length=100), nullable=False),
        sa.Column("function_name", sa.String(length=100), nullable=False),
        sa.Column("parameters", JSON, nullable=False),
        sa.Column("recurring", sa.Boolean(), nullable=False),
        sa.Column("interval_type", sa.String(length=20), nullable=True),
        sa.Column("interval_value", sa.Integer(), nullable=True),
        sa.Column("cron_expression", sa.String(length=200), nullable=True),
        sa.Column("trigger", JSON, nullable=True),
        sa.Column("timezone", sa.String(length=64), nullable=False),
        sa.Column("anchor_time", MOMENT, nullable=True),
        sa.Column("end_time", MOMENT, nullable=True),
        sa.Column("next_execution", MOMENT, nullable=True),
        sa.Column("status", sa.String(length=20), nullable=False),
        sa.Column("last_execution", MOMENT, nullable=True),
        sa.Column("execution_count", sa.Integer(), nullable=False),
        sa.Column("max_executions", sa.Integer(), nullable=True),
        sa.Column("fired_count", sa.Integer(), nullable=False),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("active_execution_id", sa.String(length=36), nullable=True),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("overlap", sa.String(length=20), nullable=False),
        sa.Column("catch_up", sa.String(length=10), nullable=False),
        sa.Column("max_lateness_s", sa.Float(), nullable=True),
        sa.Column("jitter_s", sa.Float(), nullable=True),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("delivery", sa.String(length=20), nullable=False),
        sa.Column("retry", JSON, nullable=True),
        sa.Column("timeout_s", sa.Float(), nullable=True),
        sa.Column("unique_key", sa.String(length=200), nullable=True),
        sa.Column("tags", JSON, nullable=True),
        sa.Column("pause_reason", sa.Text(), nullable=True),
        sa.Column("paused_until", MOMENT, nullable=True),
        sa.Column("trace_session_id", sa.String(length=36), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.CheckConstraint("catch_up IN ('none', 'latest', 'all')", name=op.f("ck_scheduler_events_catch_up")),
        sa.CheckConstraint("delivery IN ('at_least_once', 'at_most_once')", name=op.f("ck_scheduler_events_delivery")),
        sa.CheckConstraint(
            "overlap IN ('skip', 'queue_one', 'queue_all', 'cancel_running', 'allow')",
            name=op.f("ck_scheduler_events_overlap"),
        ),
        sa.CheckConstraint(
            "status <> 'completed' OR next_execution IS NULL", name=op.f("ck_scheduler_events_completed_has_no_next")
        ),
        sa.CheckConstraint(
            "status IN ('pending', 'paused', 'completed', 'failed', 'cancelled')",
            name=op.f("ck_scheduler_events_status"),
        ),
        sa.CheckConstraint(
            "interval_value IS NULL OR interval_value > 0", name=op.f("ck_scheduler_events_interval_value")
        ),
        sa.CheckConstraint(
            "max_executions IS NULL OR fired_count <= max_executions", name=op.f("ck_scheduler_events_fired_count")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_scheduler_events")),
    )
    with op.batch_alter_table("scheduler_events", schema=None) as batch_op:
        batch_op.create_index(
            "ix_scheduler_events_due",
            ["next_execution"],
            unique=False,
            sqlite_where=sa.text("status = 'pending' AND active_execution_id IS NULL"),
            postgresql_where=sa.text("status = 'pending' AND active_execution_id IS NULL"),
        )
        batch_op.create_index("ix_scheduler_events_module_id", ["module_id", "function_name"], unique=False)
        batch_op.create_index(
            "ix_scheduler_events_status",
            ["status", "id"],
            unique=False,
            sqlite_where=sa.text("status <> 'pending'"),
            postgresql_where=sa.text("status <> 'pending'"),
        )
        batch_op.create_index(
            "uq_scheduler_events_unique_key",
            ["unique_key"],
            unique=True,
            sqlite_where=sa.text("status <> 'cancelled'"),
            postgresql_where=sa.text("status <> 'cancelled'"),
        )

    op.create_table(
        "scheduler_nodes",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("started_at", MOMENT, nullable=False),
        sa.Column("heartbeat_at", MOMENT, nullable=False),
        sa.Column("version", sa.String(length=40), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.CheckConstraint("state IN ('running', 'draining')", name=op.f("ck_scheduler_nodes_state")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_scheduler_nodes")),
    )
    op.create_table(
        "scheduler_executions",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("event_id", sa.String(length=36), nullable=False),
        sa.Column("start_time", MOMENT, nullable=False),
        sa.Column("end_time", MOMENT, nullable=True),
        sa.Column("success", sa.Boolean(), nullable=True),
        sa.Column("result", JSON, nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("error_type", sa.String(length=200), nullable=True),
        sa.Column("trace_session_id", sa.String(length=36), nullable=True),
        sa.Column("scheduled_for", MOMENT, nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("abandonments", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("run_at", MOMENT, nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("node_id", sa.String(length=36), nullable=True),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("lease_expires_at", MOMENT, nullable=True),
        sa.Column("cancel_requested", sa.Boolean(), nullable=False),
        sa.Column("duration_ms", sa.Float(), nullable=True),
        sa.Column("cpu_ms", sa.Float(), nullable=True),
        sa.Column("lateness_ms", sa.Float(), nullable=True),
        sa.CheckConstraint(
            "(success IS NULL) = (state IN ('ready', 'running')) AND (end_time IS NULL) = (success IS NULL)",
            name=op.f("ck_scheduler_executions_open_or_closed"),
        ),
        sa.CheckConstraint(
            "kind IN ('schedule', 'manual', 'event', 'backfill')", name=op.f("ck_scheduler_executions_kind")
        ),
        sa.CheckConstraint(
            "state <> 'running' OR (node_id IS NOT NULL AND lease_expires_at IS NOT NULL)",
            name=op.f("ck_scheduler_executions_leased"),
        ),
        sa.CheckConstraint(
            "state IN ('ready', 'running', 'succeeded', 'failed', 'timed_out', 'cancelled', 'interrupted', 'abandoned')",
            name=op.f("ck_scheduler_executions_state"),
        ),
        sa.ForeignKeyConstraint(
            ["event_id"],
            ["scheduler_events.id"],
            name=op.f("fk_scheduler_executions_event_id_scheduler_events"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_scheduler_executions")),
        sa.UniqueConstraint(
            "event_id",
            "scheduled_for",
            "kind",
            "attempt",
            name=op.f("uq_scheduler_executions_event_id_scheduled_for_kind_attempt"),
        ),
    )
    with op.batch_alter_table("scheduler_executions", schema=None) as batch_op:
        batch_op.create_index("ix_scheduler_executions_end_time", ["end_time"], unique=False)
        batch_op.create_index("ix_scheduler_executions_event_id", ["event_id", "id"], unique=False)
        batch_op.create_index(
            "ix_scheduler_executions_ready",
            ["run_at"],
            unique=False,
            sqlite_where=sa.text("state = 'ready'"),
            postgresql_where=sa.text("state = 'ready'"),
        )
        batch_op.create_index(
            "ix_scheduler_executions_running",
            ["lease_expires_at"],
            unique=False,
            sqlite_where=sa.text("state = 'running'"),
            postgresql_where=sa.text("state = 'running'"),
        )

    op.create_table(
        "scheduler_missed_runs",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("event_id", sa.String(length=36), nullable=False),
        sa.Column("from_time", MOMENT, nullable=False),
        sa.Column("until_time", MOMENT, nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("reason", sa.String(length=20), nullable=False),
        sa.Column("recorded_at", MOMENT, nullable=False),
        sa.CheckConstraint(
            "reason IN ('overlap', 'paused', 'excluded', 'expired', 'late', 'coalesced', 'cap', 'limit', 'edited', 'disabled')",
            name=op.f("ck_scheduler_missed_runs_reason"),
        ),
        sa.CheckConstraint("count > 0 AND from_time <= until_time", name=op.f("ck_scheduler_missed_runs_span")),
        sa.ForeignKeyConstraint(
            ["event_id"],
            ["scheduler_events.id"],
            name=op.f("fk_scheduler_missed_runs_event_id_scheduler_events"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_scheduler_missed_runs")),
    )
    with op.batch_alter_table("scheduler_missed_runs", schema=None) as batch_op:
        batch_op.create_index("ix_scheduler_missed_runs_event_id", ["event_id", "from_time"], unique=False)
        batch_op.create_index("ix_scheduler_missed_runs_recorded_at", ["recorded_at"], unique=False)


def downgrade() -> None:
    with op.batch_alter_table("scheduler_missed_runs", schema=None) as batch_op:
        batch_op.drop_index("ix_scheduler_missed_runs_recorded_at")
        batch_op.drop_index("ix_scheduler_missed_runs_event_id")

    op.drop_table("scheduler_missed_runs")
    with op.batch_alter_table("scheduler_executions", schema=None) as batch_op:
        batch_op.drop_index(
            "ix_scheduler_executions_running",
            sqlite_where=sa.text("state = 'running'"),
            postgresql_where=sa.text("state = 'running'"),
        )
        batch_op.drop_index(
            "ix_scheduler_executions_ready",
            sqlite_where=sa.text("state = 'ready'"),
            postgresql_where=sa.text("state = 'ready'"),
        )
        batch_op.drop_index("ix_scheduler_executions_event_id")
        batch_op.drop_index("ix_scheduler_executions_end_time")

    op.drop_table("scheduler_executions")
    op.drop_table("scheduler_nodes")
    with op.batch_alter_table("scheduler_events", schema=None) as batch_op:
        batch_op.drop_index(
            "uq_scheduler_events_unique_key",
            sqlite_where=sa.text("status <> 'cancelled'"),
            postgresql_where=sa.text("status <> 'cancelled'"),
        )
        batch_op.drop_index(
            "ix_scheduler_events_status",
            sqlite_where=sa.text("status <> 'pending'"),
            postgresql_where=sa.text("status <> 'pending'"),
        )
        batch_op.drop_index("ix_scheduler_events_module_id")
        batch_op.drop_index(
            "ix_scheduler_events_due",
            sqlite_where=sa.text("status = 'pending' AND active_execution_id IS NULL"),
            postgresql_where=sa.text("status = 'pending' AND active_execution_id IS NULL"),
        )

    op.drop_table("scheduler_events")
    op.drop_table("scheduler_cleanup_config")
    op.drop_table("scheduler_api_keys")

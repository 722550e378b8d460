"""The tables. Names and columns are public: operators read them with SQL.

A task at the door is an event here. Everything is UTC. States and bounds that must hold are constraints, so that a
mistake in the code is an error and not a wrong row.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Float,
    ForeignKey,
    Index,
    Integer,
    String,
    Text,
    UniqueConstraint,
    false,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from modules.core.database import Base, Json, UtcDateTime
from modules.core.scheduler.lifecycle import (
    CATCH_UP_POLICIES,
    DELIVERIES,
    EVENT_STATUSES,
    EXECUTION_KINDS,
    EXECUTION_STATES,
    MISSED_REASONS,
    NODE_STATES,
    OVERLAP_POLICIES,
)


def _one_of(column: str, values: tuple[str, ...]) -> str:
    return f"{column} IN ({', '.join(repr(value) for value in values)})"


class ScheduledEvent(Base):
    """Run this function, then, with these parameters."""

    __tablename__ = "scheduler_events"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    name: Mapped[str] = mapped_column(String(100))
    description: Mapped[str | None] = mapped_column(Text)
    module_id: Mapped[str] = mapped_column(String(100))
    function_name: Mapped[str] = mapped_column(String(100))
    parameters: Mapped[dict[str, Any]] = mapped_column(Json, nullable=False, default=dict)

    recurring: Mapped[bool] = mapped_column(Boolean, default=False)
    interval_type: Mapped[str | None] = mapped_column(String(20))
    interval_value: Mapped[int | None] = mapped_column(Integer)
    cron_expression: Mapped[str | None] = mapped_column(String(200))
    trigger: Mapped[dict[str, Any] | None] = mapped_column(Json)
    timezone: Mapped[str] = mapped_column(String(64), default="UTC")
    anchor_time: Mapped[datetime | None] = mapped_column(UtcDateTime)
    end_time: Mapped[datetime | None] = mapped_column(UtcDateTime)
    next_execution: Mapped[datetime | None] = mapped_column(UtcDateTime)

    status: Mapped[str] = mapped_column(String(20), default="pending")
    last_execution: Mapped[datetime | None] = mapped_column(UtcDateTime)
    execution_count: Mapped[int] = mapped_column(Integer, default=0)
    max_executions: Mapped[int | None] = mapped_column(Integer)
    fired_count: Mapped[int] = mapped_column(Integer, default=0)
    last_error: Mapped[str | None] = mapped_column(Text)
    active_execution_id: Mapped[str | None] = mapped_column(String(36))
    fence: Mapped[int] = mapped_column(Integer, default=0)

    overlap: Mapped[str] = mapped_column(String(20), default="skip")
    overlap_key: Mapped[str | None] = mapped_column(String(200))
    catch_up: Mapped[str] = mapped_column(String(10), default="latest")
    catch_up_limit: Mapped[int | None] = mapped_column(Integer)
    max_lateness_s: Mapped[float | None] = mapped_column(Float)
    expires_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    on_event: Mapped[str | None] = mapped_column(String(100))
    on_task_id: Mapped[str | None] = mapped_column(String(36))
    watched: Mapped[bool | None] = mapped_column(Boolean)
    jitter_s: Mapped[float | None] = mapped_column(Float)
    priority: Mapped[int] = mapped_column(Integer, default=0)
    delivery: Mapped[str] = mapped_column(String(20), default="at_least_once")
    retry: Mapped[dict[str, Any] | None] = mapped_column(Json)
    timeout_s: Mapped[float | None] = mapped_column(Float)

    unique_key: Mapped[str | None] = mapped_column(String(200))
    tags: Mapped[list[str] | None] = mapped_column(Json)
    pause_reason: Mapped[str | None] = mapped_column(Text)
    pause_actor: Mapped[str | None] = mapped_column(String(100))
    paused_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    paused_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    declared_by: Mapped[str | None] = mapped_column(String(100))
    declaration: Mapped[str | None] = mapped_column(String(64))
    trace_session_id: Mapped[str | None] = mapped_column(String(36))
    version: Mapped[int] = mapped_column(Integer, default=1)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime)

    __table_args__ = (
        CheckConstraint(_one_of("status", EVENT_STATUSES), name="status"),
        CheckConstraint(_one_of("overlap", OVERLAP_POLICIES), name="overlap"),
        CheckConstraint(_one_of("catch_up", CATCH_UP_POLICIES), name="catch_up"),
        CheckConstraint(_one_of("delivery", DELIVERIES), name="delivery"),
        CheckConstraint("max_executions IS NULL OR fired_count <= max_executions", name="fired_count"),
        CheckConstraint("interval_value IS NULL OR interval_value > 0", name="interval_value"),
        CheckConstraint("status <> 'completed' OR next_execution IS NULL", name="completed_has_no_next"),
        # A cancelled task gives its key back.
        Index(
            "uq_scheduler_events_unique_key",
            "unique_key",
            unique=True,
            sqlite_where=text("status <> 'cancelled'"),
            postgresql_where=text("status <> 'cancelled'"),
        ),
        # The dispatcher's question: what is due and free to start?
        Index(
            "ix_scheduler_events_due",
            "priority",
            "next_execution",
            "id",
            "module_id",
            "function_name",
            sqlite_where=text("status = 'pending' AND active_execution_id IS NULL"),
            postgresql_where=text("status = 'pending' AND active_execution_id IS NULL"),
        ),
        # Without the pending ones, which are most: SQLite would take it for the dispatcher's question.
        Index(
            "ix_scheduler_events_status",
            "status",
            "id",
            sqlite_where=text("status <> 'pending'"),
            postgresql_where=text("status <> 'pending'"),
        ),
        Index("ix_scheduler_events_module_id", "module_id", "function_name"),
        Index(
            "ix_scheduler_events_paused_until",
            "paused_until",
            sqlite_where=text("status = 'paused' AND paused_until IS NOT NULL"),
            postgresql_where=text("status = 'paused' AND paused_until IS NOT NULL"),
        ),
        Index(
            "ix_scheduler_events_on_event",
            "on_event",
            "id",
            sqlite_where=text("on_event IS NOT NULL"),
            postgresql_where=text("on_event IS NOT NULL"),
        ),
        Index(
            "ix_scheduler_events_on_task_id",
            "on_task_id",
            "id",
            sqlite_where=text("on_task_id IS NOT NULL"),
            postgresql_where=text("on_task_id IS NOT NULL"),
        ),
    )


class EventExecution(Base):
    """One attempt at one occurrence of an event. `success` is null while it is open."""

    __tablename__ = "scheduler_executions"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    event_id: Mapped[str] = mapped_column(ForeignKey("scheduler_events.id", ondelete="CASCADE"))
    start_time: Mapped[datetime] = mapped_column(UtcDateTime)
    end_time: Mapped[datetime | None] = mapped_column(UtcDateTime)
    success: Mapped[bool | None] = mapped_column(Boolean)
    result: Mapped[Any | None] = mapped_column(Json)
    error: Mapped[str | None] = mapped_column(Text)
    error_type: Mapped[str | None] = mapped_column(String(200))
    trace_session_id: Mapped[str | None] = mapped_column(String(36))

    scheduled_for: Mapped[datetime] = mapped_column(UtcDateTime)
    kind: Mapped[str] = mapped_column(String(20), default="schedule")
    attempt: Mapped[int] = mapped_column(Integer, default=1)
    failures: Mapped[int] = mapped_column(Integer, default=0)
    abandonments: Mapped[int] = mapped_column(Integer, default=0)
    state: Mapped[str] = mapped_column(String(20))
    run_at: Mapped[datetime] = mapped_column(UtcDateTime)
    overlap_key: Mapped[str | None] = mapped_column(String(200))
    parameters: Mapped[dict[str, Any] | None] = mapped_column(Json)
    cause: Mapped[dict[str, Any] | None] = mapped_column(Json)
    actor: Mapped[str | None] = mapped_column(String(100))
    priority: Mapped[int] = mapped_column(Integer, default=0)
    node_id: Mapped[str | None] = mapped_column(String(36))
    fence: Mapped[int] = mapped_column(Integer)
    lease_expires_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    cancel_requested: Mapped[bool] = mapped_column(Boolean, default=False)
    duration_ms: Mapped[float | None] = mapped_column(Float)
    cpu_ms: Mapped[float | None] = mapped_column(Float)
    lateness_ms: Mapped[float | None] = mapped_column(Float)

    __table_args__ = (
        UniqueConstraint("event_id", "scheduled_for", "kind", "attempt"),
        CheckConstraint(_one_of("state", EXECUTION_STATES), name="state"),
        CheckConstraint(_one_of("kind", EXECUTION_KINDS), name="kind"),
        CheckConstraint(
            "(success IS NULL) = (state IN ('ready', 'running')) AND (end_time IS NULL) = (success IS NULL)",
            name="open_or_closed",
        ),
        CheckConstraint("state <> 'running' OR (node_id IS NOT NULL AND lease_expires_at IS NOT NULL)", name="leased"),
        Index("ix_scheduler_executions_event_id", "event_id", "id"),
        Index("ix_scheduler_executions_end_time", "end_time"),
        Index(
            "ix_scheduler_executions_ready",
            "priority",
            "run_at",
            "id",
            sqlite_where=text("state = 'ready'"),
            postgresql_where=text("state = 'ready'"),
        ),
        # What waits of one task, in the order of its nominal times.
        Index(
            "ix_scheduler_executions_waiting",
            "event_id",
            "kind",
            "scheduled_for",
            sqlite_where=text("state = 'ready'"),
            postgresql_where=text("state = 'ready'"),
        ),
        Index(
            "ix_scheduler_executions_running",
            "lease_expires_at",
            sqlite_where=text("state = 'running'"),
            postgresql_where=text("state = 'running'"),
        ),
    )


class MissedRun(Base):
    """A span of nominal fire times that did not run, and why. Downtime costs one row per event, however long."""

    __tablename__ = "scheduler_missed_runs"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    event_id: Mapped[str] = mapped_column(ForeignKey("scheduler_events.id", ondelete="CASCADE"))
    from_time: Mapped[datetime] = mapped_column(UtcDateTime)
    until_time: Mapped[datetime] = mapped_column(UtcDateTime)
    count: Mapped[int] = mapped_column(Integer)
    reason: Mapped[str] = mapped_column(String(20))
    detail: Mapped[str | None] = mapped_column(Text)
    recorded_at: Mapped[datetime] = mapped_column(UtcDateTime)

    __table_args__ = (
        CheckConstraint(_one_of("reason", MISSED_REASONS), name="reason"),
        CheckConstraint("count > 0 AND from_time <= until_time", name="span"),
        Index("ix_scheduler_missed_runs_event_id", "event_id", "from_time"),
        Index("ix_scheduler_missed_runs_recorded_at", "recorded_at"),
    )


class SchedulerNode(Base):
    """A process that dispatches. Its id is new at each start; the row goes when the process stops in order.

    `running` and what follows are as of the last heartbeat; an operator's `drain_requested` is followed by the state
    as soon as the process has noticed.
    """

    __tablename__ = "scheduler_nodes"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    started_at: Mapped[datetime] = mapped_column(UtcDateTime)
    heartbeat_at: Mapped[datetime] = mapped_column(UtcDateTime)
    version: Mapped[str] = mapped_column(String(40))
    state: Mapped[str] = mapped_column(String(20))
    host: Mapped[str | None] = mapped_column(String(255))
    pid: Mapped[int | None] = mapped_column(Integer)
    slots: Mapped[int | None] = mapped_column(Integer)
    lease_seconds: Mapped[float | None] = mapped_column(Float)
    running: Mapped[int] = mapped_column(Integer, server_default="0")
    drain_requested: Mapped[bool] = mapped_column(Boolean, server_default=false())
    clock_offset_ms: Mapped[float | None] = mapped_column(Float)
    loop_block: Mapped[dict[str, Any] | None] = mapped_column(Json)
    doorbell_port: Mapped[int | None] = mapped_column(Integer)

    __table_args__ = (CheckConstraint(_one_of("state", NODE_STATES), name="state"),)


class SchedulerDowntime(Base):
    """A time in which no process dispatched: from the last sign of life to the next start, whose node this names.

    The counts are of fire times that fell into it; not `complete`, they are of the first tasks only. `until_time` is
    null in the row of the last process that stopped in order: the next start makes a downtime of it, or removes it.
    """

    __tablename__ = "scheduler_downtimes"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    from_time: Mapped[datetime] = mapped_column(UtcDateTime)
    until_time: Mapped[datetime | None] = mapped_column(UtcDateTime)
    node_id: Mapped[str | None] = mapped_column(String(36))
    tasks: Mapped[int | None] = mapped_column(Integer)
    fire_times: Mapped[int | None] = mapped_column(BigInteger)
    to_run: Mapped[int | None] = mapped_column(BigInteger)
    complete: Mapped[bool | None] = mapped_column(Boolean)

    __table_args__ = (CheckConstraint("until_time IS NULL OR from_time <= until_time", name="span"),)


class CleanupConfig(Base):
    """A cleanup that a module registered: what it may delete is allowed in code, this names it and sets numbers."""

    __tablename__ = "scheduler_cleanup_config"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    module_id: Mapped[str] = mapped_column(String(100))
    cleanup_type: Mapped[str] = mapped_column(String(50))
    name: Mapped[str | None] = mapped_column(String(100))
    config: Mapped[dict[str, Any]] = mapped_column(Json, nullable=False)
    retention: Mapped[dict[str, Any] | None] = mapped_column(Json)
    priority: Mapped[int] = mapped_column(Integer, default=0)
    enabled: Mapped[bool] = mapped_column(Boolean, default=True)
    last_run: Mapped[datetime | None] = mapped_column(UtcDateTime)
    next_run: Mapped[datetime | None] = mapped_column(UtcDateTime)
    last_report: Mapped[dict[str, Any] | None] = mapped_column(Json)

    __table_args__ = (UniqueConstraint("module_id", "cleanup_type"),)


class ApiKey(Base):
    """A key for the REST door. Only the SHA-256 of the secret is kept; `prefix` lets people tell keys apart."""

    __tablename__ = "scheduler_api_keys"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    name: Mapped[str] = mapped_column(String(100))
    prefix: Mapped[str] = mapped_column(String(16))
    key_hash: Mapped[str] = mapped_column(String(64))
    scope: Mapped[str] = mapped_column(String(10))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    expires_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    revoked_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    __table_args__ = (
        UniqueConstraint("key_hash"),
        CheckConstraint(_one_of("scope", ("read", "operate", "admin")), name="scope"),
    )

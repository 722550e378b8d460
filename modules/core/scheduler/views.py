"""Rows as the door shows them: here an event becomes a task."""

from __future__ import annotations

from copy import copy
from datetime import datetime
from typing import Any

from modules.core.scheduler.db_models import ApiKey, CleanupConfig, EventExecution, ScheduledEvent
from modules.core.scheduler.db_ops import damaged_columns


def shown_status(event: ScheduledEvent) -> str:
    """The stored status, or "running" while an execution of a pending task is open."""
    is_open = event.active_execution_id is not None or event.others_open
    return "running" if event.status == "pending" and is_open else event.status


def task_view(event: ScheduledEvent) -> dict[str, Any]:
    """A task with everything that its owner may want to know; times are aware UTC."""
    return {
        "id": event.id,
        "name": event.name,
        "description": event.description,
        "module_id": event.module_id,
        "function_name": event.function_name,
        "parameters": event.parameters,
        "status": shown_status(event),
        "recurring": event.recurring,
        "interval_type": event.interval_type,
        "interval_value": event.interval_value,
        "cron_expression": event.cron_expression,
        "timezone": event.timezone,
        "schedule_time": event.anchor_time,
        "end_time": event.end_time,
        "jitter_seconds": event.jitter_s,
        "on_event": event.on_event,
        **_in_trigger(event),
        "next_execution": event.next_execution,
        "last_execution": event.last_execution,
        "execution_count": event.execution_count,
        "max_executions": event.max_executions,
        "catch_up": event.catch_up,
        "catch_up_limit": event.catch_up_limit,
        "max_lateness_seconds": event.max_lateness_s,
        "expires_at": event.expires_at,
        "last_error": event.last_error,
        "active_execution_id": event.active_execution_id,
        "pause_reason": event.pause_reason,
        "pause_actor": event.pause_actor,
        "paused_at": event.paused_at,
        "paused_until": event.paused_until,
        "timeout_seconds": event.timeout_s,
        "retry": event.retry,
        "delivery": event.delivery,
        "overlap": event.overlap,
        "priority": event.priority,
        "unique_key": event.unique_key,
        "tags": event.tags or [],
        "version": event.version,
        "created_at": event.created_at,
        "updated_at": event.updated_at,
        "damaged": list(damaged_columns(event)),
    }


def _in_trigger(event: ScheduledEvent) -> dict[str, Any]:
    """The schedule fields that have no column; None where a row says something else than it may."""
    stored = event.trigger or {}
    shapes = {"start_time": str, "mode": str, "rrule": str, "triggers": list, "exclude": list, "on_task": dict}
    return {name: copy(stored[name]) if isinstance(stored.get(name), shape) else None for name, shape in shapes.items()}


def execution_view(execution: EventExecution) -> dict[str, Any]:
    """One attempt as history shows it; `success` is None while it is open."""
    return {
        "id": execution.id,
        "task_id": execution.event_id,
        "start_time": execution.start_time,
        "end_time": execution.end_time,
        "success": execution.success,
        "result": execution.result,
        "error": execution.error,
        "error_type": execution.error_type,
        "trace_session_id": execution.trace_session_id,
        "state": execution.state,
        "scheduled_for": execution.scheduled_for,
        "kind": execution.kind,
        "attempt": execution.attempt,
        "duration_ms": execution.duration_ms,
        "cpu_ms": execution.cpu_ms,
        "lateness_ms": execution.lateness_ms,
        "node_id": execution.node_id,
        "parameters": execution.parameters,
        "cause": execution.cause,
        "actor": execution.actor,
    }


def cleanup_view(config: CleanupConfig, next_run: datetime | None) -> dict[str, Any]:
    """A registered cleanup with the report of its last run; `next_run` is its task's."""
    return {
        "id": config.id,
        "module_id": config.module_id,
        "cleanup_type": config.cleanup_type,
        "name": config.name,
        "config": config.config,
        "enabled": config.enabled,
        "last_run": config.last_run,
        "next_run": next_run if config.enabled else None,
        "last_report": config.last_report,
    }


def api_key_view(key: ApiKey) -> dict[str, Any]:
    """A key without anything secret: the prefix is how people tell keys apart."""
    return {
        "id": key.id,
        "name": key.name,
        "prefix": key.prefix,
        "scope": key.scope,
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "revoked_at": key.revoked_at,
    }

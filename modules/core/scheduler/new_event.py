"""From a checked task to the columns of an event: new ones, and edits of old ones. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from modules.core.ids import new_id
from modules.core.scheduler.db_models import ScheduledEvent
from modules.core.scheduler.db_ops import EventChange
from modules.core.scheduler.errors import InvalidState, InvalidTask, ScheduleInPast
from modules.core.scheduler.firing import ON_TIME, Missed, first_fire, skip_until
from modules.core.scheduler.late_checks import (
    CHECKED_COLUMNS,
    LATE_COLUMNS,
    check_late,
    check_not_expired,
    late_columns,
)
from modules.core.scheduler.task_config import ScheduleConfig, TaskConfig, TaskPatch, parse_schedule, schedule_columns
from modules.core.scheduler.task_registry import TaskRegistry
from modules.core.scheduler.trigger_manager import LONG_AGO, is_under_way, schedule_fields
from modules.core.scheduler.triggers import InvalidTrigger, trigger_from_spec
from modules.core.scheduler.triggers.spec import EVENT_FIELDS, INTERVAL_FIELDS, RULE_FIELDS, TIME_FIELDS

_SCHEDULE_FIELDS = set(ScheduleConfig.model_fields) - {"max_executions"}
_PLAIN_COLUMNS = {
    "name": "name",
    "description": "description",
    "parameters": "parameters",
    "timeout_seconds": "timeout_s",
    "retry": "retry",
    "delivery": "delivery",
    "priority": "priority",
    "tags": "tags",
}


def event_values(
    config: TaskConfig, registry: TaskRegistry, now: datetime, *, default_timezone: str, session_id: str
) -> dict[str, Any]:
    """The row of a new event. Raises UnknownFunction, InvalidParameters and what schedule_values raises."""
    registry.get(config.module_id, config.function_name).validate(config.parameters)
    values = {
        "id": new_id(),
        "name": config.name,
        "description": config.description,
        "module_id": config.module_id,
        "function_name": config.function_name,
        "parameters": config.parameters,
        **schedule_values(config, now, default_timezone=default_timezone, allow_past=config.allow_past),
        "max_executions": config.max_executions,
        "status": "pending",
        "timeout_s": config.timeout_seconds,
        "retry": config.retry.model_dump() if config.retry else None,
        "delivery": config.delivery,
        "priority": config.priority,
        "unique_key": config.unique_key,
        "tags": config.tags or None,
        "trace_session_id": session_id,
        "created_at": now,
        "updated_at": now,
        **late_columns({field: getattr(config, field) for field in LATE_COLUMNS}),
    }
    check_late({"overlap": "skip", **values})
    check_not_expired(values["expires_at"], now)
    return values


def schedule_values(
    config: ScheduleConfig, now: datetime, *, default_timezone: str, allow_past: bool = False
) -> dict[str, Any]:
    """The columns that hold a schedule, and when it fires first. Raises InvalidTrigger, ScheduleInPast, InvalidTask."""
    fields = config.anchored_fields(default_timezone, now)
    asked_for = config.asked_for
    trigger = trigger_from_spec(fields)
    columns = schedule_columns(fields, recurring=config.is_recurring, anchor=fields.get("schedule_time"))
    if config.waits_for_event:
        return {**columns, "next_execution": None}
    if config.is_recurring:
        next_execution = first_fire(trigger, now, asked_for=asked_for)
    else:
        if asked_for is not None and asked_for < now - ON_TIME and not allow_past:
            raise ScheduleInPast(
                f"schedule_time is {asked_for.isoformat()}, which has passed: give a time in the future, "
                "or allow_past with a new task to run it at once."
            )
        next_execution = trigger.next_after(LONG_AGO)
    if next_execution is None:
        raise InvalidTask("This schedule has no fire time left: move its end_time, or its first time.")
    return {**columns, "next_execution": next_execution}


def edit(
    event: ScheduledEvent,
    patch: TaskPatch,
    registry: TaskRegistry,
    now: datetime,
    *,
    default_timezone: str,
    after: datetime | None = None,
) -> EventChange:
    """What changing these fields does to the event. A new schedule fires at strictly future times only, and after
    `after` where that is given: a fire time that was claimed ahead.

    A finished task comes back to life when the edit leaves it something to do. Raises InvalidState for a cancelled
    one, and what `event_values` raises.
    """
    if event.status == "cancelled":
        raise InvalidState(
            f"Task {event.id} is cancelled and cannot be changed: schedule a new task.", details={"status": "cancelled"}
        )
    changes = patch.changes()
    values: dict[str, Any] = {column: changes[field] for field, column in _PLAIN_COLUMNS.items() if field in changes}
    if "parameters" in values:
        registry.get(event.module_id, event.function_name).validate(values["parameters"])
    if "max_executions" in changes:
        values["max_executions"] = _checked_limit(event, changes["max_executions"])
    given = _SCHEDULE_FIELDS & changes.keys()
    # A raised limit gives a finished task its fire times back; otherwise the limit leaves them as they are.
    if given or ("max_executions" in changes and event.next_execution is None):
        schedule = _new_schedule(event, changes, now, after or now, default_timezone)
        no_time_left = schedule["next_execution"] is None and not _waits_for_event(event, schedule)
        if given and no_time_left and "end_time" not in given:
            raise InvalidTask("This schedule has no fire time left: move its end_time, or its first time.")
        values |= schedule
    late = late_columns(changes)
    values |= late
    if late or given or "overlap" in values:
        check_not_expired(late.get("expires_at"), now)
        check_late({name: values.get(name, getattr(event, name)) for name in CHECKED_COLUMNS})
    if given or "max_executions" in changes:
        values |= _status_after(event, values)
    if "next_execution" not in values:
        return EventChange(values)

    def otherwise(claimed: datetime) -> EventChange:
        return edit(event, patch, registry, now, default_timezone=default_timezone, after=claimed)

    return EventChange(values, _left_behind(event, now), otherwise=otherwise if values.get("recurring") else None)


def _new_schedule(
    event: ScheduledEvent, changes: Mapping[str, Any], now: datetime, after: datetime, default_timezone: str
) -> dict[str, Any]:
    current = schedule_fields(event)
    new_rule = {field for field in RULE_FIELDS if changes.get(field) is not None}
    if new_rule:
        # A new rule replaces the old one, whichever kind that was; "recurring" follows unless it is given too.
        kept = {"interval_type", "interval_value"} if new_rule <= {"interval_type", "interval_value"} else set()
        current |= {field: None for field in RULE_FIELDS if field not in kept}
        current["recurring"] = None
        if not new_rule <= INTERVAL_FIELDS:
            current["mode"] = None
        if new_rule & set(EVENT_FIELDS):
            current |= dict.fromkeys(TIME_FIELDS)
    elif changes.get("recurring") is False:
        current |= dict.fromkeys(RULE_FIELDS)
    merged = current | {field: value for field, value in changes.items() if field in _SCHEDULE_FIELDS}
    config = parse_schedule({name: value for name, value in merged.items() if value is not None})
    fields = config.anchored_fields(default_timezone, now)
    if not config.is_recurring:
        unchanged = fields.get("schedule_time") == event.anchor_time
        columns = schedule_values(config, now, default_timezone=default_timezone, allow_past=unchanged)
        return columns | ({"next_execution": event.next_execution} if unchanged and not event.recurring else {})
    trigger = trigger_from_spec(fields)
    columns = schedule_columns(fields, recurring=True, anchor=fields.get("schedule_time"))
    columns["next_execution"] = trigger.next_after(after)
    return columns


def _waits_for_event(event: ScheduledEvent, values: Mapping[str, Any]) -> bool:
    return any(values.get(name, getattr(event, name)) is not None for name in ("on_event", "on_task_id"))


def _left_behind(event: ScheduledEvent, now: datetime) -> tuple[Missed, ...]:
    """The fire times of the old schedule that have passed without a start: the edit leaves them so."""
    if not event.recurring or is_under_way(event):
        return ()
    reason = "paused" if event.status == "paused" else "edited"
    try:
        return skip_until(trigger_from_spec(schedule_fields(event)), event.next_execution, LONG_AGO, now, reason).missed
    except InvalidTrigger:
        return ()  # an edit mends what cannot be read


def _status_after(event: ScheduledEvent, values: Mapping[str, Any]) -> dict[str, Any]:
    limit = values.get("max_executions", event.max_executions)
    used_up = limit is not None and event.fired_count >= limit
    no_time_left = values.get("next_execution", event.next_execution) is None
    if used_up or (no_time_left and not _waits_for_event(event, values)):
        # While an execution is under way its settlement ends the event.
        ended = "pending" if event.active_execution_id is not None else "completed"
        return {"next_execution": None, "status": ended if event.status != "paused" else event.status}
    return {"status": "pending"} if event.status in ("completed", "failed") else {}


def _checked_limit(event: ScheduledEvent, limit: int | None) -> int | None:
    if limit is not None and limit < event.fired_count:
        raise InvalidTask(
            f"max_executions: the task has fired {event.fired_count} times already; "
            "give at least that number, or cancel the task."
        )
    return limit

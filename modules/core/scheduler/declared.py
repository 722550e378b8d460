"""Tasks that code states at its start: what a statement is, and what it changes in the task that is there. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

from modules.core.scheduler.db_models import ScheduledEvent
from modules.core.scheduler.db_ops import EventChange
from modules.core.scheduler.errors import InvalidTask
from modules.core.scheduler.task_config import ScheduleConfig, TaskConfig, TaskPatch, schedule_columns

Edit = Callable[[ScheduledEvent, TaskPatch], EventChange]

_SCHEDULE_FIELDS = set(ScheduleConfig.model_fields) - {"max_executions"}


def check_declared(config: TaskConfig) -> None:
    """Raises InvalidTask for what cannot be stated again and again."""
    if config.unique_key is None:
        raise InvalidTask("unique_key is missing: it tells which task is meant at the next start.")
    if not config.is_recurring and not config.waits_for_event:
        raise InvalidTask("ensure_task states recurring tasks: for a single run, use schedule_task with a unique_key.")


def declaration_of(config: TaskConfig) -> str:
    """What tells one statement from another: a digest of every field, 64 characters."""
    text = json.dumps(config.model_dump(mode="json"), sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def declared_columns(config: TaskConfig) -> dict[str, Any]:
    """The columns that mark a task as stated by code."""
    return {"declared_by": config.module_id, "declaration": declaration_of(config)}


def restate(
    event: ScheduledEvent, config: TaskConfig, edit: Edit, now: datetime, *, default_timezone: str
) -> EventChange:
    """What a statement changes: nothing where it is the one that the task was last made from, so that an operator's
    edits last until the code changes. Otherwise every field that can be edited becomes the statement's.

    The same schedule goes on as it is; a new one fires at strictly future times only. A pause stays. Raises InvalidTask
    when the task belongs to another function.
    """
    if (event.module_id, event.function_name) != (config.module_id, config.function_name):
        raise InvalidTask(
            f"unique_key: {config.unique_key!r} is the key of a task of {event.module_id}.{event.function_name}; "
            "choose another, or cancel that task."
        )
    columns = declared_columns(config)
    if event.declaration == columns["declaration"]:
        return EventChange()
    fields = set(TaskPatch.model_fields) - {"version"}
    if _same_schedule(event, config, now, default_timezone):
        fields -= _SCHEDULE_FIELDS
    elif config.asked_for is None:
        fields -= {"schedule_time"}  # the anchor stays
    change = edit(event, TaskPatch(**{name: getattr(config, name) for name in sorted(fields)}))
    return _with(change, columns)


def _with(change: EventChange, columns: dict[str, Any]) -> EventChange:
    otherwise = change.otherwise
    return replace(
        change,
        values={**change.values, **columns},
        otherwise=(lambda claimed: _with(otherwise(claimed), columns)) if otherwise else None,
    )


def _same_schedule(event: ScheduledEvent, config: TaskConfig, now: datetime, default_timezone: str) -> bool:
    stated = schedule_columns(
        config.anchored_fields(default_timezone, now), recurring=config.is_recurring, anchor=config.asked_for
    )
    if config.asked_for is None:
        del stated["anchor_time"]
    return all(getattr(event, column) == value for column, value in stated.items())

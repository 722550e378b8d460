"""What pause, resume, cancel and execute-now do to an event, as values. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from modules.core.scheduler.db_models import ScheduledEvent
from modules.core.scheduler.db_ops import EventChange, NewExecution, damaged_columns
from modules.core.scheduler.errors import AlreadyRunning, InvalidState
from modules.core.scheduler.firing import Firing, Missed
from modules.core.scheduler.input_rules import checked_parameters
from modules.core.scheduler.lifecycle import may_cancel, may_execute_now, may_pause, may_resume
from modules.core.scheduler.trigger_manager import waits_for_event

NOT_PAUSED = {"pause_reason": None, "pause_actor": None, "paused_at": None, "paused_until": None}


def pause(
    event: ScheduledEvent,
    now: datetime,
    reason: str | None,
    *,
    until: datetime | None = None,
    actor: str | None = None,
) -> EventChange:
    """No further start until resumed, which happens by itself at `until`; an execution under way goes on. Raises
    InvalidState."""
    if not may_pause(event.status):
        raise _wrong_state(event, "paused", "only a pending task can be paused")
    paused = {"pause_reason": reason, "pause_actor": actor, "paused_at": now, "paused_until": until}
    return EventChange({"status": "paused", **paused})


def pause_sentence(event: ScheduledEvent) -> str:
    """Who paused it, until when and why, as the detail of the fire times that passed meanwhile."""
    by = f" by {event.pause_actor}" if event.pause_actor else ""
    since = f" from {event.paused_at.isoformat()}" if event.paused_at else ""
    until = f" until {event.paused_until.isoformat()}" if event.paused_until else ""
    why = f": {event.pause_reason}" if event.pause_reason else ""
    return f"paused{by}{since}{until}{why}"


def resume(
    event: ScheduledEvent,
    skip: Callable[[ScheduledEvent], Firing],
    *,
    execution_id: str | None = None,
    now: datetime | None = None,
) -> EventChange:
    """Fire again from the next time on; `skip` says which times went by during the pause, and which of them runs now
    all the same, as `execution_id`. Raises InvalidState, and AlreadyRunning where that one cannot run."""
    if not may_resume(event.status):
        raise _wrong_state(event, "resumed", "only a paused task can be resumed")
    if damaged := damaged_columns(event):
        raise InvalidState(
            f"Task {event.id} cannot be read in full ({', '.join(damaged)}): correct that with PATCH first, or cancel "
            "the task.",
            details={"damaged": list(damaged)},
        )
    passed = skip(event)
    over = passed.next_execution is None and event.active_execution_id is None and not waits_for_event(event)
    values: dict[str, Any] = {
        "status": _finished_status(event) if over else "pending",
        "next_execution": passed.next_execution,
        **NOT_PAUSED,
    }
    missed = _told(event, passed.missed)
    if passed.scheduled_for is None or execution_id is None or now is None:
        return EventChange(values, missed)
    if event.active_execution_id is not None:
        raise AlreadyRunning(
            f"Task {event.id} is running (execution {event.active_execution_id}): wait for it to end, or resume "
            "without catch_up.",
            details={"execution_id": event.active_execution_id},
        )
    values |= {"status": "pending", "fired_count": event.fired_count + 1}
    execution = NewExecution(
        id=execution_id,
        scheduled_for=passed.scheduled_for,
        kind="schedule",
        run_at=now,
        trace_session_id=event.trace_session_id,
    )
    return EventChange(values, missed, execution=execution)


def cancel(event: ScheduledEvent, left_behind: Callable[[ScheduledEvent], tuple[Missed, ...]]) -> EventChange:
    """No further start, for good; row and history stay, an execution under way goes on. Raises InvalidState."""
    if not may_cancel(event.status):
        raise _wrong_state(event, "cancelled", "it has finished and will not run again")
    return EventChange() if event.status == "cancelled" else end(event, "cancelled", left_behind)


def end(event: ScheduledEvent, status: str, left_behind: Callable[[ScheduledEvent], tuple[Missed, ...]]) -> EventChange:
    """Nothing of the event starts any more; `left_behind` says which fire times passed without a start."""
    missed = () if damaged_columns(event) else _told(event, left_behind(event))
    return EventChange({"status": status, "next_execution": None}, missed, cancel_waiting=True)


def execute_now(
    event: ScheduledEvent,
    execution_id: str,
    now: datetime,
    session_id: str | None,
    *,
    parameters: dict[str, Any] | None = None,
    actor: str | None = None,
) -> EventChange:
    """One run by hand, as soon as a slot is free; the schedule is left alone. `parameters` are all those of this run,
    None means the task's own. Raises InvalidState, AlreadyRunning."""
    if not may_execute_now(event.status):
        raise _wrong_state(event, "executed", "it was cancelled; schedule a new task")
    if event.active_execution_id is not None:
        raise AlreadyRunning(
            f"Task {event.id} is running (execution {event.active_execution_id}): wait for it to end.",
            details={"execution_id": event.active_execution_id},
        )
    execution = NewExecution(
        id=execution_id,
        scheduled_for=now,
        kind="manual",
        run_at=now,
        trace_session_id=session_id or event.trace_session_id,
        parameters=parameters,
        actor=actor,
    )
    return EventChange(execution=execution)


def parameters_of_run(
    event: ScheduledEvent, given: Mapping[str, Any], validate: Callable[[ScheduledEvent, dict[str, Any]], Any]
) -> dict[str, Any]:
    """The task's parameters with the keys given in place of its own, as `validate` and the limits of size allow.
    Raises InvalidParameters."""
    merged = checked_parameters({**event.parameters, **given})
    validate(event, merged)
    return merged


def _told(event: ScheduledEvent, missed: tuple[Missed, ...]) -> tuple[Missed, ...]:
    return tuple(replace(span, detail=pause_sentence(event)) if span.reason == "paused" else span for span in missed)


def _finished_status(event: ScheduledEvent) -> str:
    return "failed" if event.last_error and not event.recurring else "completed"


def _wrong_state(event: ScheduledEvent, verb: str, why: str) -> InvalidState:
    return InvalidState(
        f"Task {event.id} is {event.status} and cannot be {verb}: {why}.", details={"status": event.status}
    )

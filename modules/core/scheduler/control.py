"""What pause, resume, cancel and execute-now do to an event, as values. Pure."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from modules.core.scheduler.db_models import ScheduledEvent
from modules.core.scheduler.db_ops import EventChange, NewExecution, damaged_columns, place_of
from modules.core.scheduler.errors import AlreadyRunning, InvalidState
from modules.core.scheduler.firing import Firing, Missed
from modules.core.scheduler.lifecycle import may_cancel, may_execute_now, may_pause, may_resume


def pause(event: ScheduledEvent, reason: str | None) -> EventChange:
    """No further start until resumed; an execution under way goes on. Raises InvalidState."""
    if not may_pause(event.status):
        raise _wrong_state(event, "paused", "only a pending task can be paused")
    return EventChange({"status": "paused", "pause_reason": reason})


def resume(event: ScheduledEvent, skip: Callable[[ScheduledEvent], Firing]) -> EventChange:
    """Fire again from the next time on; `skip` says which times went by during the pause. Raises InvalidState."""
    if not may_resume(event.status):
        raise _wrong_state(event, "resumed", "only a paused task can be resumed")
    if damaged := damaged_columns(event):
        raise InvalidState(
            f"Task {event.id} cannot be read in full ({', '.join(damaged)}): correct that with PATCH first, or cancel "
            "the task.",
            details={"damaged": list(damaged)},
        )
    passed = skip(event)
    over = passed.next_execution is None and event.active_execution_id is None and not event.others_open
    values = {
        "status": _finished_status(event) if over else "pending",
        "next_execution": passed.next_execution,
        "pause_reason": None,
        "paused_until": None,
    }
    return EventChange(values, passed.missed)


def cancel(event: ScheduledEvent, left_behind: Callable[[ScheduledEvent], tuple[Missed, ...]]) -> EventChange:
    """No further start, for good; row and history stay, an execution under way goes on. Raises InvalidState."""
    if not may_cancel(event.status):
        raise _wrong_state(event, "cancelled", "it has finished and will not run again")
    return EventChange() if event.status == "cancelled" else end(event, "cancelled", left_behind)


def end(event: ScheduledEvent, status: str, left_behind: Callable[[ScheduledEvent], tuple[Missed, ...]]) -> EventChange:
    """Nothing of the event starts any more; `left_behind` says which fire times passed without a start."""
    missed = () if damaged_columns(event) else left_behind(event)
    return EventChange({"status": status, "next_execution": None}, missed, cancel_waiting=True)


def execute_now(event: ScheduledEvent, execution_id: str, now: datetime, session_id: str | None) -> EventChange:
    """One run by hand, where the overlap policy lets it run: at once, beside others, or behind the run under way. The
    schedule is left alone. Raises InvalidState, AlreadyRunning."""
    if not may_execute_now(event.status):
        raise _wrong_state(event, "executed", "it was cancelled; schedule a new task")
    extra = place_of(event, now)
    if extra.place == "missed":
        by = f" (execution {event.active_execution_id})" if event.active_execution_id else ""
        raise AlreadyRunning(
            f"Task {event.id} is running{by} and {extra.why}: wait for it to end.",
            details={"execution_id": event.active_execution_id},
        )
    execution = NewExecution(
        id=execution_id,
        scheduled_for=now,
        kind="manual",
        run_at=now,
        trace_session_id=session_id or event.trace_session_id,
        place=extra.place,
        cancels=extra.cancels,
    )
    return EventChange(execution=execution)


def _finished_status(event: ScheduledEvent) -> str:
    return "failed" if event.last_error and not event.recurring else "completed"


def _wrong_state(event: ScheduledEvent, verb: str, why: str) -> InvalidState:
    return InvalidState(
        f"Task {event.id} is {event.status} and cannot be {verb}: {why}.", details={"status": event.status}
    )

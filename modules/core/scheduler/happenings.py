"""What starts tasks beside the clock: events that are published, and other tasks that end. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from modules.core.scheduler.firing import Missed
from modules.core.scheduler.lifecycle import pause_sentence

if TYPE_CHECKING:
    from modules.core.scheduler.db_models import ScheduledEvent

# What a task that waits for the failure of another one counts as one: every end for good that is no success, except
# that somebody cancelled it.
FAILURES: Final = frozenset(("failed", "timed_out", "abandoned", "interrupted"))


@dataclass(frozen=True, slots=True)
class Happening:
    """Something that starts tasks. `cause` is what their runs are told of it; `actor` is who made it happen."""

    cause: dict[str, Any]
    actor: str | None = None


def published(name: str, payload: dict[str, Any], actor: str | None) -> Happening:
    """An event of that name."""
    return Happening({"name": name, "payload": payload}, actor)


def ended(task_id: str, execution_id: str, state: str) -> Happening:
    """The end for good of a task's run."""
    return Happening({"task_id": task_id, "execution_id": execution_id, "outcome": state})


def is_waited_for(wanted: Any, state: str) -> bool:
    """Whether a run that ended in this state starts a task that waits for the outcome `wanted` of it."""
    if wanted == "any":
        return True
    return state in FAILURES if wanted == "failure" else state == "succeeded"


def why_missed(event: ScheduledEvent, active: str | None, fired: int, at: datetime) -> Missed | None:
    """None where the task starts now; otherwise what is recorded instead. `active` is its run under way."""
    if event.status == "paused":
        detail = pause_sentence(event.pause_actor, event.paused_at, event.paused_until, event.pause_reason)
        return Missed(at, at, 1, "paused", detail)
    if event.max_executions is not None and fired >= event.max_executions:
        return Missed(at, at, 1, "limit", f"max_executions={event.max_executions}")
    if active is not None:
        return Missed(at, at, 1, "overlap", f"overlap={event.overlap}: execution {active} was under way")
    return None

"""Triggers that no clock fires: an event that is published, or the end of another task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from modules.core.errors import did_you_mean
from modules.core.scheduler.triggers.base import in_utc
from modules.core.scheduler.triggers.errors import InvalidTrigger, shown

OUTCOMES: Final = ("success", "failure", "any")
LONGEST_NAME: Final = 100
LONGEST_ID: Final = 36


class _NeverByTime:
    """No fire time, whatever is asked."""

    __slots__ = ()

    def next_after(self, moment: datetime) -> datetime | None:
        in_utc(moment)
        return None

    def previous_before(self, moment: datetime) -> datetime | None:
        in_utc(moment)
        return None

    def count_between(self, after: datetime, until: datetime) -> int:
        in_utc(after), in_utc(until)
        return 0


@dataclass(frozen=True, slots=True)
class OnEvent(_NeverByTime):
    """Fires whenever an event of that name is published."""

    name: str

    def describe(self) -> str:
        return f"whenever the event {self.name!r} is published"


@dataclass(frozen=True, slots=True)
class OnTask(_NeverByTime):
    """Fires after each run of another task that ends with `outcome`."""

    task_id: str
    outcome: str

    def describe(self) -> str:
        ends = {"success": "succeeds", "failure": "fails", "any": "ends, however it ends"}[self.outcome]
        return f"whenever a run of task {self.task_id} {ends}"


def on_event(name: object) -> OnEvent:
    """Raises InvalidTrigger."""
    return OnEvent(_line(name, "on_event", LONGEST_NAME, "'order.paid'"))


def on_task(value: object) -> OnTask:
    """From `{"task_id", "outcome"}`, where the outcome may be left out: success. Raises InvalidTrigger."""
    if not isinstance(value, Mapping) or not value.keys() <= {"task_id", "outcome"} or "task_id" not in value:
        raise InvalidTrigger("on_task must be an object such as {'task_id': '0199c0de-...', 'outcome': 'success'}.")
    outcome = value.get("outcome") or "success"
    if not isinstance(outcome, str) or outcome not in OUTCOMES:
        hint = did_you_mean(outcome[:20], OUTCOMES) if isinstance(outcome, str) else ""
        raise InvalidTrigger(f"on_task.outcome must be one of {', '.join(OUTCOMES)}.{hint}")
    return OnTask(_line(value["task_id"], "on_task.task_id", LONGEST_ID, "the id of a task"), outcome)


def _line(value: object, name: str, longest: int, example: str) -> str:
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise InvalidTrigger(f"{name} must be text on one line, such as {example}.")
    if len(value) > longest:
        raise InvalidTrigger(f"{name} is {shown(value, 40)}, which is too long: at most {longest} characters.")
    return value

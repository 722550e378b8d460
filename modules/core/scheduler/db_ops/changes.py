"""The values that statements take and return. Plain data; no SQL here."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from modules.core.clock import Clock
from modules.core.scheduler.db_models import EventExecution, ScheduledEvent
from modules.core.scheduler.firing import Firing, Missed
from modules.core.scheduler.lifecycle import Settlement
from modules.core.scheduler.outcomes import Outcome


@dataclass(frozen=True, slots=True)
class NewExecution:
    """An execution that waits for a slot: a manual run, or the next attempt at an occurrence."""

    id: str
    scheduled_for: datetime
    kind: str
    run_at: datetime
    trace_session_id: str | None
    attempt: int = 1
    failures: int = 0
    abandonments: int = 0


@dataclass(frozen=True, slots=True)
class EventChange:
    """What a control action does to one event, in one transaction."""

    values: dict[str, Any] = field(default_factory=dict)
    missed: tuple[Missed, ...] = ()
    cancel_waiting: bool = False  # close executions that have not started
    execution: NewExecution | None = None


@dataclass(frozen=True, slots=True)
class ClaimRequest:
    """What a node can take on now."""

    now: datetime
    clock: Clock
    lease: timedelta
    limit: int
    node_id: str
    session_id: str
    functions: Collection[tuple[str, str]]
    excluded_events: Collection[str]
    decide: Callable[[ScheduledEvent, datetime], Firing]

    def begun(self) -> ClaimRequest:
        """The request as of now: waiting for the write lock may have taken long."""
        return replace(self, now=self.clock.now())

    @property
    def lease_until(self) -> datetime:
        return self.now + self.lease


@dataclass(frozen=True, slots=True)
class Claim:
    """An execution that this node holds now, and the event it belongs to. Rows, not ORM objects: read only."""

    event: ScheduledEvent
    execution_id: str
    scheduled_for: datetime
    kind: str
    attempt: int
    fence: int
    start_time: datetime
    trace_session_id: str


@dataclass(frozen=True, slots=True)
class ClaimResult:
    """`next_due` is when there will be something to claim; None when nothing is known to come."""

    claims: list[Claim]
    next_due: datetime | None


@dataclass(frozen=True, slots=True)
class Finished:
    """An attempt that has ended, to be recorded if it is still this fence's to record."""

    execution_id: str
    fence: int
    outcome: Outcome
    end_time: datetime
    duration_ms: float | None
    cpu_ms: float | None


Settle = Callable[[ScheduledEvent, EventExecution, Outcome, datetime], tuple[Settlement, Firing]]

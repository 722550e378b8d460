"""The values that statements take and return. Plain data; no SQL here."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from modules.core.clock import Clock
from modules.core.scheduler.db_models import EventExecution, ScheduledEvent
from modules.core.scheduler.fairness import Limit, Waiting
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
    parameters: dict[str, Any] | None = None  # of this run only; None means the task's own
    actor: str | None = None


@dataclass(frozen=True, slots=True)
class EventChange:
    """What a control action does to one event, in one transaction.

    `otherwise` says what is done instead when the new next_execution is a fire time that was claimed already, ahead of
    its time; it is given that time.
    """

    values: dict[str, Any] = field(default_factory=dict)
    missed: tuple[Missed, ...] = ()
    cancel_waiting: bool = False  # close executions that have not started
    execution: NewExecution | None = None
    otherwise: Callable[[datetime], EventChange] | None = None


@dataclass(frozen=True, slots=True)
class ClaimRequest:
    """What a node can take on: up to `limit` executions that may start within `look_ahead` from now.

    `limits` hold for all nodes together, `room` is what is left under limits of this node alone. `head_start` is what
    one level of priority counts for. `start_of` says when an event's fire time should start.
    """

    now: datetime
    clock: Clock
    lease: timedelta
    limit: int
    node_id: str
    session_id: str
    functions: Collection[tuple[str, str]]
    excluded_events: Collection[str]
    decide: Callable[[ScheduledEvent, datetime], Firing]
    start_of: Callable[[ScheduledEvent, datetime], datetime] = lambda _event, nominal: nominal
    look_ahead: timedelta = timedelta(0)
    end_pause: Callable[[ScheduledEvent], EventChange] | None = None  # what a pause whose time is over leaves
    limits: Collection[Limit] = ()
    room: Mapping[Limit, int] = field(default_factory=dict)
    head_start: timedelta = timedelta(0)
    lease_now: datetime | None = None  # the moment that leases count from; None is the database's own clock

    def begun(self) -> ClaimRequest:
        """The request as of now: waiting for the write lock may have taken long."""
        return replace(self, now=self.clock.now())

    @property
    def until(self) -> datetime:
        return self.now + self.look_ahead


@dataclass(frozen=True, slots=True)
class Claim:
    """An execution that this node holds now, and the event it belongs to. Rows, not ORM objects: read only.

    It is due, and must not start before, `due`; that lies ahead by the look-ahead at most. `next_execution` is when its
    event is due again. Lateness counts from `late_from` where that is given: the start was put off after a downtime.
    """

    event: ScheduledEvent
    execution_id: str
    scheduled_for: datetime
    kind: str
    attempt: int
    fence: int
    due: datetime
    next_execution: datetime | None
    trace_session_id: str
    late_from: datetime | None = None
    parameters: dict[str, Any] | None = None  # of this run only; None means the task's own

    def lateness_ms(self, started: datetime) -> float:
        """How much later than due it started."""
        return max(0.0, (started - (self.late_from or self.due)) / timedelta(milliseconds=1))


@dataclass(frozen=True, slots=True)
class Look:
    """What waits on all queues that this node may take from, first moments only, when the next lease runs out, and when
    the next pause ends by itself.

    `database_now` is the clock that leases are counted by.
    """

    waiting: list[Waiting]
    next_lease: datetime | None
    database_now: datetime
    pause_ends: datetime | None = None

    @property
    def next_due(self) -> datetime | None:
        """When there will be something to claim; None when nothing is known to come."""
        return min((one.moment for one in self.waiting), default=None)

    def has_due(self, until: datetime) -> bool:
        return any(one.moment <= until for one in self.waiting)


@dataclass(frozen=True, slots=True)
class Recorded:
    """Which executions were this process's to close, and when what follows from them is due: the next attempts, and the
    next fire times of events whose outcome needed a closer look."""

    ids: Collection[str]
    next_due: datetime | None = None


@dataclass(frozen=True, slots=True)
class ClaimResult:
    """What was claimed, and what waits after that; `look` is None when there may be more to claim at once."""

    claims: list[Claim]
    look: Look | None


@dataclass(frozen=True, slots=True)
class Finished:
    """An attempt that has ended, to be recorded if it is still this fence's to record."""

    execution_id: str
    event_id: str
    fence: int
    outcome: Outcome
    start_time: datetime
    end_time: datetime
    duration_ms: float | None
    cpu_ms: float | None
    lateness_ms: float | None = None
    sets_next: bool = False  # its event is due again some time after this end


Settle = Callable[[ScheduledEvent, EventExecution, Outcome, datetime], tuple[Settlement, Firing]]

"""What a run leaves behind, as values: rows, the journal of their changes, the tasks' own log, and who was told what.

Nothing here reads anything. Moments are aware and in UTC; lists are in the order in which things happened.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Generic, TypeVar

Row = TypeVar("Row")
Key = TypeVar("Key")

OPEN = ("ready", "running")
LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Event:
    """A row of scheduler_events. `interval` is None for a one-time event; `edit` counts the edits of its parameters."""

    id: str
    status: str
    next_execution: datetime | None
    anchor_time: datetime | None = None
    interval: timedelta | None = None
    fired_count: int = 0
    max_executions: int | None = None
    fence: int = 0
    active_execution_id: str | None = None
    delivery: str = "at_least_once"
    overlap: str = "skip"
    max_attempts: int = 1
    edit: int = 0
    version: int = 1

    @property
    def recurring(self) -> bool:
        return self.interval is not None


@dataclass(frozen=True, slots=True)
class Execution:
    """A row of scheduler_executions."""

    id: str
    event_id: str
    scheduled_for: datetime
    state: str
    fence: int
    kind: str = "schedule"
    attempt: int = 1
    failures: int = 0
    abandonments: int = 0
    run_at: datetime = LONG_AGO
    node_id: str | None = None
    lease_expires_at: datetime | None = None
    end_time: datetime | None = None
    success: bool | None = None

    @property
    def occurrence(self) -> tuple[str, datetime, str]:
        """What the attempts of one chain have in common."""
        return self.event_id, self.scheduled_for, self.kind

    def __str__(self) -> str:
        return f"{self.kind} execution {self.id} (event {self.event_id}, {self.scheduled_for}, attempt {self.attempt})"


@dataclass(frozen=True, slots=True)
class Missed:
    """A row of scheduler_missed_runs."""

    event_id: str
    from_time: datetime
    until_time: datetime
    count: int
    reason: str


@dataclass(frozen=True, slots=True)
class Change(Generic[Row]):
    """An insert or update as the database itself saw it: `row` is what it became, at `at` by the database's clock."""

    at: datetime
    row: Row


@dataclass(frozen=True, slots=True)
class Line:
    """What a task function wrote when it started and when it ended (`how`: done, failed or stopped)."""

    what: str
    at: datetime
    task_id: str
    execution_id: str
    scheduled_for: datetime
    attempt: int
    fence: int
    node_id: str
    process: int
    how: str | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """What somebody asked of the service. `answer`: yes, no (nothing was changed), or None where nobody knows.

    `what`: schedule, pause, resume, cancel, execute, edit. `detail` is the execution's id of an execute, the number of
    an edit. The asker of calls on one task waits for each answer before the next call.
    """

    what: str
    task_id: str | None
    asked: datetime
    answered: datetime | None = None
    answer: bool | None = None
    detail: str | int | None = None


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that was done to the run: a process `killed` or `suspended`, or an `outage` of the database."""

    what: str
    begin: datetime
    end: datetime
    process: int | None = None


@dataclass(frozen=True, slots=True)
class Rules:
    """The settings under which the run happened, and how slow its machine may be.

    `patience` is what recovery may take beyond lease and interval; `clock_step` is what two clocks of one machine may
    differ by (SQLite knows milliseconds).
    """

    lease: timedelta
    recovery: timedelta
    look_ahead: timedelta = timedelta(milliseconds=100)
    patience: timedelta = timedelta(seconds=5)
    clock_step: timedelta = timedelta(milliseconds=2)
    max_abandonments: int = 3


@dataclass(frozen=True)
class Evidence:
    """All of it. `settled_at` is when everything that was due had had its time to end; None while a run goes on."""

    rules: Rules
    events: Sequence[Event] = ()
    executions: Sequence[Execution] = ()
    missed: Sequence[Missed] = ()
    event_changes: Sequence[Change[Event]] = ()
    execution_changes: Sequence[Change[Execution]] = ()
    lines: Sequence[Line] = ()
    calls: Sequence[Call] = ()
    troubles: Sequence[Trouble] = field(default=())
    settled_at: datetime | None = None

    @cached_property
    def event(self) -> dict[str, Event]:
        return {event.id: event for event in self.events}

    @cached_property
    def execution(self) -> dict[str, Execution]:
        return {execution.id: execution for execution in self.executions}

    @cached_property
    def event_history(self) -> dict[str, list[Change[Event]]]:
        """The changes of each event, by its id."""
        return _grouped((change.row.id, change) for change in self.event_changes)

    @cached_property
    def execution_history(self) -> dict[str, list[Change[Execution]]]:
        """The changes of each execution, by its id."""
        return _grouped((change.row.id, change) for change in self.execution_changes)

    @cached_property
    def chains(self) -> dict[tuple[str, datetime, str], list[Execution]]:
        """The attempts at each occurrence, in their order."""
        ordered = sorted(self.executions, key=lambda execution: execution.attempt)
        return _grouped((execution.occurrence, execution) for execution in ordered)

    @cached_property
    def executions_of(self) -> dict[str, list[Execution]]:
        """The executions of each event that its schedule asked for."""
        return _grouped((row.event_id, row) for row in self.executions if row.kind == "schedule")

    @cached_property
    def missed_of(self) -> dict[str, list[Missed]]:
        """The spans of each event's fire times that did not run."""
        return _grouped((span.event_id, span) for span in self.missed)

    @cached_property
    def starts(self) -> dict[str, list[Line]]:
        """The start lines of each execution, by its id."""
        return _grouped((line.execution_id, line) for line in self.lines if line.what == "start")

    @cached_property
    def ends(self) -> dict[str, list[Line]]:
        """The end lines of each execution, by its id."""
        return _grouped((line.execution_id, line) for line in self.lines if line.what == "end")

    @cached_property
    def calls_on(self) -> dict[str, list[Call]]:
        """What was asked about each task, in order."""
        ordered = sorted(self.calls, key=lambda call: call.asked)
        return _grouped((call.task_id, call) for call in ordered if call.task_id is not None)

    def was_suspended(self, process: int, begin: datetime, end: datetime) -> bool:
        """Whether that process stood still at some moment between the two."""
        return any(
            trouble.what == "suspended" and trouble.process == process and trouble.begin <= end and trouble.end >= begin
            for trouble in self.troubles
        )

    def killed_at(self, process: int) -> datetime | None:
        """When that process was killed."""
        return next(
            (trouble.begin for trouble in self.troubles if trouble.what == "killed" and trouble.process == process),
            None,
        )

    def outage_between(self, begin: datetime, end: datetime) -> timedelta:
        """How long the database was away between the two."""
        away = timedelta()
        for trouble in self.troubles:
            if trouble.what == "outage":
                away += max(min(trouble.end, end) - max(trouble.begin, begin), timedelta())
        return away


def _grouped(pairs: Iterable[tuple[Key, Row]]) -> dict[Key, list[Row]]:
    groups: dict[Key, list[Row]] = defaultdict(list)
    for key, value in pairs:
        groups[key].append(value)
    return groups

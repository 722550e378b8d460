"""Evidence made by hand, step by step: what a test of the checker holds against it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.chaos.evidence import Call, Change, Event, Evidence, Execution, Line, Missed, Rules, Trouble

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
RULES = Rules(lease=timedelta(seconds=2), recovery=timedelta(seconds=1))


def at(seconds: float) -> datetime:
    """That many seconds after noon."""
    return NOON + timedelta(seconds=seconds)


@dataclass
class Story:
    """Each step happens at a moment, given in seconds after noon; rows are what they were last said to be."""

    event_changes: list[Change[Event]] = field(default_factory=list)
    execution_changes: list[Change[Execution]] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    missed: list[Missed] = field(default_factory=list)
    troubles: list[Trouble] = field(default_factory=list)
    settled: float | None = 60.0

    def event(self, when: float, event_id: str, **fields: Any) -> None:
        """Insert or update an event."""
        known = [change.row for change in self.event_changes if change.row.id == event_id]
        row = replace(known[-1], **fields) if known else Event(event_id, **fields)
        self.event_changes.append(Change(at(when), row))

    def execution(self, when: float, execution_id: str, **fields: Any) -> None:
        """Insert or update an execution."""
        known = [change.row for change in self.execution_changes if change.row.id == execution_id]
        row = replace(known[-1], **fields) if known else Execution(execution_id, **fields)
        self.execution_changes.append(Change(at(when), row))

    def claim(self, when: float, execution_id: str, **fields: Any) -> None:
        """An execution becomes running, on node n1 unless the fields say otherwise."""
        given = {"node_id": "n1", "lease_expires_at": at(when + 2), **fields}
        self.execution(when, execution_id, state="running", **given)

    def close(self, when: float, execution_id: str, state: str) -> None:
        """An execution ends."""
        success = state == "succeeded"
        self.execution(when, execution_id, state=state, success=success, end_time=at(when), lease_expires_at=None)

    def line(self, when: float, execution_id: str, how: str | None = None, **fields: Any) -> None:
        """The function of an execution says that it starts, or how it ends."""
        row = [change.row for change in self.execution_changes if change.row.id == execution_id][-1]
        line = Line(
            what="end" if how else "start",
            at=at(when),
            task_id=row.event_id,
            execution_id=row.id,
            scheduled_for=row.scheduled_for,
            attempt=row.attempt,
            fence=row.fence,
            node_id=str(row.node_id),
            process=int(str(row.node_id)[1:]),
            how=how,
        )
        self.lines.append(replace(line, **fields))

    def call(self, when: float, what: str, task_id: str | None, **fields: Any) -> None:
        """Somebody asked, and was answered yes a tenth of a second later unless the fields say otherwise."""
        given = {"answered": at(when + 0.1), "answer": True, **fields}
        self.calls.append(Call(what, task_id, at(when), **given))

    def change_rows(self, change: Callable[[Any], Any]) -> None:
        """Rewrite history: every state that any row ever had goes through `change`; None removes it."""
        for changes in (self.event_changes, self.execution_changes):
            rewritten = [(one.at, change(one.row)) for one in changes]
            changes[:] = [Change(moment, row) for moment, row in rewritten if row is not None]

    def evidence(self) -> Evidence:
        """All of it, with the rows as they are in the end."""
        events = {change.row.id: change.row for change in self.event_changes}
        executions = {change.row.id: change.row for change in self.execution_changes}
        return Evidence(
            rules=RULES,
            events=list(events.values()),
            executions=list(executions.values()),
            missed=self.missed,
            event_changes=self.event_changes,
            execution_changes=self.execution_changes,
            lines=self.lines,
            calls=self.calls,
            troubles=self.troubles,
            settled_at=None if self.settled is None else at(self.settled),
        )

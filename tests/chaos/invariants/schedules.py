"""Fire times: each has one verdict, none is lost, and the counters say what the history says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

from tests.chaos.evidence import OPEN, Change, Event, Evidence, Missed

TICK = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Grid:
    """The fire times of an interval, worked out here by hand and not by the scheduler's own triggers."""

    anchor: datetime
    step: timedelta

    def times(self, begin: datetime, end: datetime) -> Iterator[datetime]:
        """Those in [begin, end)."""
        number = max(0, -((self.anchor - begin) // self.step))
        while (moment := self.anchor + number * self.step) < end:
            yield moment
            number += 1

    def __contains__(self, moment: datetime) -> bool:
        return moment >= self.anchor and not (moment - self.anchor) % self.step


def what_fired_is_on_record(evidence: Evidence) -> Iterator[str]:
    """No occurrence is lost: each time an event counted one more firing, there is an execution with that fence."""
    fired = {(row.event_id, row.fence) for row in evidence.executions if row.kind == "schedule"}
    for event_id, history in evidence.event_history.items():
        for before, after in pairwise(history):
            more = after.row.fired_count - before.row.fired_count
            if more and (more != 1 or (event_id, after.row.fence) not in fired):
                yield (
                    f"Event {event_id} counted firing {after.row.fired_count} (due {before.row.next_execution}, fence "
                    f"{after.row.fence}) at {after.at}, and no execution has that fence."
                )
    occurrences = Counter(event_id for event_id, _, kind in evidence.chains if kind == "schedule")
    for event in evidence.events:
        if event.fired_count != occurrences[event.id]:
            yield f"Event {event.id} counted {event.fired_count} firings; {occurrences[event.id]} are on record."


def limits_are_kept(evidence: Evidence) -> Iterator[str]:
    """fired_count never passes max_executions."""
    for change in evidence.event_changes:
        limit = change.row.max_executions
        if limit is not None and change.row.fired_count > limit:
            yield f"Event {change.row.id} fired {change.row.fired_count} times; its limit is {limit}."


def every_fire_time_has_one_verdict(evidence: Evidence) -> Iterator[str]:
    """Each nominal fire time that has passed was executed or is in a span of missed ones, and never both."""
    for event_id, history in evidence.event_history.items():
        ran = [row.scheduled_for for row in evidence.executions_of.get(event_id, ()) if row.attempt == 1]
        verdicts = Counter(ran)
        for span in evidence.missed_of.get(event_id, ()):
            grid = next((grid for grid in _grids(history) if _fits(span, grid)), None)
            if grid is None:
                yield f"{span} of event {event_id} fits none of its schedules: its ends or its count are wrong."
            else:
                verdicts.update(grid.times(span.from_time, span.until_time + TICK))
        for moment, number in verdicts.items():
            if number > 1:
                yield f"The fire time {moment} of event {event_id} has {number} verdicts."
        for moment in _passed(evidence, history):
            if moment not in verdicts:
                yield f"The fire time {moment} of event {event_id} has passed; it neither ran nor was it recorded."


def nothing_runs_at_other_times(evidence: Evidence) -> Iterator[str]:
    """What ran by its schedule ran for a fire time of that schedule."""
    for event_id, rows in evidence.executions_of.items():
        history = evidence.event_history.get(event_id, [])
        armed, grids = {change.row.next_execution for change in history}, _grids(history)
        for row in rows:
            moment = row.scheduled_for
            if moment not in armed and not any(moment in grid for grid in grids):
                yield f"{moment} is no fire time of event {event_id}: {row}."


def _grids(history: list[Change[Event]]) -> list[Grid]:
    """Every schedule that the event had."""
    found: dict[Grid, None] = {}
    for change in history:
        if grid := _grid(change.row):
            found[grid] = None
    return list(found)


def _grid(event: Event) -> Grid | None:
    if event.interval is None or event.anchor_time is None:
        return None
    return Grid(event.anchor_time, event.interval)


def _fits(span: Missed, grid: Grid) -> bool:
    if span.from_time not in grid or span.until_time not in grid:
        return False
    return (span.until_time - span.from_time) // grid.step + 1 == span.count


def _passed(evidence: Evidence, history: list[Change[Event]]) -> Iterator[datetime]:
    """The fire times over which the event moved on."""
    for before, after in pairwise(history):
        begin, grid = before.row.next_execution, _grid(before.row)
        if begin is None or grid is None or begin == after.row.next_execution:
            continue
        until = after.row.next_execution
        by_hand = after.row.version != before.row.version
        if by_hand and (until is None or _grid(after.row) != grid):
            # Of the old schedule only what had passed when the edit was asked for needs a verdict.
            until = _asked_at(evidence, after)
        elif until is None:
            until = begin + TICK  # the last one, or the one that used up the limit
        if until is not None:
            yield from grid.times(begin, until)


def _asked_at(evidence: Evidence, change: Change[Event]) -> datetime | None:
    asked = [
        call.asked
        for call in evidence.calls_on.get(change.row.id, ())
        if call.what in ("edit", "cancel") and call.asked <= change.at + evidence.rules.clock_step
    ]
    return asked[-1] if asked else None


def nothing_waits_for_ever(evidence: Evidence) -> Iterator[str]:
    """Once everything had its time, no pending event is overdue or waits for nothing, and one-time events have run."""
    if evidence.settled_at is None:
        return
    opened = {row.event_id for row in evidence.executions if row.state in OPEN}
    ran = {row.event_id for row in evidence.executions if row.kind == "schedule"}
    for event in evidence.events:
        if event.status == "pending" and event.id not in opened:
            if event.next_execution is None:
                yield f"Event {event.id} is pending and waits for nothing."
            elif event.next_execution + evidence.rules.patience < evidence.settled_at:
                yield f"Event {event.id} is pending, was due at {event.next_execution}, and did not start."
        if not event.recurring and event.status in ("completed", "failed") and event.id not in ran:
            yield f"One-time event {event.id} is {event.status} and never ran."

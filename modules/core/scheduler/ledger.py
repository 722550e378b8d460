"""The ledger: each nominal fire time of a task with its one verdict. Pure.

On record are the executions of each occurrence, and spans of fire times that were missed. What is due and not yet
decided, and what is planned, follows from the task itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from heapq import merge
from itertools import groupby
from typing import Any, Final, Literal

from modules.core.scheduler.db_models import EventExecution, MissedRun, ScheduledEvent
from modules.core.scheduler.triggers import Trigger
from modules.core.scheduler.triggers.base import TICK

Verdict = Literal["executed", "running", "waiting", "cancelled", "missed", "undecided", "upcoming"]
VERDICTS: Final = ("executed", "running", "waiting", "cancelled", "missed", "undecided", "upcoming")


@dataclass(frozen=True, slots=True)
class Entry:
    """One fire time, or a span of `count` fire times from `from_time` to `until_time` that share a verdict.

    executed (the last attempt says how it ended), running, waiting (for a slot or its next attempt), cancelled (before
    it began), missed (`reason`, and `detail`: the setting that decided), undecided (due, and no node has looked yet;
    `reason` is why it will be missed, where that is certain), upcoming (planned; `reason` is what stands against it).
    """

    verdict: Verdict
    kind: str
    from_time: datetime
    until_time: datetime
    count: int = 1
    reason: str | None = None
    detail: str | None = None
    recorded_at: datetime | None = None
    attempts: list[dict[str, Any]] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """The entry as the doors show it."""
        return {
            "verdict": self.verdict,
            "kind": self.kind,
            "from_time": self.from_time,
            "until_time": self.until_time,
            "count": self.count,
            "reason": self.reason,
            "detail": self.detail,
            "recorded_at": self.recorded_at,
            "attempts": self.attempts,
        }


@dataclass(frozen=True, slots=True)
class Page:
    """Which entries: fire times from `low` to `high` (None: no bound), after the cursor `(at, shown)`: where it stands,
    and how many entries with that position were shown already. An entry's position is its `from_time`."""

    low: datetime | None
    high: datetime | None
    newest_first: bool
    limit: int
    at: datetime | None = None
    shown: int = 0
    expand: bool = False

    @property
    def first(self) -> datetime | None:
        """The smallest position that may still be shown."""
        return _largest(self.low, None if self.newest_first else self.at)

    @property
    def last(self) -> datetime | None:
        """The largest position that may still be shown."""
        return _smallest(self.high, self.at if self.newest_first else None)

    @property
    def rows(self) -> int:
        """How many rows of each sort are enough, and one more, which says that there is another page."""
        return self.limit + self.shown + 1


def page_of(
    page: Page,
    event: ScheduledEvent,
    trigger: Trigger | None,
    attempts: Iterable[EventExecution],
    missed: Iterable[MissedRun],
    now: datetime,
) -> tuple[list[Entry], tuple[datetime, int] | None]:
    """The entries of this page, and the cursor of the next one. `trigger` is None where the schedule cannot be read."""
    streams = [
        _executed(attempts),
        _unfolded((_missed(row) for row in missed), page, trigger),
        _open(page, event, trigger, now),
    ]
    entries: list[Entry] = []
    passed = 0
    for entry in merge(*streams, key=_position, reverse=page.newest_first):
        if entry.from_time == page.at and passed < page.shown:
            passed += 1
            continue
        if len(entries) == page.limit:
            return entries, _cursor(page, entries)
        entries.append(entry)
    return entries, None


def _cursor(page: Page, entries: list[Entry]) -> tuple[datetime, int]:
    at = entries[-1].from_time
    shown = sum(entry.from_time == at for entry in entries)
    return at, shown + (page.shown if at == page.at else 0)


def _position(entry: Entry) -> datetime:
    return entry.from_time


def _executed(attempts: Iterable[EventExecution]) -> Iterator[Entry]:
    for (at, kind), group in groupby(attempts, key=lambda row: (row.scheduled_for, row.kind)):
        rows = sorted(group, key=lambda row: row.attempt)
        yield Entry(verdict_of(rows), kind, at, at, attempts=[attempt_view(row) for row in rows])


def verdict_of(attempts: list[EventExecution]) -> Verdict:
    """The verdict of an occurrence that has these attempts, in their order."""
    last = attempts[-1]
    if last.state == "ready":
        return "waiting"
    if last.state == "running":
        return "running"
    never_began = last.state == "cancelled" and last.duration_ms is None
    return "cancelled" if never_began and len(attempts) == 1 else "executed"


def attempt_view(row: EventExecution) -> dict[str, Any]:
    """One attempt as the ledger shows it."""
    began = row.state != "ready"
    return {
        "id": row.id,
        "attempt": row.attempt,
        "state": row.state,
        "run_at": row.run_at,
        "start_time": row.start_time if began else None,
        "end_time": row.end_time,
        "node_id": row.node_id,
        "error_type": row.error_type,
    }


def _missed(row: MissedRun) -> Entry:
    return Entry(
        "missed",
        "schedule",
        row.from_time,
        row.until_time,
        row.count,
        reason=row.reason,
        detail=row.detail,
        recorded_at=row.recorded_at,
    )


def _unfolded(entries: Iterable[Entry], page: Page, trigger: Trigger | None) -> Iterator[Entry]:
    """Spans as single fire times, where that is asked for and the schedule is still the one that made them."""
    for entry in entries:
        if not page.expand or entry.count == 1 or not _made_by(trigger, entry):
            yield entry
        elif trigger is not None:
            low = max(entry.from_time, page.first or entry.from_time)
            high = min(entry.until_time, page.last or entry.until_time)
            for moment in _walk(trigger, low, high, newest_first=page.newest_first):
                yield _single(entry, moment)


def _single(entry: Entry, moment: datetime) -> Entry:
    return Entry(
        entry.verdict, entry.kind, moment, moment, 1, entry.reason, entry.detail, entry.recorded_at, entry.attempts
    )


def _made_by(trigger: Trigger | None, entry: Entry) -> bool:
    return trigger is not None and trigger.count_between(entry.from_time - TICK, entry.until_time) == entry.count


def _walk(trigger: Trigger, low: datetime, high: datetime, *, newest_first: bool) -> Iterator[datetime]:
    """The fire times from `low` to `high`, both inclusive, one after the other."""
    step: Callable[[datetime], datetime | None] = trigger.previous_before if newest_first else trigger.next_after
    moment = step(high + TICK if newest_first else low - TICK)
    while moment is not None and low <= moment <= high:
        yield moment
        moment = step(moment)


# What is not on record: due and not yet decided, and planned.


def _open(page: Page, event: ScheduledEvent, trigger: Trigger | None, now: datetime) -> Iterator[Entry]:
    if trigger is None or event.next_execution is None or event.status not in ("pending", "paused"):
        return
    parts = [_undecided(page, event, trigger, now), _upcoming(page, event, trigger, now)]
    for part in reversed(parts) if page.newest_first else parts:
        yield from part


def undecided(event: ScheduledEvent, trigger: Trigger, now: datetime) -> Entry | None:
    """The fire times that have come and that nobody has decided yet, as one span."""
    due = event.next_execution
    if due is None or due > now:
        return None
    latest, count = due, 1
    if knows_more_than_next(event):
        latest = trigger.previous_before(now + TICK) or due
        latest = max(latest, due)
        count = max(1, trigger.count_between(due - TICK, latest))
    return Entry("undecided", "schedule", due, latest, count, reason=_certain_reason(event))


def _certain_reason(event: ScheduledEvent) -> str | None:
    if not event.recurring:
        return None
    if event.status == "paused":
        return "paused"
    return None


def _undecided(page: Page, event: ScheduledEvent, trigger: Trigger, now: datetime) -> Iterator[Entry]:
    entry = undecided(event, trigger, now)
    if entry is None:
        return
    reaches = page.low is None or entry.until_time >= page.low
    # Where it begins before the first position, an earlier page has shown it; but a first page shows what reaches it.
    new = page.expand or page.newest_first or page.at is None or entry.from_time >= page.at
    if reaches and new and (page.last is None or entry.from_time <= page.last):
        yield from _unfolded([entry], page, trigger)


def _upcoming(page: Page, event: ScheduledEvent, trigger: Trigger, now: datetime) -> Iterator[Entry]:
    due = event.next_execution
    if due is None:
        return
    first = due if due > now else trigger.next_after(now) if knows_more_than_next(event) else None
    if first is None or (not event.recurring and due <= now):
        return
    last = first if page.high is None or not knows_more_than_next(event) else page.high
    if (limited := _last_within_limit(event, trigger, first, last, runs_before=int(due <= now))) is None:
        return
    low, high = max(first, page.first or first), min(limited, page.last or limited)
    moments = _walk(trigger, low, high, newest_first=page.newest_first) if knows_more_than_next(event) else [first]
    for moment in moments:
        if low <= moment <= high:
            yield Entry("upcoming", "schedule", moment, moment, reason=_against(event, moment))


def _against(event: ScheduledEvent, moment: datetime) -> str | None:
    ends = event.paused_until
    return "paused" if event.status == "paused" and (ends is None or moment < ends) else None


def _last_within_limit(
    event: ScheduledEvent, trigger: Trigger, first: datetime, last: datetime, *, runs_before: int
) -> datetime | None:
    """The last moment up to `last` that max_executions leaves room for; None where it leaves none."""
    if event.max_executions is None:
        return last
    left = event.max_executions - event.fired_count - runs_before
    if left <= 0:
        return None
    if not event.recurring or trigger.count_between(first - TICK, last) <= left:
        return last
    low, high = first, last  # `low` has room, `high` has not
    while high - low > TICK:
        middle = low + (high - low) / 2
        if trigger.count_between(first - TICK, middle) <= left:
            low = middle
        else:
            high = middle
    return low


def knows_more_than_next(event: ScheduledEvent) -> bool:
    """Whether its fire times beyond the next one are known; with a fixed delay they follow from how long runs take."""
    return event.recurring and (event.trigger or {}).get("mode") != "fixed_delay"


def _largest(one: datetime | None, other: datetime | None) -> datetime | None:
    return max((moment for moment in (one, other) if moment is not None), default=None)


def _smallest(one: datetime | None, other: datetime | None) -> datetime | None:
    return min((moment for moment in (one, other) if moment is not None), default=None)

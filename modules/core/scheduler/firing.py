"""Which occurrence of a due event runs, which are missed and why, and when it is due next. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from modules.core.scheduler.triggers import Trigger

ON_TIME = timedelta(seconds=60)
TICK = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Missed:
    """A span of nominal fire times that did not run; both ends are fire times."""

    from_time: datetime
    until_time: datetime
    count: int
    reason: str
    detail: str | None = None  # the setting that decided, as a short sentence


@dataclass(frozen=True, slots=True)
class Firing:
    """What a due event does: run `scheduled_for` (None: nothing), then wait for `next_execution` (None: it is over)."""

    scheduled_for: datetime | None
    next_execution: datetime | None
    missed: tuple[Missed, ...] = ()


def decide_once(due: datetime, fired: int, limit: int | None) -> Firing:
    """The decision for a one-time event: it runs, however late, unless it has been used up."""
    return Firing(due if limit is None or fired < limit else None, None)


def decide(trigger: Trigger, due: datetime, now: datetime, *, catch_up: str, remaining: int | None) -> Firing:
    """The decision for a recurring event that was due at `due`. `remaining` is how often it may still fire; None is no
    limit.

    Up to 60 s late is on time, and so is every occurrence of those 60 s. Later, `catch_up="latest"` runs the newest
    fire time and records the others as coalesced, "none" runs nothing that is late.
    """
    if remaining is not None and remaining <= 0:
        return Firing(None, None)
    if now - due <= ON_TIME:
        return _run(trigger, due, remaining, ())
    latest = trigger.previous_before(now + TICK)
    if latest is None or latest <= due:
        latest = due
    if catch_up == "none" and now - latest > ON_TIME:
        return Firing(None, trigger.next_after(now), _span(trigger, due, latest, "late"))
    before = trigger.previous_before(latest)
    missed = () if before is None or before < due else _span(trigger, due, before, "coalesced")
    return _run(trigger, latest, remaining, missed)


def skip_until(trigger: Trigger, due: datetime | None, after: datetime, now: datetime, reason: str) -> Firing:
    """Drop the fire times in `(after, now]` of an event that waits for `due`: they passed while it could not run.

    A `due` at or before `after` is left alone: it was due before whatever got in the way began.
    """
    if due is None or due <= after or due > now:
        return Firing(None, due)
    latest = trigger.previous_before(now + TICK)
    if latest is None or latest < due:
        latest = due
    return Firing(None, trigger.next_after(now), _span(trigger, due, latest, reason))


def run_the_latest(trigger: Trigger, passed: Firing, remaining: int | None) -> Firing:
    """The same, but the latest of the fire times that were dropped runs, if the event may still fire."""
    *older, span = passed.missed
    if remaining is not None and remaining <= 0:
        return passed
    before = trigger.previous_before(span.until_time)
    if span.count > 1 and before is not None:
        older.append(replace(span, until_time=before, count=span.count - 1))
    following = None if remaining == 1 else passed.next_execution
    return Firing(span.until_time, following, tuple(older))


def first_fire(trigger: Trigger, now: datetime, *, asked_for: datetime | None) -> datetime | None:
    """When a new schedule fires first: strictly after `now`, except that a first time asked for within the last 60 s
    counts as now, since the caller's clock was read a moment ago."""
    if asked_for is not None and now - ON_TIME <= asked_for <= now:
        latest = trigger.previous_before(now + TICK)
        if latest is not None and latest >= asked_for:
            return latest
    return trigger.next_after(now)


def _run(trigger: Trigger, scheduled_for: datetime, remaining: int | None, missed: tuple[Missed, ...]) -> Firing:
    following = None if remaining == 1 else trigger.next_after(scheduled_for)
    return Firing(scheduled_for, following, missed)


def _span(trigger: Trigger, first: datetime, last: datetime, reason: str) -> tuple[Missed, ...]:
    return (Missed(first, last, max(1, trigger.count_between(first - TICK, last)), reason),)

"""Which occurrence of a due event runs, which are missed and why, and when it is due next. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Final

from modules.core.scheduler.triggers import Trigger
from modules.core.scheduler.triggers.jitter import start_of

ON_TIME: Final = timedelta(seconds=60)
SPREAD: Final = timedelta(seconds=60)
TICK: Final = timedelta(microseconds=1)
CATCH_UP_LIMIT: Final = 100

Start = Callable[[datetime], datetime]


@dataclass(frozen=True, slots=True)
class LateRules:
    """What a task wants done about fire times that cannot start on time. `max_lateness` None is no bound."""

    catch_up: str = "latest"
    max_lateness: timedelta | None = None
    limit: int = CATCH_UP_LIMIT
    expires_at: datetime | None = None

    @property
    def allowed(self) -> timedelta | None:
        """How late a run may start; up to a minute is never too late."""
        return None if self.max_lateness is None else max(self.max_lateness, ON_TIME)


@dataclass(frozen=True, slots=True)
class Missed:
    """A span of nominal fire times that did not run; both ends are fire times. `detail` names the setting that
    decided."""

    from_time: datetime
    until_time: datetime
    count: int
    reason: str
    detail: str | None = None  # the setting that decided, as a short sentence


@dataclass(frozen=True, slots=True)
class Firing:
    """What a due event does: run `scheduled_for` (None: nothing), then wait for `next_execution` (None: it is over).

    It should start at `due`, from which lateness counts, and must not before `start_at`; None is the nominal time.
    """

    scheduled_for: datetime | None
    next_execution: datetime | None
    missed: tuple[Missed, ...] = ()
    due: datetime | None = None
    start_at: datetime | None = None


def no_jitter(nominal: datetime) -> datetime:
    """A fire time that starts when it is due."""
    return nominal


def jittered(trigger: Trigger, task_id: str, seconds: float) -> Start:
    """When the fire times of a task start: later by a jitter of at most half the period, so that the order of fire
    times is the order of starts."""
    return lambda nominal: start_of(trigger, task_id, nominal, seconds)


def decide_once(due: datetime, now: datetime, rules: LateRules, fired: int, limit: int | None, starts: Start) -> Firing:
    """The decision for a one-time event: it runs, however late, unless it has been used up, has expired, or is later
    than it says that it may be."""
    if limit is not None and fired >= limit:
        return Firing(None, None)
    start = starts(due) if rules.expires_at is None else min(starts(due), rules.expires_at)
    if rules.expires_at is not None and now > rules.expires_at:
        return Firing(None, None, (Missed(due, due, 1, "expired", f"expires_at={rules.expires_at.isoformat()}"),))
    if rules.allowed is not None and now - start > rules.allowed:
        return Firing(None, None, (Missed(due, due, 1, "late", _max_lateness(rules)),))
    return Firing(due, None, (), start, start)


def decide(
    trigger: Trigger,
    due: datetime,
    now: datetime,
    rules: LateRules,
    *,
    remaining: int | None,
    starts: Start = no_jitter,
) -> Firing:
    """The decision for a recurring event that was due at `due`. `remaining` is how often it may still fire; None is no
    limit.

    Up to 60 s late is on time, and so is every occurrence of those 60 s. Later, `latest` runs the newest fire time and
    records the others as coalesced; `none` runs nothing that is late; `all` runs the newest ones, `rules.limit` at
    most, the oldest of them now and each of the others in its turn. What is later than `rules.max_lateness` never runs.
    However many fire times have passed, that takes hardly more than `rules.limit` questions to the trigger.
    """
    if remaining is not None and remaining <= 0:
        return Firing(None, None, _span(trigger, due, _latest(trigger, due, now), "limit", "max_executions"))
    if now - starts(due) <= ON_TIME:
        return _run(trigger, due, now, remaining, (), starts)
    if rules.catch_up == "none":
        first, missed = _none(trigger, due, now, starts)
    elif rules.catch_up == "all":
        first, missed = _all(trigger, due, now, rules, starts)
    else:
        first, missed = _newest(trigger, due, now, rules, starts)
    if first is not None and first <= now:
        return _run(trigger, first, now, remaining, missed, starts)
    return Firing(None, first, missed)


def decide_after_end(
    following: datetime | None, due: datetime, now: datetime, rules: LateRules, *, remaining: int | None, starts: Start
) -> Firing:
    """The decision for an event whose next fire time is counted from the end of its last run: there is one fire time
    at most, so nothing can pile up. `following` is one interval from now: its next fire time when this one is missed;
    when it runs, the end of the run sets another."""
    if remaining is not None and remaining <= 0:
        return Firing(None, None)
    late = now - starts(due)
    if late > ON_TIME and rules.catch_up == "none":
        return Firing(None, following, (Missed(due, due, 1, "late", "catch_up=none"),))
    if rules.allowed is not None and late > rules.allowed:
        return Firing(None, following, (Missed(due, due, 1, "late", _max_lateness(rules)),))
    start = starts(due)
    return Firing(due, None if remaining == 1 else following, (), start, start)


def spread(firing: Firing, key: str, since: datetime) -> Firing:
    """The same, put off where it is overdue since before a downtime that ended at `since`: over the minute after it, by
    a hash of the event, so that not everything starts at once. Never by more than half the time to the next fire
    time."""
    due = firing.due or firing.scheduled_for
    if firing.scheduled_for is None or due is None or since - due <= ON_TIME:
        return firing
    longest = SPREAD
    if firing.next_execution is not None:
        longest = min(longest, max(firing.next_execution - firing.scheduled_for, timedelta(0)) / 2)
    return replace(firing, start_at=max(firing.start_at or due, since + longest * _share_of(key)))


def runs_of(trigger: Trigger, firing: Firing, now: datetime, remaining: int | None) -> int:
    """How many of the fire times up to `now` run by this decision and those that follow from it at once."""
    if firing.scheduled_for is None:
        return 0
    following = firing.next_execution
    more = 0 if following is None else trigger.count_between(following - TICK, now)
    return 1 + more if remaining is None else min(1 + more, remaining)


def skip_until(
    trigger: Trigger, due: datetime | None, after: datetime, now: datetime, reason: str, detail: str | None = None
) -> Firing:
    """Drop the fire times in `(after, now]` of an event that waits for `due`: they passed while it could not run.

    A `due` at or before `after` is left alone: it was due before whatever got in the way began.
    """
    if due is None or due <= after or due > now:
        return Firing(None, due)
    latest = _latest(trigger, due, now)
    return Firing(None, trigger.next_after(now), _span(trigger, due, latest, reason, detail))


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


# What happens when the oldest fire time, `due`, is late: the first one that runs, or the next one that will, and what
# is missed before it.
_Decided = tuple[datetime | None, tuple[Missed, ...]]


def _none(trigger: Trigger, due: datetime, now: datetime, starts: Start) -> _Decided:
    on_time = _first_from(trigger, due, now - ON_TIME, starts)
    return on_time, _before(trigger, due, on_time, now, "late", "catch_up=none")


def _newest(trigger: Trigger, due: datetime, now: datetime, rules: LateRules, starts: Start) -> _Decided:
    latest = _latest(trigger, due, now)
    if rules.allowed is not None and now - starts(latest) > rules.allowed:
        return trigger.next_after(now), _span(trigger, due, latest, "late", _max_lateness(rules))
    return latest, _before(trigger, due, latest, now, "coalesced", "catch_up=latest")


def _all(trigger: Trigger, due: datetime, now: datetime, rules: LateRules, starts: Start) -> _Decided:
    first: datetime | None = due
    missed: tuple[Missed, ...] = ()
    if rules.allowed is not None and now - starts(due) > rules.allowed:
        first = _first_from(trigger, due, now - rules.allowed, starts)
        missed = _before(trigger, due, first, now, "late", _max_lateness(rules))
    on_time = _first_from(trigger, due, now - ON_TIME, starts)
    end = now + TICK if on_time is None else min(on_time, now + TICK)
    if first is None or first >= end or trigger.count_between(first - TICK, end - TICK) <= rules.limit:
        return first, missed
    newest = end
    for _ in range(rules.limit):
        before = trigger.previous_before(newest)
        if before is None or before <= first:
            return first, missed
        newest = before
    return newest, missed + _before(trigger, first, newest, now, "cap", f"catch_up_limit={rules.limit}")


def _run(
    trigger: Trigger,
    scheduled_for: datetime,
    now: datetime,
    remaining: int | None,
    missed: tuple[Missed, ...],
    starts: Start,
) -> Firing:
    following = trigger.next_after(scheduled_for)
    if remaining == 1:
        if following is not None and following <= now:
            missed += _span(trigger, following, _latest(trigger, following, now), "limit", "max_executions")
        following = None
    start = starts(scheduled_for)
    return Firing(scheduled_for, following, missed, start, start)


def _latest(trigger: Trigger, due: datetime, now: datetime) -> datetime:
    """The newest fire time that has come; `due` is one."""
    latest = trigger.previous_before(now + TICK)
    return due if latest is None or latest <= due else latest


def _first_from(trigger: Trigger, due: datetime, moment: datetime, starts: Start) -> datetime | None:
    """The first fire time from `due` on that starts at `moment` or later. A start lies less than a period after its
    fire time, so one before `moment` comes into question at most."""
    before = trigger.previous_before(moment)
    if before is not None and before >= due and starts(before) >= moment:
        return before
    return trigger.next_after(max(moment - TICK, due))


def _before(
    trigger: Trigger, due: datetime, end: datetime | None, now: datetime, reason: str, detail: str
) -> tuple[Missed, ...]:
    """The span of fire times from `due` on, before `end`, that have come."""
    last = trigger.previous_before(now + TICK if end is None else min(end, now + TICK))
    if end is not None and end <= due:
        return ()
    return _span(trigger, due, due if last is None or last < due else last, reason, detail)


def _span(
    trigger: Trigger, first: datetime, last: datetime, reason: str, detail: str | None = None
) -> tuple[Missed, ...]:
    return (Missed(first, last, max(1, trigger.count_between(first - TICK, last)), reason, detail),)


def _share_of(key: str) -> float:
    """A number in [0, 1) that looks drawn, and is always the same for the same key."""
    drawn = int.from_bytes(blake2b(key.encode(), digest_size=8).digest())
    return (drawn >> 11) / (1 << 53)  # as many bits as a float holds, so that it never comes out as 1


def _max_lateness(rules: LateRules) -> str:
    seconds = 0.0 if rules.max_lateness is None else rules.max_lateness.total_seconds()
    return f"max_lateness_seconds={seconds:g}"

"""What an event's overlap policy does: with fire times that pass while a run is open, and with extra runs. Pure.

A run is open from the moment it is on record until it has ended; one that waits for its retry is open too. Waiting for
a free slot is not overlap.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal

from modules.core.scheduler.firing import TICK, Firing, Missed, skip_until
from modules.core.scheduler.triggers import Trigger

LONG_AGO: Final = datetime(1970, 1, 1, tzinfo=UTC)
# The run_at of an execution that waits for another one to end: nobody takes it on before it is called up.
WAITS: Final = datetime(9999, 1, 1, tzinfo=UTC)
# Of the fire times that passed during a run, queue_all keeps the newest so many.
QUEUED_TIMES: Final = 100
# So many extra runs may wait behind a run; each is a row.
QUEUED_RUNS: Final = 1_000

Place = Literal["active", "beside", "behind", "missed"]


@dataclass(frozen=True, slots=True)
class Beside:
    """What else of its event is open when an execution ends: whether another one runs or is about to, and the nominal
    times of those that wait for it to end, in the order in which they will run."""

    busy: bool = False
    waiting: tuple[datetime, ...] = ()


ALONE: Final = Beside()


@dataclass(frozen=True, slots=True)
class Extra:
    """What becomes of a run beside the schedule. `reason` and `why` are given where it is missed."""

    place: Place
    cancels: bool = False
    reason: str = ""
    why: str = ""


def runs_beside(policy: str) -> bool:
    """Whether runs under this policy leave their event in the queue of what is due: its next fire time is acted on
    while they are open."""
    return policy in ("allow", "cancel_running")


def lane_of(event_id: str) -> str:
    """The key under which the runs of one event find each other."""
    return f"task:{event_id}"


def lane(policy: str, event_id: str) -> str | None:
    """The key that a new run gets; none where an event has one run at most, which it knows by its id."""
    return None if policy == "skip" else lane_of(event_id)


def follow(
    policy: str,
    trigger: Trigger,
    due: datetime | None,
    now: datetime,
    *,
    waiting: datetime | None,
    remaining: int | None,
) -> Firing:
    """What a recurring event does when its run has ended: `scheduled_for` is the fire time that runs at once.

    `waiting` is the nominal time of the first run that waits behind; where that goes first, no fire time runs yet. A
    `next_execution` that has passed waits for the end of what runs next. `remaining` is how often the event may still
    fire; None is no limit.
    """
    if policy == "allow" or due is None or due > now:
        return Firing(None, due)
    if policy == "queue_all":
        first, missed = _newest(trigger, due, now)
        if waiting is not None and waiting <= first:
            return Firing(None, first, missed)
        return _run(trigger, first, first, now, remaining, missed)
    latest, detail = _latest(trigger, due, now), f"overlap={policy}"
    if policy == "queue_one" and waiting is None:
        following = trigger.next_after(due)
        late = () if following is None or following > latest else _span(trigger, following, latest, "overlap", detail)
        return _run(trigger, due, latest, now, remaining, late)
    if policy == "cancel_running" and (waiting is None or waiting < latest):
        before = trigger.previous_before(latest)
        late = () if before is None or before < due else _span(trigger, due, before, "overlap", detail)
        return _run(trigger, latest, latest, now, remaining, late)
    return skip_until(trigger, due, LONG_AGO, now, "overlap", detail)


def extra_run(policy: str, *, open_runs: int, waiting: int, due: datetime | None, now: datetime) -> Extra:
    """Where a run beside the schedule goes: by hand, for an event, for a backfill.

    `open_runs` counts what is open, `waiting` those of them that wait behind; `due` is the next fire time of a
    recurring event that may fire.
    """
    if policy == "allow":
        return Extra("beside")
    if not open_runs:
        return Extra("beside" if runs_beside(policy) else "active")
    if policy == "cancel_running":
        return Extra("behind", cancels=True)
    if policy == "queue_all":
        if waiting >= QUEUED_RUNS:
            return Extra("missed", reason="cap", why=f"{QUEUED_RUNS} runs wait already")
        return Extra("behind")
    if policy == "queue_one":
        if waiting or (due is not None and due <= now):
            return Extra("missed", reason="overlap", why="overlap is queue_one, and one run waits already")
        return Extra("behind")
    return Extra("missed", reason="overlap", why="overlap is skip")


def _newest(trigger: Trigger, due: datetime, now: datetime) -> tuple[datetime, tuple[Missed, ...]]:
    """The first of the newest fire times in [due, now] that may wait, and the older ones as missed."""
    if trigger.count_between(due - TICK, now) <= QUEUED_TIMES:
        return due, ()
    first = now + TICK
    for _ in range(QUEUED_TIMES):
        before = trigger.previous_before(first)
        if before is None or before <= due:
            return due, ()
        first = before
    last = trigger.previous_before(first)
    detail = f"overlap=queue_all, of which {QUEUED_TIMES} may wait"
    return first, () if last is None or last < due else _span(trigger, due, last, "cap", detail)


def _latest(trigger: Trigger, due: datetime, now: datetime) -> datetime:
    latest = trigger.previous_before(now + TICK)
    return due if latest is None or latest < due else latest


def _run(
    trigger: Trigger,
    scheduled_for: datetime,
    passed: datetime,
    now: datetime,
    remaining: int | None,
    missed: tuple[Missed, ...],
) -> Firing:
    following = trigger.next_after(passed)
    if remaining != 1:
        return Firing(scheduled_for, following, missed)
    if following is not None and following <= now:
        missed += _span(trigger, following, _latest(trigger, following, now), "limit", "max_executions")
    return Firing(scheduled_for, None, missed)


def _span(trigger: Trigger, first: datetime, last: datetime, reason: str, detail: str) -> tuple[Missed, ...]:
    return (Missed(first, last, max(1, trigger.count_between(first - TICK, last)), reason, detail),)

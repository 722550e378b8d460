"""The state machine: statuses, outcomes, and what follows from an outcome. Pure: tested as a table.

Event:      pending -> paused -> pending; pending -> completed | failed (nothing left to fire);
            pending | paused -> cancelled.
Execution:  ready -> running -> succeeded | failed | timed_out | cancelled | interrupted | abandoned.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, get_args

EventStatus = Literal["pending", "paused", "completed", "failed", "cancelled"]
ExecutionState = Literal[
    "ready", "running", "succeeded", "failed", "timed_out", "cancelled", "interrupted", "abandoned"
]
Delivery = Literal["at_least_once", "at_most_once"]
Backoff = Literal["fixed", "linear", "exponential"]

EVENT_STATUSES: tuple[str, ...] = get_args(EventStatus)
EXECUTION_STATES: tuple[str, ...] = get_args(ExecutionState)
OPEN_STATES = ("ready", "running")
DELIVERIES: tuple[str, ...] = get_args(Delivery)
EXECUTION_KINDS = ("schedule", "manual", "event", "backfill")
OVERLAP_POLICIES = ("skip", "queue_one", "queue_all", "cancel_running", "allow")
CATCH_UP_POLICIES = ("none", "latest", "all")
MISSED_REASONS = (
    "overlap",
    "paused",
    "excluded",
    "expired",
    "late",
    "coalesced",
    "cap",
    "limit",
    "edited",
    "disabled",
)
NODE_STATES = ("running", "draining")

MAX_ABANDONMENTS = 3


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often a failing occurrence is tried, and how long to wait before the next attempt.

    `max_attempts` counts the first one. Waiting grows by `backoff` from `delay_seconds` up to `max_delay_seconds`;
    with `jitter` the wait is drawn evenly from 0 to that value (full jitter), so that rivals spread.
    """

    max_attempts: int = 1
    backoff: Backoff = "exponential"
    delay_seconds: float = 10.0
    max_delay_seconds: float = 3600.0
    jitter: bool = True

    def delay_after(self, failures: int, rng: random.Random) -> timedelta:
        """The wait after the `failures`-th failed attempt (1 for the first)."""
        growth: float = {"fixed": 1, "linear": failures, "exponential": 2 ** min(failures - 1, 60)}[self.backoff]
        seconds = min(self.delay_seconds * growth, self.max_delay_seconds)
        return timedelta(seconds=rng.uniform(0, seconds) if self.jitter else seconds)


@dataclass(frozen=True, slots=True)
class EventState:
    """What settle() needs to know of an event. `next_execution` is the first fire time that may still run; `waits` says
    that something else than the clock may start it again."""

    status: EventStatus
    recurring: bool
    next_execution: datetime | None
    delivery: Delivery
    retry: RetryPolicy
    waits: bool = False


@dataclass(frozen=True, slots=True)
class Attempt:
    """The attempt that has just ended: its number, and the failed and abandoned ones before it."""

    number: int
    failures: int
    abandonments: int
    scheduled: bool  # False for manual, event and backfill runs, which leave the schedule alone
    final: bool = False  # somebody asked to cancel it


@dataclass(frozen=True, slots=True)
class NextAttempt:
    """One more attempt at the same occurrence."""

    number: int
    failures: int
    abandonments: int
    run_at: datetime


@dataclass(frozen=True, slots=True)
class Settlement:
    """What follows from an outcome: the event's status, and the next attempt if there is one."""

    status: EventStatus
    next_attempt: NextAttempt | None


def settle(
    event: EventState, attempt: Attempt, outcome: ExecutionState, now: datetime, rng: random.Random
) -> Settlement:
    """What follows from `outcome`. A pause or a cancellation that arrived meanwhile survives."""
    following = _next_attempt(event, attempt, outcome, now, rng)
    goes_on = event.next_execution is not None or event.waits
    if event.status != "pending" or following is not None or goes_on:
        return Settlement(event.status, following)
    return Settlement(_final_status(event, outcome), None)


def pause_sentence(actor: str | None, since: datetime | None, until: datetime | None, reason: str | None) -> str:
    """Who paused a task, from when until when and why, as the detail of what was missed meanwhile."""
    by = f" by {actor}" if actor else ""
    began = f" from {since.isoformat()}" if since else ""
    ends = f" until {until.isoformat()}" if until else ""
    return f"paused{by}{began}{ends}{f': {reason}' if reason else ''}"


def may_pause(status: str) -> bool:
    return status == "pending"


def may_resume(status: str) -> bool:
    return status == "paused"


def may_cancel(status: str) -> bool:
    """Cancelling what is cancelled already is harmless; what has finished has nothing left to cancel."""
    return status in ("pending", "paused", "cancelled")


def may_execute_now(status: str) -> bool:
    """By hand, a paused task may run, and a finished one may run again; a cancelled one is gone for good."""
    return status != "cancelled"


def _next_attempt(
    event: EventState, attempt: Attempt, outcome: ExecutionState, now: datetime, rng: random.Random
) -> NextAttempt | None:
    if event.status == "cancelled" or event.delivery == "at_most_once" or attempt.final:
        return None
    number, failures, abandonments = attempt.number + 1, attempt.failures, attempt.abandonments
    if outcome == "interrupted":
        return NextAttempt(number, failures, abandonments, now)
    if outcome == "abandoned":
        abandonments += 1
        return NextAttempt(number, failures, abandonments, now) if abandonments < MAX_ABANDONMENTS else None
    if outcome in ("failed", "timed_out"):
        failures += 1
        if failures >= event.retry.max_attempts:
            return None
        run_at = now + event.retry.delay_after(failures, rng)
        if event.recurring and event.next_execution is not None and run_at >= event.next_execution:
            return None  # the next occurrence comes first; two runs of one task would only get in each other's way
        return NextAttempt(number, failures, abandonments, run_at)
    return None


def _final_status(event: EventState, outcome: ExecutionState) -> EventStatus:
    if event.recurring or outcome == "succeeded":
        return "completed"
    return "cancelled" if outcome == "cancelled" else "failed"

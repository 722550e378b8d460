"""The scheduler's state machine as a table: what follows from each outcome, and what may be asked for."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from modules.core.scheduler.lifecycle import (
    EVENT_STATUSES,
    MAX_ABANDONMENTS,
    Attempt,
    EventState,
    EventStatus,
    ExecutionState,
    NextAttempt,
    RetryPolicy,
    Settlement,
    may_cancel,
    may_execute_now,
    may_pause,
    may_resume,
    settle,
)

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
SOON, LATER = NOW + timedelta(seconds=30), NOW + timedelta(hours=1)
RETRY = RetryPolicy(max_attempts=3, backoff="fixed", delay_seconds=60, jitter=False)
ONCE = EventState("pending", recurring=False, next_execution=None, delivery="at_least_once", retry=RETRY)
RECURRING = replace(ONCE, recurring=True, next_execution=LATER)
FIRST = Attempt(1, failures=0, abandonments=0, scheduled=True)


def settled(event: EventState, outcome: ExecutionState, attempt: Attempt = FIRST) -> Settlement:
    return settle(event, attempt, outcome, NOW, random.Random(1))


def again(*, failures: int = 0, abandonments: int = 0, after: float = 0.0, number: int = 2) -> NextAttempt:
    return NextAttempt(number, failures, abandonments, NOW + timedelta(seconds=after))


@pytest.mark.parametrize(
    ("allowed", "statuses"),
    [
        (may_pause, {"pending"}),
        (may_resume, {"paused"}),
        (may_cancel, {"pending", "paused", "cancelled"}),
        (may_execute_now, {"pending", "paused", "completed", "failed"}),
    ],
)
def test_what_may_be_asked_for_in_which_status(allowed: object, statuses: set[str]) -> None:
    assert callable(allowed)
    assert {status for status in EVENT_STATUSES if allowed(status)} == statuses


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        ("succeeded", Settlement("completed", None)),
        ("failed", Settlement("pending", again(failures=1, after=60))),
        ("timed_out", Settlement("pending", again(failures=1, after=60))),
        ("interrupted", Settlement("pending", again())),
        ("abandoned", Settlement("pending", again(abandonments=1))),
        ("cancelled", Settlement("cancelled", None)),
    ],
)
def test_what_follows_from_each_outcome_of_a_one_time_task(outcome: ExecutionState, expected: Settlement) -> None:
    assert settled(ONCE, outcome) == expected


@pytest.mark.parametrize("outcome", ["succeeded", "failed", "timed_out", "interrupted", "abandoned", "cancelled"])
def test_a_recurring_task_goes_on_whatever_happens(outcome: ExecutionState) -> None:
    assert settled(RECURRING, outcome).status == "pending"


@pytest.mark.parametrize("outcome", ["succeeded", "failed", "timed_out", "interrupted", "abandoned", "cancelled"])
@pytest.mark.parametrize("status", ["paused", "cancelled", "completed", "failed"])
@pytest.mark.parametrize("event", [ONCE, RECURRING])
def test_a_status_that_somebody_set_meanwhile_survives(
    event: EventState, status: EventStatus, outcome: ExecutionState
) -> None:
    """A next attempt is made all the same, and waits; not for a cancelled task."""
    settlement = settled(replace(event, status=status), outcome)
    assert settlement.status == status
    retried = outcome in ("failed", "timed_out", "interrupted", "abandoned") and status != "cancelled"
    assert (settlement.next_attempt is not None) is retried


@pytest.mark.parametrize("outcome", ["failed", "timed_out", "interrupted", "abandoned"])
def test_a_task_that_runs_at_most_once_has_no_next_attempt(outcome: ExecutionState) -> None:
    assert settled(replace(ONCE, delivery="at_most_once"), outcome) == Settlement("failed", None)
    assert settled(replace(RECURRING, delivery="at_most_once"), outcome) == Settlement("pending", None)


def test_failures_are_counted_up_to_the_policys_number() -> None:
    assert settled(ONCE, "failed", replace(FIRST, number=2, failures=1)).next_attempt == again(
        number=3, failures=2, after=60
    )
    assert settled(ONCE, "failed", replace(FIRST, number=3, failures=2)) == Settlement("failed", None)
    interrupted_before = replace(FIRST, number=7, failures=0, abandonments=2)
    assert settled(ONCE, "failed", interrupted_before).next_attempt == again(
        number=8, failures=1, abandonments=2, after=60
    )


def test_deaths_are_counted_apart_from_failures_and_interruptions_not_at_all() -> None:
    last = replace(FIRST, number=3, abandonments=MAX_ABANDONMENTS - 1)
    assert settled(ONCE, "abandoned", last) == Settlement("failed", None)
    assert settled(RECURRING, "abandoned", last) == Settlement("pending", None)
    often = replace(FIRST, number=50, failures=2, abandonments=2)
    assert settled(ONCE, "interrupted", often).next_attempt == again(number=51, failures=2, abandonments=2)


def test_a_retry_that_would_not_come_before_the_next_occurrence_yields_to_it() -> None:
    at_once = replace(RECURRING, next_execution=NOW + timedelta(seconds=60))
    assert settled(at_once, "failed").next_attempt is None
    assert settled(replace(RECURRING, next_execution=SOON), "failed").next_attempt is None
    just_before = replace(RECURRING, next_execution=NOW + timedelta(seconds=60, microseconds=1))
    assert settled(just_before, "failed").next_attempt == again(failures=1, after=60)


def test_the_last_occurrence_of_a_recurring_task_completes_it() -> None:
    last = replace(RECURRING, next_execution=None)
    assert settled(last, "succeeded") == Settlement("completed", None)
    assert settled(last, "failed", replace(FIRST, failures=2)) == Settlement("completed", None)
    assert settled(last, "failed").next_attempt is not None


@pytest.mark.parametrize(
    ("backoff", "waits"),
    [("fixed", [10, 10, 10, 10]), ("linear", [10, 20, 30, 35]), ("exponential", [10, 20, 35, 35])],
)
def test_waits_grow_as_the_policy_says_up_to_its_longest(backoff: str, waits: list[int]) -> None:
    policy = RetryPolicy(9, backoff, 10, 35, jitter=False)  # type: ignore[arg-type]
    rng = random.Random(1)
    assert [policy.delay_after(failures, rng).total_seconds() for failures in (1, 2, 3, 4)] == waits
    assert policy.delay_after(100_000, rng).total_seconds() == waits[0] if backoff == "fixed" else 35


def test_jitter_draws_from_nothing_to_the_whole_wait() -> None:
    policy = RetryPolicy(9, "fixed", 10, 35, jitter=True)
    rng = random.Random(1)
    drawn = [policy.delay_after(1, rng).total_seconds() for _ in range(200)]
    assert all(0 <= seconds <= 10 for seconds in drawn)
    assert min(drawn) < 1
    assert max(drawn) > 9

"""Which occurrence of a due event runs, and what is on record of the others: decisions without a database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from modules.core.scheduler.firing import (
    Firing,
    LateRules,
    Missed,
    decide,
    decide_after_end,
    decide_once,
    first_fire,
    jittered,
    no_jitter,
    skip_until,
    spread,
)
from modules.core.scheduler.triggers import Trigger, trigger_from_spec

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
TICK = timedelta(microseconds=1)


@pytest.fixture
def hourly() -> Trigger:
    return trigger_from_spec({"interval": "1 hour", "schedule_time": NOON.isoformat()})


def hours(number: float) -> datetime:
    return NOON + timedelta(hours=number)


def runs(nominal: datetime, following: datetime | None, *missed: Missed) -> Firing:
    """The decision to run that fire time, due at its nominal time."""
    return Firing(nominal, following, missed, nominal, nominal)


def late(first: float, last: float, count: int, setting: str) -> Missed:
    return Missed(hours(first), hours(last), count, "late", setting)


@pytest.mark.parametrize("remaining", [0, -1])
def test_what_may_fire_no_more_is_over(hourly: Trigger, remaining: int) -> None:
    """Also the fire times that have come have a verdict."""
    rest = Missed(NOON, hours(2), 3, "limit", "max_executions")
    assert decide(hourly, NOON, hours(2.5), LateRules(), remaining=remaining) == Firing(None, None, (rest,))


@pytest.mark.parametrize(
    ("fired", "limit", "expected"),
    [(0, None, NOON), (5, None, NOON), (0, 1, NOON), (1, 2, NOON), (1, 1, None), (2, 1, None)],
)
def test_a_one_time_task_runs_unless_it_is_used_up(fired: int, limit: int | None, expected: datetime | None) -> None:
    """How late it is plays no part."""
    decided = decide_once(NOON, hours(10_000), LateRules(), fired, limit, no_jitter)
    assert decided == (runs(NOON, None) if expected else Firing(None, None))


@pytest.mark.parametrize(
    ("rules", "now", "missed"),
    [
        (LateRules(expires_at=hours(1)), hours(1), ()),
        (
            LateRules(expires_at=hours(1)),
            hours(1) + TICK,
            (Missed(NOON, NOON, 1, "expired", "expires_at=2026-03-02T13:00:00+00:00"),),
        ),
        (LateRules(max_lateness=timedelta(hours=1)), hours(1), ()),
        (LateRules(max_lateness=timedelta(hours=1)), hours(1) + TICK, (late(0, 0, 1, "max_lateness_seconds=3600"),)),
        (LateRules(max_lateness=timedelta(0)), NOON + MINUTE, ()),  # up to a minute is on time whatever was stored
    ],
)
def test_a_one_time_task_may_say_how_late_is_too_late(
    rules: LateRules, now: datetime, missed: tuple[Missed, ...]
) -> None:
    decided = decide_once(NOON, now, rules, 0, None, no_jitter)
    assert decided == (Firing(None, None, missed) if missed else runs(NOON, None))


def test_the_jitter_of_a_one_time_task_ends_before_it_expires() -> None:
    starts = jittered(trigger_from_spec({"schedule_time": NOON}), "a task", 5 * 3600)
    assert starts(NOON) > hours(0.01), "the task's name happens to draw next to nothing: take another"
    decided = decide_once(NOON, NOON, LateRules(expires_at=hours(0.01)), 0, None, starts)
    assert decided.start_at == hours(0.01)


@pytest.mark.parametrize(("remaining", "following"), [(1, None), (2, hours(1)), (None, hours(1))])
def test_the_last_permitted_occurrence_has_no_next_one(
    hourly: Trigger, remaining: int | None, following: datetime | None
) -> None:
    assert decide(hourly, NOON, NOON, LateRules(), remaining=remaining) == runs(NOON, following)


@pytest.mark.parametrize("catch_up", ["latest", "none", "all"])
def test_up_to_a_minute_late_is_on_time(hourly: Trigger, catch_up: str) -> None:
    assert decide(hourly, NOON, NOON + MINUTE, LateRules(catch_up), remaining=None) == runs(NOON, hours(1))


@pytest.mark.parametrize(
    ("rules", "after", "expected"),
    [
        # A minute and a moment late, before the next fire time.
        (LateRules("latest"), MINUTE + TICK, runs(NOON, hours(1))),
        (LateRules("none"), MINUTE + TICK, Firing(None, hours(1), (late(0, 0, 1, "catch_up=none"),))),
        (LateRules("all"), MINUTE + TICK, runs(NOON, hours(1))),
        # At the third fire time.
        (
            LateRules("latest"),
            timedelta(hours=2),
            runs(hours(2), hours(3), Missed(NOON, hours(1), 2, "coalesced", "catch_up=latest")),
        ),
        (LateRules("none"), timedelta(hours=2), runs(hours(2), hours(3), late(0, 1, 2, "catch_up=none"))),
        (LateRules("all"), timedelta(hours=2), runs(NOON, hours(1))),
        # Five minutes after it.
        (
            LateRules("latest"),
            timedelta(hours=2, minutes=5),
            runs(hours(2), hours(3), Missed(NOON, hours(1), 2, "coalesced", "catch_up=latest")),
        ),
        (
            LateRules("none"),
            timedelta(hours=2, minutes=5),
            Firing(None, hours(3), (late(0, 2, 3, "catch_up=none"),)),
        ),
        # Later than may be.
        (
            LateRules("latest", timedelta(minutes=4)),
            timedelta(hours=2, minutes=5),
            Firing(None, hours(3), (late(0, 2, 3, "max_lateness_seconds=240"),)),
        ),
        (
            LateRules("latest", timedelta(minutes=5)),
            timedelta(hours=2, minutes=5),
            runs(hours(2), hours(3), Missed(NOON, hours(1), 2, "coalesced", "catch_up=latest")),
        ),
        (
            LateRules("all", timedelta(minutes=65)),
            timedelta(hours=2, minutes=5),
            runs(hours(1), hours(2), late(0, 0, 1, "max_lateness_seconds=3900")),
        ),
        (
            LateRules("all", timedelta(minutes=4)),
            timedelta(hours=2, minutes=5),
            Firing(None, hours(3), (late(0, 2, 3, "max_lateness_seconds=240"),)),
        ),
        # More than the newest few; what is on time is not counted among them.
        (
            LateRules("all", limit=2),
            timedelta(hours=5, minutes=5),
            runs(hours(4), hours(5), Missed(NOON, hours(3), 4, "cap", "catch_up_limit=2")),
        ),
        (
            LateRules("all", limit=2),
            timedelta(hours=5),
            runs(hours(3), hours(4), Missed(NOON, hours(2), 3, "cap", "catch_up_limit=2")),
        ),
        (
            LateRules("all", timedelta(hours=4), limit=2),
            timedelta(hours=5, minutes=5),
            runs(
                hours(4),
                hours(5),
                late(0, 1, 2, "max_lateness_seconds=14400"),
                Missed(hours(2), hours(3), 2, "cap", "catch_up_limit=2"),
            ),
        ),
    ],
)
def test_what_is_later_follows_the_tasks_rules(
    hourly: Trigger, rules: LateRules, after: timedelta, expected: Firing
) -> None:
    assert decide(hourly, NOON, NOON + after, rules, remaining=None) == expected


def test_the_limit_of_executions_ends_the_catching_up(hourly: Trigger) -> None:
    """The oldest come first, as they would have without the downtime; then it is over."""
    rest = Missed(hours(1), hours(5), 5, "limit", "max_executions")
    assert decide(hourly, NOON, hours(5), LateRules("all"), remaining=2) == runs(NOON, hours(1))
    assert decide(hourly, NOON, hours(5), LateRules("all"), remaining=1) == runs(NOON, None, rest)


def test_lateness_counts_from_the_jittered_start(hourly: Trigger) -> None:
    starts = jittered(hourly, "a task", 1800)
    start = starts(NOON)
    assert start > NOON + timedelta(minutes=2), "the task's name happens to draw next to nothing: take another"
    rules = LateRules("none")
    ahead = decide(hourly, NOON, NOON, rules, remaining=None, starts=starts)
    assert ahead == Firing(NOON, hours(1), (), start, start)
    on_time = decide(hourly, NOON, start + MINUTE, rules, remaining=None, starts=starts)
    assert on_time == ahead
    too_late = decide(hourly, NOON, start + MINUTE + TICK, rules, remaining=None, starts=starts)
    assert too_late == Firing(None, hours(1), (late(0, 0, 1, "catch_up=none"),))


def test_one_that_is_still_to_start_is_found_behind_late_ones(hourly: Trigger) -> None:
    starts = jittered(hourly, "a task", 1800)
    now = starts(hours(3)) + MINUTE / 2
    decided = decide(hourly, NOON, now, LateRules("none"), remaining=None, starts=starts)
    assert (decided.scheduled_for, decided.due) == (hours(3), starts(hours(3)))
    assert decided.missed == (late(0, 2, 3, "catch_up=none"),)


@pytest.mark.parametrize(
    ("rules", "now", "remaining", "expected"),
    [
        (LateRules(), NOON, None, runs(NOON, hours(1))),
        (LateRules("none"), NOON + MINUTE, None, runs(NOON, hours(1) + MINUTE)),
        (LateRules("none"), hours(5), None, Firing(None, hours(6), (late(0, 0, 1, "catch_up=none"),))),
        (LateRules("all"), hours(5), None, runs(NOON, hours(6))),
        (
            LateRules("latest", timedelta(hours=4)),
            hours(5),
            None,
            Firing(None, hours(6), (late(0, 0, 1, "max_lateness_seconds=14400"),)),
        ),
        (LateRules(), hours(5), 1, runs(NOON, None)),
        (LateRules(), hours(5), 0, Firing(None, None)),
    ],
)
def test_what_counts_from_the_end_of_a_run_has_one_fire_time_at_most(
    rules: LateRules, now: datetime, remaining: int | None, expected: Firing
) -> None:
    following = now + timedelta(hours=1)
    decided = decide_after_end(following, NOON, now, rules, remaining=remaining, starts=no_jitter)
    assert decided == expected


def test_what_a_downtime_made_late_starts_within_a_minute_after_it(hourly: Trigger) -> None:
    since = hours(2.5)
    fired = decide(hourly, NOON, since + MINUTE / 4, LateRules(), remaining=None)
    starts = {spread(fired, f"task {number}", since).start_at for number in range(50)}
    assert len(starts) > 40
    assert all(start is not None and since <= start <= since + MINUTE for start in starts)
    assert {spread(fired, f"task {number}", since).scheduled_for for number in range(50)} == {hours(2)}


def test_what_was_not_overdue_when_the_downtime_ended_is_not_put_off(hourly: Trigger) -> None:
    fired = decide(hourly, NOON, hours(0.01), LateRules(), remaining=None)
    for since in (NOON, NOON + MINUTE, NOON - MINUTE):
        assert spread(fired, "a task", since) == fired
    assert spread(Firing(None, hours(1)), "a task", hours(5)) == Firing(None, hours(1))


def test_nothing_is_put_off_by_more_than_half_its_period() -> None:
    secondly = trigger_from_spec({"interval": "1 second", "schedule_time": NOON.isoformat()})
    fired = decide(secondly, NOON, hours(1), LateRules("all"), remaining=None)
    for number in range(20):
        start = spread(fired, f"task {number}", hours(1)).start_at
        assert start is not None
        assert start <= hours(1) + timedelta(seconds=0.5)


@pytest.mark.parametrize(
    ("due", "after", "now", "expected"),
    [
        (None, NOON, hours(5), Firing(None, None)),
        (NOON, NOON, hours(5), Firing(None, NOON)),  # due before it began
        (hours(1), NOON, hours(0.5), Firing(None, hours(1))),  # not due yet
        (hours(1), NOON, hours(1), Firing(None, hours(2), (Missed(hours(1), hours(1), 1, "overlap"),))),
        (hours(1), NOON, hours(3.5), Firing(None, hours(4), (Missed(hours(1), hours(3), 3, "overlap"),))),
    ],
)
def test_fire_times_during_something_else_are_dropped_and_told(
    hourly: Trigger, due: datetime | None, after: datetime, now: datetime, expected: Firing
) -> None:
    assert skip_until(hourly, due, after, now, "overlap") == expected


@pytest.mark.parametrize(
    ("asked_for", "expected"),
    [
        (None, hours(1)),
        (NOON, NOON),
        (NOON - timedelta(seconds=60), NOON),
        (NOON - timedelta(seconds=61), hours(1)),
        (NOON + timedelta(seconds=1), hours(1)),
    ],
)
def test_a_first_time_of_a_moment_ago_counts_as_now(
    hourly: Trigger, asked_for: datetime | None, expected: datetime
) -> None:
    assert first_fire(hourly, NOON, asked_for=asked_for) == expected

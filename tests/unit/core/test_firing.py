"""Which occurrence of a due event runs, and what is on record of the others: decisions without a database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from modules.core.scheduler.firing import Firing, Missed, decide, decide_once, first_fire, skip_until
from modules.core.scheduler.triggers import Trigger, trigger_from_spec

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@pytest.fixture
def hourly() -> Trigger:
    return trigger_from_spec({"interval": "1 hour", "schedule_time": NOON.isoformat()})


def hours(number: float) -> datetime:
    return NOON + timedelta(hours=number)


@pytest.mark.parametrize("remaining", [0, -1])
def test_what_may_fire_no_more_is_over(hourly: Trigger, remaining: int) -> None:
    assert decide(hourly, NOON, NOON, catch_up="latest", remaining=remaining) == Firing(None, None)


@pytest.mark.parametrize(
    ("fired", "limit", "expected"),
    [(0, None, NOON), (5, None, NOON), (0, 1, NOON), (1, 2, NOON), (1, 1, None), (2, 1, None)],
)
def test_a_one_time_task_runs_unless_it_is_used_up(fired: int, limit: int | None, expected: datetime | None) -> None:
    """How late it is plays no part."""
    assert decide_once(NOON, fired, limit) == Firing(expected, None)


@pytest.mark.parametrize(("remaining", "following"), [(1, None), (2, hours(1)), (None, hours(1))])
def test_the_last_permitted_occurrence_has_no_next_one(
    hourly: Trigger, remaining: int | None, following: datetime | None
) -> None:
    fired = decide(hourly, NOON, NOON, catch_up="latest", remaining=remaining)
    assert fired == Firing(NOON, following)


@pytest.mark.parametrize("catch_up", ["latest", "none"])
def test_up_to_a_minute_late_is_on_time(hourly: Trigger, catch_up: str) -> None:
    fired = decide(hourly, NOON, NOON + MINUTE, catch_up=catch_up, remaining=None)
    assert fired == Firing(NOON, hours(1))


@pytest.mark.parametrize(
    ("catch_up", "late", "expected"),
    [
        # A minute and a moment late, before the next fire time.
        ("latest", MINUTE + timedelta(microseconds=1), Firing(NOON, hours(1))),
        (
            "none",
            MINUTE + timedelta(microseconds=1),
            Firing(None, hours(1), (Missed(NOON, NOON, 1, "late"),)),
        ),
        # At the third fire time, and long after it.
        (
            "latest",
            timedelta(hours=2),
            Firing(hours(2), hours(3), (Missed(NOON, hours(1), 2, "coalesced"),)),
        ),
        (
            "none",
            timedelta(hours=2),
            Firing(hours(2), hours(3), (Missed(NOON, hours(1), 2, "coalesced"),)),
        ),
        (
            "none",
            timedelta(hours=2, minutes=5),
            Firing(None, hours(3), (Missed(NOON, hours(2), 3, "late"),)),
        ),
    ],
)
def test_later_the_newest_runs_or_nothing(hourly: Trigger, catch_up: str, late: timedelta, expected: Firing) -> None:
    assert decide(hourly, NOON, NOON + late, catch_up=catch_up, remaining=None) == expected


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

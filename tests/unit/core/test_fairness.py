"""Who goes first, how far ahead to claim, what a limit lets through: values in, values out."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from modules.core.scheduler.fairness import Admission, Limit, Waiting, rank, shares
from modules.core.scheduler.pace import MOST_AHEAD, Pace

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def waiting(priority: int, seconds: float) -> Waiting:
    return Waiting("due", priority, NOON + timedelta(seconds=seconds))


def test_a_higher_priority_goes_first_until_the_other_has_waited_longer_than_its_head_start() -> None:
    assert rank(NOON, 1, MINUTE) < rank(NOON - timedelta(seconds=59), 0, MINUTE)
    assert rank(NOON, 1, MINUTE) > rank(NOON - timedelta(seconds=61), 0, MINUTE), "it would starve"


def test_shares_say_how_many_of_each_are_among_the_first() -> None:
    crowd = [*(waiting(0, second) for second in range(10)), *(waiting(1, second) for second in range(10))]
    assert shares(crowd, 10, MINUTE) == Counter({("due", 1): 10})
    assert shares(crowd, 12, MINUTE) == Counter({("due", 1): 10, ("due", 0): 2})
    assert shares(crowd, 10, timedelta(0)) == Counter({("due", 0): 5, ("due", 1): 5}), "without a head start, by time"


@given(st.lists(st.tuples(st.integers(-3, 3), st.floats(-600, 0)), max_size=30), st.integers(1, 40))
def test_whoever_is_taken_ranks_before_whoever_is_left(rows: list[tuple[int, float]], limit: int) -> None:
    crowd = [waiting(priority, seconds) for priority, seconds in rows]
    taken = shares(crowd, limit, MINUTE)
    assert sum(taken.values()) == min(limit, len(crowd))
    ranks = sorted(rank(one.moment, one.priority, MINUTE) for one in crowd)
    worst = ranks[: sum(taken.values())][-1:] or [NOON]
    for priority in range(-3, 4):
        of_one = sorted(rank(one.moment, one.priority, MINUTE) for one in crowd if one.priority == priority)
        assert all(place <= worst[0] for place in of_one[: taken[("due", priority)]])


def test_a_limit_of_a_function_and_one_of_its_module_hold_together() -> None:
    admission = Admission({Limit("shop", None, 3): 3, Limit("shop", "report", 1): 1})
    assert [admission.take("shop", "report") for _ in range(2)] == [True, False]
    assert admission.is_full("shop", "report")
    assert not admission.is_full("shop", "mail")
    assert [admission.take("shop", "mail") for _ in range(3)] == [True, True, False]
    assert admission.take("other", "report")
    assert admission.any_full


def test_short_tasks_are_claimed_ahead_of_the_slots_and_long_ones_are_not() -> None:
    pace = Pace()
    pace.measure(0, 100.0)
    ended = 0
    for step in range(1, 12):
        ended += 100
        pace.measure(ended, 100.0 + step / 100)
    assert MOST_AHEAD / 2 < pace.ahead <= MOST_AHEAD, "10,000 a second"
    for step in range(1, 12):
        ended += 1
        pace.measure(ended, 101.0 + step)
    assert pace.ahead == 0, "one a second"


def test_a_look_that_comes_at_once_is_no_measure() -> None:
    pace = Pace()
    pace.measure(0, 100.0)
    pace.measure(50, 100.0001)
    assert pace.ahead == 0

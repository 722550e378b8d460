"""What each overlap policy does, as tables."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from modules.core.scheduler.firing import Firing, Missed
from modules.core.scheduler.overlap import QUEUED_RUNS, QUEUED_TIMES, Extra, extra_run, follow
from modules.core.scheduler.triggers import trigger_from_spec
from tests.support.app import NOON

MINUTE = timedelta(minutes=1)
MINUTELY = trigger_from_spec({"schedule_time": NOON, "interval_type": "minutes", "interval_value": 1})
DUE = NOON + MINUTE


def bare(firing: Firing) -> Firing:
    """The same without the sentences that say which setting decided."""
    return replace(firing, missed=tuple(replace(span, detail=None) for span in firing.missed))


def missed(first: float, last: float, reason: str) -> tuple[Missed, ...]:
    return (Missed(NOON + first * MINUTE, NOON + last * MINUTE, int(last - first) + 1, reason),)


# Due at minute 1; the run before it ended in the middle of minute 4. `waiting` is when a run was asked for by hand.
@pytest.mark.parametrize(
    ("policy", "waiting", "wanted"),
    [
        ("skip", None, (None, 5, missed(1, 4, "overlap"))),
        ("queue_one", None, (1, 5, missed(2, 4, "overlap"))),
        ("queue_one", 0.5, (None, 5, missed(1, 4, "overlap"))),
        ("queue_all", None, (1, 2, ())),
        ("queue_all", 0.5, (None, 1, ())),
        ("queue_all", 2.5, (1, 2, ())),
        ("cancel_running", None, (4, 5, missed(1, 3, "overlap"))),
        ("cancel_running", 2.5, (4, 5, missed(1, 3, "overlap"))),
        ("cancel_running", 4.2, (None, 5, missed(1, 4, "overlap"))),
        ("allow", None, (None, 1, ())),
    ],
)
def test_what_follows_when_fire_times_passed(
    policy: str, waiting: float | None, wanted: tuple[float | None, float, tuple[Missed, ...]]
) -> None:
    asked = None if waiting is None else NOON + waiting * MINUTE
    firing = follow(policy, MINUTELY, DUE, NOON + 4.5 * MINUTE, waiting=asked, remaining=None)
    runs, following, spans = wanted
    assert bare(firing) == Firing(None if runs is None else NOON + runs * MINUTE, NOON + following * MINUTE, spans)
    assert all(span.detail == f"overlap={policy}" for span in firing.missed)


@pytest.mark.parametrize("policy", ["skip", "queue_one", "queue_all", "cancel_running", "allow"])
def test_what_lies_ahead_is_left_alone(policy: str) -> None:
    for due in (NOON + MINUTE, None):
        assert follow(policy, MINUTELY, due, NOON, waiting=None, remaining=None) == Firing(None, due)


@pytest.mark.parametrize("policy", ["queue_one", "queue_all", "cancel_running"])
def test_one_fire_time_that_passed_runs(policy: str) -> None:
    firing = follow(policy, MINUTELY, DUE, DUE + MINUTE / 2, waiting=None, remaining=None)
    assert firing == Firing(DUE, DUE + MINUTE)


@pytest.mark.parametrize("policy", ["queue_one", "queue_all", "cancel_running"])
def test_the_last_run_that_the_limit_allows_leaves_no_next_one(policy: str) -> None:
    firing = follow(policy, MINUTELY, DUE, NOON + 4.5 * MINUTE, waiting=None, remaining=1)
    assert firing.scheduled_for is not None
    assert firing.next_execution is None


def test_queue_all_keeps_the_newest_hundred() -> None:
    at_the_limit = follow("queue_all", MINUTELY, DUE, NOON + 100 * MINUTE, waiting=None, remaining=None)
    assert at_the_limit == Firing(DUE, DUE + MINUTE)
    beyond = follow("queue_all", MINUTELY, DUE, NOON + 103 * MINUTE, waiting=None, remaining=None)
    assert QUEUED_TIMES == 100
    assert bare(beyond) == Firing(NOON + 4 * MINUTE, NOON + 5 * MINUTE, missed(1, 3, "cap"))


@pytest.mark.parametrize(
    ("policy", "open_runs", "waiting", "passed", "wanted"),
    [
        ("skip", 0, 0, False, "active"),
        ("skip", 1, 0, False, "missed overlap"),
        ("queue_one", 0, 0, False, "active"),
        ("queue_one", 1, 0, False, "behind"),
        ("queue_one", 1, 0, True, "missed overlap"),
        ("queue_one", 2, 1, False, "missed overlap"),
        ("queue_all", 0, 0, False, "active"),
        ("queue_all", 1, 0, True, "behind"),
        ("queue_all", QUEUED_RUNS + 1, QUEUED_RUNS, False, "missed cap"),
        ("cancel_running", 0, 0, False, "beside"),
        ("cancel_running", 1, 0, False, "behind cancels"),
        ("cancel_running", 2, 1, False, "behind cancels"),
        ("allow", 0, 0, False, "beside"),
        ("allow", 7, 0, True, "beside"),
    ],
)
def test_where_an_extra_run_goes(policy: str, open_runs: int, waiting: int, passed: bool, wanted: str) -> None:
    due = NOON - MINUTE if passed else NOON + MINUTE
    extra = extra_run(policy, open_runs=open_runs, waiting=waiting, due=due, now=NOON)
    assert f"{extra.place}{' cancels' if extra.cancels else ''} {extra.reason}".strip() == wanted
    assert bool(extra.why) == (extra.place == "missed"), "a refusal says why"
    assert isinstance(extra, Extra)

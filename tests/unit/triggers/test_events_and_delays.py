"""Triggers that need more than a clock: fixed delays, published events, the ends of other tasks; and jitter."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modules.core.scheduler.triggers import InvalidTrigger, trigger_from_spec
from modules.core.scheduler.triggers.jitter import start_of, widest_jitter
from tests.unit.triggers.oracle import utc

TICK = timedelta(microseconds=1)
MINUTE = timedelta(minutes=1)


def test_a_fixed_delay_counts_from_the_moment_it_is_given() -> None:
    """First at schedule_time; then asked with the end of an attempt, it answers one interval later."""
    trigger = trigger_from_spec({"interval": "10 minutes", "mode": "fixed_delay", "schedule_time": utc(2026, 1, 1)})
    assert trigger.next_after(utc(2025, 1, 1)) == utc(2026, 1, 1)
    ended = utc(2026, 1, 1, 0, 3) + TICK
    assert trigger.next_after(ended) == ended + 10 * MINUTE
    assert trigger.previous_before(utc(2026, 1, 1)) is None
    assert trigger.previous_before(utc(2027, 1, 1)) == utc(2026, 1, 1)
    assert trigger.count_between(utc(2025, 1, 1), utc(2027, 1, 1)) == 1
    assert trigger.next_after(utc(2199, 12, 31, 23, 55)) is None
    assert trigger.describe() == "every 10 minutes after the end of the last run, first at 2026-01-01 00:00:00 UTC"


def test_a_fixed_rate_is_what_an_interval_is_anyway() -> None:
    spec = {"interval": "10 minutes", "schedule_time": utc(2026, 1, 1)}
    assert trigger_from_spec(spec | {"mode": "fixed_rate"}) == trigger_from_spec(spec)


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ({"on_event": "order.paid"}, "whenever the event 'order.paid' is published"),
        ({"on_task": {"task_id": "t1"}}, "whenever a run of task t1 succeeds"),
        ({"on_task": {"task_id": "t1", "outcome": "failure"}}, "whenever a run of task t1 fails"),
        ({"on_task": {"task_id": "t1", "outcome": "any"}}, "whenever a run of task t1 ends, however it ends"),
    ],
)
def test_no_clock_fires_what_waits_for_an_event(spec: dict[str, Any], sentence: str) -> None:
    trigger = trigger_from_spec(spec)
    assert trigger.describe() == sentence
    assert trigger.next_after(utc(2026, 1, 1)) is None
    assert trigger.previous_before(utc(2026, 1, 1)) is None
    assert trigger.count_between(utc(2000, 1, 1), utc(2100, 1, 1)) == 0
    assert trigger == trigger_from_spec(dict(spec))
    with pytest.raises(ValueError, match="timezone"):
        trigger.next_after(datetime(2026, 1, 1))


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"interval": "1 hour", "mode": "fixed_dely"}, "Did you mean 'fixed_delay'?"),
        ({"interval": "1 hour", "mode": 5}, "fixed_rate"),
        ({"cron_expression": "@daily", "mode": "fixed_delay"}, "needs an interval"),
        ({"interval": "1 day", "mode": "fixed_delay"}, "hours, minutes or seconds"),
        ({"on_event": "a", "interval": "1 hour"}, "exclude each other"),
        ({"on_event": "a", "on_task": {"task_id": "t"}}, "exclude each other"),
        ({"on_event": "a", "schedule_time": utc(2026, 1, 1)}, "Remove schedule_time"),
        ({"on_event": "a", "end_time": utc(2026, 1, 1)}, "Remove end_time"),
        ({"on_event": "a", "jitter_seconds": 5}, "Remove jitter_seconds"),
        ({"on_event": "a", "recurring": False}, "recurring is false"),
        ({"on_event": "a\nb"}, "one line"),
        ({"on_event": " "}, "one line"),
        ({"on_event": "x" * 101}, "at most 100"),
        ({"on_event": 5}, "must be text"),
        ({"on_task": "t"}, "{'task_id'"),
        ({"on_task": {}}, "{'task_id'"),
        ({"on_task": {"task_id": "t", "outcom": "any"}}, "{'task_id'"),
        ({"on_task": {"task_id": 5}}, "must be text"),
        ({"on_task": {"task_id": "x" * 37}}, "at most 36"),
        ({"on_task": {"task_id": "t", "outcome": "sucess"}}, "Did you mean 'success'?"),
        ({"on_task": {"task_id": "t", "outcome": ["any"]}}, "success, failure, any"),
        ({"interval": "1 hour", "jitter_seconds": "5"}, "number of seconds"),
        ({"interval": "1 hour", "jitter_seconds": float("nan")}, "number of seconds"),
        ({"interval": "1 hour", "jitter_seconds": -1}, "from 0 to 86400"),
        ({"interval": "1 hour", "jitter_seconds": 86_401}, "from 0 to 86400"),
    ],
)
def test_what_makes_no_sense_is_refused_with_advice(spec: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidTrigger) as refused:
        trigger_from_spec(spec)
    assert words in refused.value.message


def test_jitter_is_the_same_each_time_and_differs_by_task_and_fire_time() -> None:
    trigger = trigger_from_spec({"interval": "1 hour", "schedule_time": utc(2026, 1, 1)})
    starts = {start_of(trigger, task, utc(2026, 1, 1, hour), 60) for task in "abcd" for hour in range(20)}
    assert starts == {start_of(trigger, task, utc(2026, 1, 1, hour), 60) for task in "abcd" for hour in range(20)}
    assert len({start.minute * 60_000_000 + start.second * 1_000_000 + start.microsecond for start in starts}) == 80
    assert start_of(trigger, "a", utc(2026, 1, 1), None) == utc(2026, 1, 1)


def test_jitter_never_reaches_half_way_to_the_next_fire_time() -> None:
    trigger = trigger_from_spec({"interval": "10 seconds", "schedule_time": utc(2026, 1, 1)})
    assert widest_jitter(trigger, utc(2026, 1, 1), 3600) == timedelta(seconds=5)
    assert widest_jitter(trigger_from_spec({"schedule_time": utc(2026, 1, 1)}), utc(2026, 1, 1), 7) == timedelta(0, 7)


@given(
    st.text(max_size=36),
    st.datetimes(datetime(2001, 1, 1), datetime(2190, 1, 1)),
    st.floats(0, 86_400),
    st.integers(1, 100_000),
)
def test_jitter_stays_in_its_window(task: str, nominal: datetime, jitter: float, seconds: int) -> None:
    moment = nominal.replace(tzinfo=UTC)
    trigger = trigger_from_spec({"interval_type": "seconds", "interval_value": seconds, "schedule_time": moment})
    start = start_of(trigger, task, moment, jitter)
    assert moment <= start <= moment + min(timedelta(seconds=jitter), timedelta(seconds=seconds) / 2)


def test_jitter_uses_its_whole_window() -> None:
    """Over many fire times the starts lie evenly: about a quarter in each quarter."""
    trigger = trigger_from_spec({"interval": "1 day", "schedule_time": utc(2026, 1, 1)})
    moments = [utc(2026, 1, 1) + timedelta(days=number) for number in range(1000)]
    quarters = [int((start_of(trigger, "t", moment, 400) - moment) / timedelta(seconds=100)) for moment in moments]
    assert all(200 < quarters.count(quarter) < 300 for quarter in range(4))

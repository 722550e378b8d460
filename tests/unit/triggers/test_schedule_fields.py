"""trigger_from_spec at its edges: what the fields mean together, and input that nobody should send."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from zoneinfo import available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modules.core.scheduler import triggers
from modules.core.scheduler.task_config import TaskConfig
from modules.core.scheduler.triggers import SCHEDULE_FIELDS, InvalidTrigger, parse_interval, trigger_from_spec, zone
from tests.unit.triggers.cron_oracle import at

TICK = timedelta(microseconds=1)


def message_for(spec: Any) -> str:
    with pytest.raises(InvalidTrigger) as refusal:
        trigger_from_spec(spec)
    assert len(refusal.value.message) < 350
    return refusal.value.message


def test_the_fields_of_a_task_are_all_known() -> None:
    """A new field of TaskConfig is either a schedule field or passed over here too."""
    at_noon = {"schedule_time": "2026-01-01T12:00Z"}
    for name in TaskConfig.model_fields:
        if name not in SCHEDULE_FIELDS:
            assert trigger_from_spec({name: object(), **at_noon}) == trigger_from_spec(at_noon)
    assert set(SCHEDULE_FIELDS) < set(TaskConfig.model_fields)


def test_equal_fields_make_equal_triggers() -> None:
    """Triggers are values, and hashable."""
    specs: list[Mapping[str, Any]] = [
        {"schedule_time": "2026-01-01T12:00Z"},
        {"interval": "90 minutes", "start_time": "2026-01-01T12:00Z"},
        {"interval": "1 month", "timezone": "Europe/Berlin"},
        {"cron_expression": "*/5 * * * *", "end_time": "2026-01-01T12:00Z"},
        {"cron_expression": "5 4 * * *"},
    ]
    assert [trigger_from_spec(spec) for spec in specs] == [trigger_from_spec(dict(spec)) for spec in specs]
    assert len({trigger_from_spec(spec) for spec in specs * 2}) == len(specs)


def test_a_naive_time_in_the_fold_is_its_first_pass_whatever_its_fold_says() -> None:
    """Stored text has no fold either."""
    for fold in (0, 1):
        naive = datetime(2026, 10, 25, 2, 30, fold=fold)
        trigger = trigger_from_spec({"schedule_time": naive, "timezone": "Europe/Berlin"})
        assert trigger.next_after(at("2026-01-01")) == at("2026-10-25T00:30")


def test_answers_are_in_utc() -> None:
    """Whatever zone the question comes in, and an aware time means its instant in any timezone."""
    question = datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=5)))
    for spec in (
        {"schedule_time": "2026-02-01T00:00:00+05:00", "timezone": "Asia/Tokyo"},
        {"interval": "1 day", "schedule_time": question, "timezone": "Asia/Tokyo"},
        {"interval": "1 hour"},
        {"cron_expression": "0 5 * * *", "timezone": "Asia/Tokyo"},
        {"cron_expression": "* * * * *", "timezone": "Asia/Tokyo", "start_time": "2026-03-01T00:00Z"},
    ):
        answer = trigger_from_spec(spec).next_after(question)
        assert answer is not None
        assert answer.tzinfo is UTC


def test_the_later_of_schedule_time_and_start_time_starts_a_cron_schedule() -> None:
    spec = {"cron_expression": "@daily", "schedule_time": "2026-01-05T00:00Z", "start_time": "2026-01-03T00:00Z"}
    assert trigger_from_spec(spec).next_after(at("2020-01-01")) == at("2026-01-05")
    spec |= {"start_time": "2026-01-07T00:00Z"}
    assert trigger_from_spec(spec).next_after(at("2020-01-01")) == at("2026-01-07")


def test_bounds_keep_the_grid_of_the_anchor() -> None:
    """start_time cuts off, it does not move what follows; both ends are inclusive, also for counts."""
    trigger = trigger_from_spec(
        {
            "interval": "7 hours",
            "schedule_time": "2026-01-01T00:00Z",
            "start_time": "2026-01-01T07:00Z",
            "end_time": "2026-01-01T21:00Z",
        }
    )
    assert trigger.next_after(at("2026-01-01")) == at("2026-01-01T07:00")
    assert trigger.next_after(at("2026-01-01T07:00") - TICK) == at("2026-01-01T07:00")
    assert trigger.previous_before(at("2026-01-01T07:00")) is None
    assert trigger.previous_before(at("2027-01-01")) == at("2026-01-01T21:00")
    assert trigger.next_after(at("2026-01-01T21:00")) is None
    assert trigger.count_between(at("1990-01-01"), at("2300-01-01")) == 3
    assert trigger.count_between(at("2026-01-01T07:00"), at("2026-01-01T21:00") - TICK) == 1
    assert trigger.count_between(at("2027-01-01"), at("2026-01-01")) == 0


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (None, "dict"),
        ("interval", "dict"),
        ({5: 1}, "text"),
        ({"cron": "* * * * *"}, "is not a field"),
        ({"Schedule_time": None}, "Did you mean 'schedule_time'?"),
        ({"timeout_second": 5, "interval": "1 hour"}, "Did you mean 'timeout_seconds'?"),
        ({"x" * 1000: 5}, "..."),
        ({"recurring": 1, "interval": "1 hour"}, "true or false"),
        ({"recurring": False}, "schedule_time is missing"),
        ({"recurring": True, "schedule_time": "2026-01-01T00:00Z"}, "there is no rule"),
        ({"schedule_time": math.nan}, "ISO 8601"),
        ({"schedule_time": 1767225600}, "ISO 8601"),
        ({"schedule_time": "9" * 500}, "ISO 8601"),
        ({"schedule_time": "2026-01-01T00:00Z", "start_time": "2026-01-02T00:00Z"}, "never run"),
        ({"interval_type": "hours", "interval_value": math.nan}, "whole number"),
        ({"interval_type": "hours", "interval_value": 10**400}, "200 years"),
        ({"interval_type": "years", "interval_value": 201}, "200 years"),
        ({"interval_type": ["hours"], "interval_value": 1}, "interval_type must be text"),
        ({"interval_type": "houres", "interval_value": 1}, "Did you mean 'hours'?"),
        ({"interval": "x" * 101}, "too long"),
        ({"interval": "1.5 hours"}, "fraction"),
        ({"interval": "1 month 2 days"}, "mixes months"),
        ({"interval": "PT5M PT5M"}, "'6 hours'"),
        ({"interval": "5 fortnight"}, "not a unit of time"),
        ({"interval": "1 h", "timezone": "berlin"}, "Did you mean 'Europe/Berlin'?"),
        ({"interval": "1 h", "timezone": "utc"}, "Did you mean 'UTC'?"),
        ({"interval": "1 h", "timezone": "localtime"}, "IANA"),
        ({"interval": "1 h", "timezone": "\x00" * 5000}, "IANA"),
    ],
)
def test_refusals_name_the_way_out(spec: Any, words: str) -> None:
    assert words in message_for(spec)


@given(st.text(max_size=150))
def test_any_interval_is_read_or_refused(text: str) -> None:
    """No input raises anything but InvalidTrigger, and what is read is a period that can be used."""
    try:
        value, unit = parse_interval(text)
    except InvalidTrigger:
        return
    assert trigger_from_spec({"interval_type": unit, "interval_value": value}).describe()


@given(
    st.dictionaries(
        st.sampled_from(SCHEDULE_FIELDS),
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.datetimes() | st.binary(),
    )
)
def test_any_fields_are_read_or_refused(spec: dict[str, Any]) -> None:
    try:
        trigger = trigger_from_spec(spec)
    except InvalidTrigger as refusal:
        assert len(refusal.message) < 450  # noqa: PT017
        return
    assert trigger.describe()


def test_every_zone_of_the_system_can_be_used() -> None:
    """But for the names that mean something else on the next machine."""
    assert all(zone(name).key == name for name in available_timezones() - {"localtime", "posixrules", "Factory"})


def test_the_package_exports_what_its_callers_use() -> None:
    assert sorted(triggers.__all__) == [
        "InvalidTrigger", "SCHEDULE_FIELDS", "Trigger", "parse_interval", "trigger_from_spec", "zone",
    ]  # fmt: skip

"""From the fields of a task to its trigger: what is accepted, what is refused, and with which words."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest

from modules.core.errors import ModuleError
from modules.core.scheduler.triggers import InvalidTrigger, trigger_from_spec, zone
from tests.unit.triggers.oracle import utc


@pytest.mark.parametrize(
    ("value", "timezone_name", "expected"),
    [
        ("2026-07-17T10:00:00Z", "UTC", utc(2026, 7, 17, 10)),
        ("2026-07-17T10:00:00+02:00", "UTC", utc(2026, 7, 17, 8)),
        ("2026-07-17T10:00:00", "Europe/Berlin", utc(2026, 7, 17, 8)),
        (datetime(2026, 7, 17, 10), "Europe/Berlin", utc(2026, 7, 17, 8)),
        (datetime(2026, 3, 29, 2, 30), "Europe/Berlin", utc(2026, 3, 29, 1)),
        (datetime(2026, 10, 25, 2, 30), "Europe/Berlin", utc(2026, 10, 25, 0, 30)),
        (datetime(2026, 7, 17, 10, tzinfo=timezone(timedelta(hours=-5))), "UTC", utc(2026, 7, 17, 15)),
    ],
)
def test_times_are_instants(value: Any, timezone_name: str, expected: datetime) -> None:
    trigger = trigger_from_spec({"schedule_time": value, "recurring": False, "timezone": timezone_name})
    assert trigger.next_after(utc(2000, 1, 1)) == expected
    assert trigger.next_after(expected) is None
    assert trigger.previous_before(expected + timedelta(seconds=1)) == expected


def test_bounds_are_inclusive() -> None:
    spec = {"cron_expression": "0 * * * *", "start_time": "2026-01-01T02:00:00Z", "end_time": "2026-01-01T04:00:00Z"}
    trigger = trigger_from_spec(spec)
    assert trigger.next_after(utc(2020, 1, 1)) == utc(2026, 1, 1, 2)
    assert trigger.next_after(utc(2026, 1, 1, 3)) == utc(2026, 1, 1, 4)
    assert trigger.next_after(utc(2026, 1, 1, 4)) is None
    assert trigger.previous_before(utc(2030, 1, 1)) == utc(2026, 1, 1, 4)
    assert trigger.previous_before(utc(2026, 1, 1, 2)) is None
    assert trigger.count_between(utc(2020, 1, 1), utc(2030, 1, 1)) == 3


def test_schedule_time_is_where_a_cron_schedule_starts() -> None:
    trigger = trigger_from_spec({"cron_expression": "0 * * * *", "schedule_time": "2026-01-01T02:30:00Z"})
    assert trigger.next_after(utc(2020, 1, 1)) == utc(2026, 1, 1, 3)


def test_other_fields_of_a_task_are_passed_over_and_none_means_absent() -> None:
    spec = {"name": "x", "module_id": "m", "tags": [], "interval": "1 hour", "cron_expression": None}
    assert trigger_from_spec(spec).describe() == "every hour"


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({}, "schedule_time"),
        ({"recurring": True}, "no rule"),
        ({"recurring": False, "interval": "1 hour"}, "recurring is false"),
        ({"recurring": "yes", "interval": "1 hour"}, "true or false"),
        ({"interval_type": "hours"}, "interval_value is missing"),
        ({"interval_value": 1}, "interval_type is missing"),
        ({"interval": "1 hour", "interval_type": "hours", "interval_value": 1}, "exclude each other"),
        ({"interval": "1 hour", "cron_expression": "* * * * *"}, "exclude each other"),
        ({"intervall": "1 hour"}, "Did you mean 'interval'"),
        ({"schedule_time": "soon"}, "ISO 8601"),
        ({"schedule_time": 5}, "ISO 8601"),
        ({"schedule_time": date(2026, 1, 1)}, "ISO 8601"),
        ({"schedule_time": "1999-12-31T23:59:59Z"}, "2000 to 2199"),
        ({"schedule_time": "2200-01-01T00:00:00Z"}, "2000 to 2199"),
        ({"schedule_time": datetime.max}, "2000 to 2199"),
        ({"schedule_time": datetime.min.replace(tzinfo=timezone(timedelta(hours=14)))}, "2000 to 2199"),
        ({"interval": "1 hour", "start_time": "2030-01-01T00:00Z", "end_time": "2029-01-01T00:00Z"}, "end_time"),
        ({"interval": "1 hour", "schedule_time": "2030-01-01T00:00Z", "end_time": "2029-01-01T00:00Z"}, "end_time"),
        ({"interval": "1 hour", "timezone": "Europe/Berlinn"}, "Did you mean 'Europe/Berlin'"),
        ({"interval": "1 hour", "timezone": "../../etc/passwd"}, "IANA"),
        ({"interval": "1 hour", "timezone": 5}, "IANA"),
        ({"interval": 5}, "interval"),
        ({"cron_expression": 5}, "five fields"),
        ([], "dict"),
    ],
)
def test_what_cannot_be_is_refused_with_advice(spec: Any, words: str) -> None:
    with pytest.raises(InvalidTrigger) as refused:
        trigger_from_spec(spec)
    assert words in refused.value.message
    assert isinstance(refused.value, ModuleError)
    assert isinstance(refused.value, ValueError)
    assert refused.value.error_code == "INVALID_TRIGGER"


def test_naive_questions_are_refused() -> None:
    for spec in ({"interval": "1 hour"}, {"cron_expression": "* * * * *"}, {"schedule_time": utc(2026, 1, 1)}):
        with pytest.raises(ValueError, match="timezone"):
            trigger_from_spec(spec).next_after(datetime(2026, 1, 1))


def test_utc_is_a_zone() -> None:
    assert datetime(2026, 1, 1, tzinfo=zone("UTC")) == datetime(2026, 1, 1, tzinfo=UTC)


def test_triggers_say_what_they_mean() -> None:
    assert trigger_from_spec({"interval_type": "days", "interval_value": 3}).describe() == "every 3 days"
    words = trigger_from_spec({"cron_expression": "0 6 * * 1", "timezone": "Europe/Berlin"}).describe()
    assert "0 6 * * 1" in words
    assert "Europe/Berlin" in words

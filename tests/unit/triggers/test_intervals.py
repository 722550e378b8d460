"""Intervals: from the anchor, in closed form, on elapsed time or on the wall clock."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modules.core.scheduler.triggers import InvalidTrigger, Trigger, parse_interval, trigger_from_spec

BERLIN = ZoneInfo("Europe/Berlin")


def every(value: int, unit: str, anchor: datetime, zone: str = "UTC") -> Trigger:
    return trigger_from_spec(
        {"interval_type": unit, "interval_value": value, "schedule_time": anchor, "timezone": zone}
    )


def first(trigger: Trigger, number: int, after: datetime | None = None) -> list[datetime]:
    fired, moment = [], after or datetime(2000, 1, 1, tzinfo=UTC)
    for _ in range(number):
        following = trigger.next_after(moment)
        if following is None:
            break
        fired.append(moment := following)
    return fired


def local(times: list[datetime], zone: ZoneInfo = BERLIN) -> list[str]:
    return [f"{moment.astimezone(zone):%m-%d %H:%M}" for moment in times]


def test_the_first_fire_time_is_the_anchor() -> None:
    anchor = datetime(2026, 5, 1, 8, tzinfo=UTC)
    trigger = every(90, "minutes", anchor)
    assert trigger.next_after(anchor - timedelta(days=9)) == anchor
    assert trigger.next_after(anchor) == anchor + timedelta(minutes=90)
    assert trigger.previous_before(anchor) is None


def test_an_interval_does_not_drift() -> None:
    anchor = datetime(2026, 1, 1, tzinfo=UTC)
    trigger = every(7, "seconds", anchor)
    late = anchor + timedelta(seconds=700_003)
    assert trigger.next_after(late) == anchor + timedelta(seconds=700_007)


def test_months_clamp_from_the_anchor_and_not_from_each_other() -> None:
    fired = first(every(1, "months", datetime(2026, 1, 31, 9, tzinfo=UTC)), 4)
    assert [(moment.month, moment.day) for moment in fired] == [(1, 31), (2, 28), (3, 31), (4, 30)]


def test_a_leap_day_comes_back_every_leap_year() -> None:
    fired = first(every(1, "years", datetime(2024, 2, 29, tzinfo=UTC)), 5)
    assert [(moment.year, moment.day) for moment in fired] == [
        (2024, 29), (2025, 28), (2026, 28), (2027, 28), (2028, 29),
    ]  # fmt: skip


def test_days_follow_the_wall_clock_and_hours_do_not() -> None:
    anchor = datetime(2026, 3, 28, 8, tzinfo=BERLIN)
    assert local(first(every(1, "days", anchor, "Europe/Berlin"), 3)) == ["03-28 08:00", "03-29 08:00", "03-30 08:00"]
    assert local(first(every(24, "hours", anchor, "Europe/Berlin"), 3)) == ["03-28 08:00", "03-29 09:00", "03-30 09:00"]


def test_a_day_whose_time_is_skipped_fires_right_after_the_gap() -> None:
    anchor = datetime(2026, 3, 28, 2, 30, tzinfo=BERLIN)
    fired = first(every(1, "days", anchor, "Europe/Berlin"), 3)
    assert local(fired) == ["03-28 02:30", "03-29 03:00", "03-30 02:30"]


def test_a_day_whose_time_comes_twice_fires_the_first_time() -> None:
    anchor = datetime(2026, 10, 24, 2, 30, tzinfo=BERLIN)
    fired = first(every(1, "days", anchor, "Europe/Berlin"), 3)
    assert [moment.isoformat() for moment in fired[1:]] == ["2026-10-25T00:30:00+00:00", "2026-10-26T01:30:00+00:00"]


def test_a_day_that_does_not_exist_fires_once_with_the_next_one() -> None:
    """Samoa had no 30 December 2011."""
    apia = ZoneInfo("Pacific/Apia")
    trigger = every(1, "days", datetime(2011, 12, 28, 0, 0, tzinfo=apia), "Pacific/Apia")
    fired = first(trigger, 5)
    assert [f"{moment.astimezone(apia):%d %H:%M}" for moment in fired] == [
        "28 00:00", "29 00:00", "31 00:00", "01 00:00", "02 00:00",
    ]  # fmt: skip
    assert trigger.count_between(fired[0], fired[-1]) == 4


def test_an_anchor_in_the_second_pass_stays_where_it_was_put() -> None:
    anchor = datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=BERLIN)
    assert every(1, "days", anchor, "Europe/Berlin").next_after(datetime(2026, 1, 1, tzinfo=UTC)) == anchor.astimezone(
        UTC
    )


def test_a_year_of_seconds_is_counted_at_once() -> None:
    anchor = datetime(2026, 1, 1, tzinfo=UTC)
    assert every(1, "seconds", anchor).count_between(anchor, anchor + timedelta(days=365)) == 365 * 86_400


def test_fire_times_end_with_the_year_2199() -> None:
    trigger = every(1, "years", datetime(2197, 6, 1, tzinfo=UTC))
    assert [moment.year for moment in first(trigger, 9)] == [2197, 2198, 2199]
    assert every(6, "hours", datetime(2199, 12, 31, 20, tzinfo=UTC)).next_after(
        datetime(2199, 12, 31, 21, tzinfo=UTC)
    ) is None  # fmt: skip


UNITS = st.sampled_from(["seconds", "minutes", "hours", "days", "weeks", "months", "years"])
ZONES = st.sampled_from(
    ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia", "Asia/Kolkata"]
)
MOMENTS = st.datetimes(datetime(2001, 1, 1), datetime(2060, 1, 1)).map(lambda moment: moment.replace(tzinfo=UTC))


@given(value=st.integers(1, 40), unit=UNITS, zone=ZONES, anchor=MOMENTS, asked=MOMENTS)
def test_forwards_and_backwards_agree(value: int, unit: str, zone: str, anchor: datetime, asked: datetime) -> None:
    trigger = every(value, unit, anchor, zone)
    following = trigger.next_after(asked)
    assert following is not None
    assert following > asked
    assert following >= anchor
    again = trigger.next_after(following)
    assert again is not None
    assert again > following
    assert trigger.previous_before(again) == following
    before = trigger.previous_before(asked + timedelta(microseconds=1))
    if before is not None:
        assert before <= asked
        assert trigger.next_after(before) == following


@given(value=st.integers(1, 5), unit=UNITS, zone=ZONES, anchor=MOMENTS, steps=st.integers(0, 60))
def test_counting_is_walking(value: int, unit: str, zone: str, anchor: datetime, steps: int) -> None:
    trigger = every(value, unit, anchor, zone)
    walked = first(trigger, steps, after=anchor - timedelta(days=1))
    if walked:
        assert trigger.count_between(anchor - timedelta(days=1), walked[-1]) == len(walked)
        assert trigger.count_between(walked[0], walked[-1]) == len(walked) - 1
        assert all(earlier < later for earlier, later in itertools.pairwise(walked))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("6 hours", (6, "hours")),
        ("1 hour", (1, "hours")),
        ("1h30m", (90, "minutes")),
        ("1 hour and 30 minutes", (90, "minutes")),
        ("90s", (90, "seconds")),
        ("1 month", (1, "months")),
        ("2 Weeks", (2, "weeks")),
        ("1 year 6 months", (18, "months")),
        ("P1M", (1, "months")),
        ("PT1M", (1, "minutes")),
        ("PT1H", (1, "hours")),
        ("P1DT12H", (36, "hours")),
        ("P1W", (1, "weeks")),
        ("pt90s", (90, "seconds")),
        ("1 week 1 day", (8, "days")),
        ("3600 seconds", (3600, "seconds")),
    ],
)
def test_intervals_in_words(text: str, expected: tuple[int, str]) -> None:
    assert parse_interval(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", " ", "often", "0 hours", "-1 hour", "1.5 hours", "1 fortnight", "hour", "1", "P", "PT", "P1", "P1DT",
     "1 month 1 day", "999999 years", "1 hour 1 hour", "1 h h", "x" * 200, "9999999999 years", "P-1D", "１ hour x"],
)  # fmt: skip
def test_what_is_no_interval_is_refused_with_advice(text: str) -> None:
    with pytest.raises(InvalidTrigger) as refused:
        parse_interval(text)
    assert len(refused.value.message) > 20


@pytest.mark.parametrize("value", [0, -1, True, 1.0, "1", None, 2**80, [1]])
def test_values_that_are_no_count_are_refused(value: Any) -> None:
    with pytest.raises(InvalidTrigger):
        trigger_from_spec({"interval_type": "days", "interval_value": value})


def test_units_are_read_kindly_and_mistakes_answered() -> None:
    assert every(1, "Hour", datetime(2026, 1, 1, tzinfo=UTC)) == every(1, "hours", datetime(2026, 1, 1, tzinfo=UTC))
    with pytest.raises(InvalidTrigger, match="Did you mean 'minutes'"):
        trigger_from_spec({"interval_type": "minuets", "interval_value": 1})


def test_without_an_anchor_an_interval_counts_from_the_moment_asked() -> None:
    trigger = trigger_from_spec({"interval": "1 month"})
    asked = datetime(2026, 1, 31, 12, tzinfo=UTC)
    assert trigger.next_after(asked) == datetime(2026, 2, 28, 12, tzinfo=UTC)
    assert trigger.previous_before(asked) == datetime(2025, 12, 31, 12, tzinfo=UTC)

"""Rules of intervals at their edges: anchors, gaps, folds, skipped days, the ends of time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from dateutil.relativedelta import relativedelta
from hypothesis import assume, given
from hypothesis import strategies as st

from modules.core.scheduler.triggers import Trigger, trigger_from_spec
from tests.unit.triggers.cron_oracle import at

TICK = timedelta(microseconds=1)
ZONES = ["UTC", "Europe/Berlin", "Australia/Lord_Howe", "America/Santiago", "Pacific/Apia", "Antarctica/Troll"]
CALENDAR = ["days", "weeks", "months", "years"]


def every(interval: str, **fields: object) -> Trigger:
    return trigger_from_spec({"interval": interval, **fields})


def take(trigger: Trigger, after: datetime, count: int) -> list[datetime]:
    times, moment = [], trigger.next_after(after)
    while moment is not None and len(times) < count:
        times.append(moment)
        moment = trigger.next_after(moment)
    return times


def test_the_first_fire_time_is_the_anchor() -> None:
    """Nothing fires before schedule_time, and it is a fire time itself."""
    trigger = every("6 hours", schedule_time="2026-01-01T00:00:00Z")
    assert take(trigger, at("2020-01-01"), 2) == [at("2026-01-01"), at("2026-01-01T06:00")]
    assert trigger.previous_before(at("2026-01-01")) is None
    assert trigger.count_between(at("2020-01-01"), at("2026-01-01")) == 1


def test_without_an_anchor_each_moment_is_one() -> None:
    """calculate_next_execution asks so: one interval after the last execution."""
    moment = at("2026-01-31T10:00:00")
    assert every("90 minutes").next_after(moment) == at("2026-01-31T11:30")
    assert every("90 minutes").previous_before(moment) == at("2026-01-31T08:30")
    assert every("1 month").next_after(moment) == at("2026-02-28T10:00")
    assert every("1 month").previous_before(at("2026-03-31T10:00")) == at("2026-02-28T10:00")
    assert every("1 day", timezone="Europe/Berlin").next_after(at("2026-03-28T11:00")) == at("2026-03-29T10:00")
    assert every("1 day").count_between(moment, at("2026-02-03T10:00")) == 3


def test_start_time_is_the_anchor_where_schedule_time_is_missing() -> None:
    """The grid starts where the schedule does."""
    trigger = every("1 week", start_time="2026-01-07T08:00:00Z")
    assert take(trigger, at("2020-01-01"), 2) == [at("2026-01-07T08:00"), at("2026-01-14T08:00")]


def test_months_clamp_from_the_anchor() -> None:
    """January 31, February 28, March 31: February does not shorten March."""
    trigger = every("1 month", schedule_time="2027-01-31T09:00:00Z")
    assert [f"{time:%m-%d}" for time in take(trigger, at("2027-01-01"), 5)] == [
        "01-31", "02-28", "03-31", "04-30", "05-31",
    ]  # fmt: skip
    assert trigger.previous_before(at("2028-03-31T09:00")) == at("2028-02-29T09:00")


def test_a_leap_day_comes_back_every_leap_year() -> None:
    """February 29, yearly: the 28th in other years."""
    trigger = every("1 year", schedule_time="2024-02-29T00:00:00Z")
    days = [f"{time:%Y-%m-%d}" for time in take(trigger, at("2024-01-01"), 5)]
    assert days == ["2024-02-29", "2025-02-28", "2026-02-28", "2027-02-28", "2028-02-29"]


def test_hours_are_elapsed_time_and_days_follow_the_wall() -> None:
    """Over Berlin's spring change 24 hours end an hour later on the clock, a day does not."""
    begin = {"schedule_time": "2026-03-28T12:00:00", "timezone": "Europe/Berlin"}
    assert every("24 hours", **begin).next_after(at("2026-03-28T11:00")) == at("2026-03-29T11:00")
    assert every("1 day", **begin).next_after(at("2026-03-28T11:00")) == at("2026-03-29T10:00")


def test_a_day_in_the_gap_fires_right_after_it_and_keeps_its_time() -> None:
    """02:30, 03:00 on the day of the change, then 02:30 again."""
    trigger = every("1 day", schedule_time="2026-03-28T02:30:00", timezone="Europe/Berlin")
    assert take(trigger, at("2026-03-28"), 3) == [
        at("2026-03-28T01:30"),
        at("2026-03-29T01:00"),
        at("2026-03-30T00:30"),
    ]


def test_a_day_in_the_fold_fires_in_the_first_pass() -> None:
    trigger = every("1 day", schedule_time="2026-10-24T02:30:00", timezone="Europe/Berlin")
    assert take(trigger, at("2026-10-24"), 3) == [
        at("2026-10-24T00:30"),
        at("2026-10-25T00:30"),
        at("2026-10-26T01:30"),
    ]


def test_an_anchor_in_the_second_pass_stays_there() -> None:
    """An aware schedule_time means its instant; the following days follow the wall."""
    trigger = every("1 day", schedule_time="2026-10-25T01:30:00Z", timezone="Europe/Berlin")
    assert take(trigger, at("2026-10-25"), 2) == [at("2026-10-25T01:30"), at("2026-10-26T01:30")]


@pytest.mark.parametrize("hour", [0, 10])
def test_the_skipped_day_never_yields_an_instant_twice(hour: int) -> None:
    """Apia, 2011-12-30: midnight of the day that never was is midnight of the 31st."""
    trigger = every("1 day", schedule_time=f"2011-12-28T{hour:02}:00:00", timezone="Pacific/Apia")
    times = take(trigger, at("2011-12-01"), 6)
    assert all(before < after for before, after in pairwise(times))
    assert [trigger.previous_before(time) for time in times[1:]] == times[:-1]
    assert trigger.count_between(at("2011-12-01"), times[-1]) == 6
    assert trigger.count_between(at("2011-12-30T09:00"), at("2011-12-30T21:00")) == 1 + bool(hour)


def test_a_week_over_the_skipped_day_is_counted_right() -> None:
    """Nothing fell on that day."""
    trigger = every("1 week", schedule_time="2011-12-25T10:00:00", timezone="Pacific/Apia")
    assert trigger.count_between(at("2011-12-01"), at("2012-01-05")) == 2
    every_third = every("3 days", schedule_time="2011-12-25T10:00:00", timezone="Pacific/Apia")
    assert every_third.count_between(at("2011-12-29T00:00"), at("2011-12-30T19:59")) == 0


def test_without_an_anchor_the_skipped_day_is_stepped_over() -> None:
    """One day before the first instant of the 31st is that instant; the answer is the day before."""
    assert every("1 day", timezone="Pacific/Apia").previous_before(at("2011-12-30T10:00")) == at("2011-12-29T10:00")


def test_two_centuries_of_seconds_are_counted_at_once() -> None:
    """By arithmetic: whoever stepped through them would not be done before the test's time is up."""
    trigger = every("1 second", schedule_time="2000-01-01T00:00:00Z")
    assert trigger.count_between(at("2026-01-01"), at("2027-01-01")) == 365 * 86_400
    assert trigger.previous_before(at("2199-12-31")) == at("2199-12-30T23:59:59")
    assert (
        trigger.count_between(at("1900-01-01"), at("2500-01-01")) == (at("2200-01-01") - at("2000-01-01")).days * 86_400
    )


@pytest.mark.parametrize("interval", ["1 second", "1 hour", "1 day", "1 month", "1 year", "200 years"])
@pytest.mark.parametrize("anchor", [None, "2000-01-01T00:00:00Z", "2199-12-31T23:59:59Z"])
def test_nothing_fires_outside_the_years(interval: str, anchor: str | None) -> None:
    """Nothing overflows at either end of time."""
    trigger = every(interval, schedule_time=anchor, timezone="Pacific/Apia")
    first, last = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
    assert trigger.previous_before(first) is None
    assert trigger.next_after(last) is None
    for answer in (trigger.next_after(first), trigger.previous_before(last)):
        assert answer is None or 2000 <= answer.year <= 2199
    assert trigger.count_between(first, last) >= 0


anchors = st.datetimes(datetime(2005, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC))
around_changes = st.builds(
    lambda base, minutes: at(base) + timedelta(minutes=minutes),
    st.sampled_from(["2011-12-30", "2026-03-29", "2026-10-25", "2026-04-05", "2026-09-06", "2026-10-04"]),
    st.integers(-2 * 1440, 2 * 1440),
)


@given(
    st.sampled_from(CALENDAR), st.integers(1, 4), st.sampled_from(ZONES), anchors | around_changes, st.integers(0, 4000)
)
def test_calendar_intervals_are_the_anchor_plus_n(
    unit: str, value: int, zone_name: str, anchor: datetime, days: int
) -> None:
    """Against dateutil, and a clock that is watched over the gaps."""
    zone = ZoneInfo(zone_name)
    trigger = every(f"{value} {unit}", schedule_time=anchor, timezone=zone_name)
    begin = anchor.astimezone(zone).replace(tzinfo=None)
    walls = [begin + relativedelta(**{unit: number * value}) for number in range(1, 14)]  # type: ignore[arg-type]
    expected = sorted({anchor, *(first_instant(wall, zone) for wall in walls)})
    assert take(trigger, anchor - TICK, 12) == expected[:12]
    check_one_moment(trigger, anchor + timedelta(days=days))


def first_instant(wall: datetime, zone: ZoneInfo) -> datetime:
    """When the clock first shows that time, or first passes over it; changes happen on whole minutes."""
    instant = wall.replace(tzinfo=zone).astimezone(UTC)
    if instant.astimezone(zone).replace(tzinfo=None) == wall:
        return instant
    instant = instant.replace(second=0, microsecond=0) - timedelta(hours=25)
    while instant.astimezone(zone).replace(tzinfo=None) < wall:
        instant += timedelta(minutes=1)
    return instant


@given(st.sampled_from(["seconds", "minutes", "hours"]), st.integers(1, 5000), anchors, st.integers(-(10**9), 10**9))
def test_elapsed_intervals_are_the_anchor_plus_n(unit: str, value: int, anchor: datetime, microseconds: int) -> None:
    """Exactly, however far away."""
    trigger = every(f"{value} {unit}", schedule_time=anchor)
    moment = anchor + timedelta(microseconds=microseconds * 1000)
    step = timedelta(**{unit: value})
    following = trigger.next_after(moment)
    assert following is not None
    assert (following - anchor) % step == timedelta(0)
    assert following == anchor or following - moment <= step
    check_one_moment(trigger, moment)


@given(st.sampled_from(CALENDAR), st.integers(1, 4), st.sampled_from(ZONES), anchors, st.integers(0, 3000))
def test_counts_equal_steps(unit: str, value: int, zone_name: str, anchor: datetime, days: int) -> None:
    """count_between says how many times next_after answers."""
    trigger = every(f"{value} {unit}", schedule_time=anchor, timezone=zone_name)
    after, until = anchor + timedelta(days=days), anchor + timedelta(days=days + 200)
    assert trigger.count_between(after, until) == len([t for t in take(trigger, after, 201) if t <= until])


def check_one_moment(trigger: Trigger, moment: datetime) -> None:
    """Strictly after, strictly before, inverse, and one apart."""
    following = trigger.next_after(moment)
    assume(following is not None)
    assert following is not None
    assert following > moment
    assert trigger.next_after(following - TICK) == following
    earlier = trigger.previous_before(following)
    if earlier is not None:
        assert earlier <= moment
        assert trigger.next_after(earlier) == following
        assert trigger.count_between(earlier, following) == 1
    assert trigger.count_between(moment, following) == 1
    assert trigger.count_between(moment, following - TICK) == 0


@pytest.mark.parametrize(
    ("interval", "sentence"),
    [
        ("6 hours", "every 6 hours, first at 2026-01-01 08:00:00 UTC"),
        ("1 month", "every month, Europe/Berlin time, first at 2026-01-01 08:00:00 UTC"),
    ],
)
def test_describes_itself(interval: str, sentence: str) -> None:
    assert every(interval, schedule_time="2026-01-01T09:00", timezone="Europe/Berlin").describe() == sentence

"""Cron around changes of the clock, against a clock that is watched minute by minute."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from modules.core.scheduler.triggers import Trigger, trigger_from_spec
from tests.unit.triggers.cron_oracle import MINUTE, Job, at, fire_times

TICK = timedelta(microseconds=1)

# A day of change in each zone; 32 hours around it are watched.
CHANGES = [
    ("Europe/Berlin", "2026-03-29"),
    ("Europe/Berlin", "2026-10-25"),
    ("America/New_York", "2026-03-08"),
    ("America/New_York", "2026-11-01"),
    ("Australia/Lord_Howe", "2026-04-05"),  # half an hour
    ("Australia/Lord_Howe", "2026-10-04"),
    ("America/Santiago", "2026-04-05"),  # at midnight
    ("America/Santiago", "2026-09-06"),
    ("Pacific/Chatham", "2026-04-05"),  # UTC +12:45
    ("Pacific/Chatham", "2026-09-27"),
    ("Antarctica/Troll", "2026-03-29"),  # two hours
    ("Antarctica/Troll", "2026-10-25"),
    ("Pacific/Apia", "2011-12-30"),  # a day that never was
    ("America/Caracas", "2007-12-09"),  # half an hour back, for good
    ("Asia/Pyongyang", "2018-05-05"),  # half an hour forward, before midnight
    ("Antarctica/Casey", "2010-03-05"),  # three hours back
]
JOBS = [
    Job("30 2 * * *", False, lambda w: (w.hour, w.minute) == (2, 30)),
    Job("0,15,30,45 1-3 * * *", False, lambda w: 1 <= w.hour <= 3 and w.minute % 15 == 0),
    Job("0-59 0-23 * * *", False, lambda w: True),
    Job("0 0 * * *", False, lambda w: (w.hour, w.minute) == (0, 0)),
    Job("0 3 * * *", False, lambda w: (w.hour, w.minute) == (3, 0)),
    Job("45 23 * * *", False, lambda w: (w.hour, w.minute) == (23, 45)),
    Job("10,50 0,2 30 * *", False, lambda w: w.day == 30 and w.hour in (0, 2) and w.minute in (10, 50)),
    Job("0 12 * * fri", False, lambda w: w.weekday() == 4 and (w.hour, w.minute) == (12, 0)),
    Job("* * * * *", True, lambda w: True),
    Job("*/20 2 * * *", True, lambda w: w.hour == 2 and w.minute % 20 == 0),
    Job("30 * * * *", True, lambda w: w.minute == 30),
    Job("0 */2 * * *", True, lambda w: w.hour % 2 == 0 and w.minute == 0),
    Job("*/45 */5 * * sun", True, lambda w: w.weekday() == 6 and w.hour % 5 == 0 and w.minute % 45 == 0),
]


@pytest.fixture(params=CHANGES, ids="-".join)
def change(request: pytest.FixtureRequest) -> tuple[str, datetime, datetime]:
    """A zone, and 32 hours around a change there."""
    zone_name, day = request.param
    zone = ZoneInfo(zone_name)
    begin, end = at(day) - timedelta(hours=16), at(day) + timedelta(hours=16)
    assert begin.astimezone(zone).utcoffset() != end.astimezone(zone).utcoffset()
    return zone_name, begin, end


@pytest.fixture(params=JOBS, ids=lambda job: job.expression)
def job(request: pytest.FixtureRequest) -> Job:
    found: Job = request.param
    return found


def cron(job: Job, zone_name: str) -> Trigger:
    return trigger_from_spec({"cron_expression": job.expression, "timezone": zone_name})


def test_fires_as_the_watched_clock_says_forwards(job: Job, change: tuple[str, datetime, datetime]) -> None:
    """next_after, asked again and again, finds every fire time and no other."""
    zone_name, begin, end = change
    trigger = cron(job, zone_name)
    found, moment = [], trigger.next_after(begin)
    while moment is not None and moment <= end:
        found.append(moment)
        moment = trigger.next_after(moment)
    assert found == fire_times(job, zone_name, begin, end)


def test_fires_as_the_watched_clock_says_backwards(job: Job, change: tuple[str, datetime, datetime]) -> None:
    """previous_before walks through the same times."""
    zone_name, begin, end = change
    trigger = cron(job, zone_name)
    found, moment = [], trigger.previous_before(end + TICK)
    while moment is not None and moment > begin:
        found.append(moment)
        moment = trigger.previous_before(moment)
    assert found[::-1] == fire_times(job, zone_name, begin, end)


def test_every_moment_gets_the_right_answer(job: Job, change: tuple[str, datetime, datetime]) -> None:
    """Next, previous and count are right from any moment, also in the gap's second and in a second pass."""
    zone_name, begin, end = change
    trigger, expected = cron(job, zone_name), fire_times(job, zone_name, begin, end)
    for number in range(1, int((end - begin) / MINUTE), 19):
        for shift in (-TICK, timedelta(0), TICK):
            moment = begin + number * MINUTE + shift
            after, before = bisect_right(expected, moment), bisect_left(expected, moment)
            if after < len(expected):
                assert trigger.next_after(moment) == expected[after]
            if before > 0:
                assert trigger.previous_before(moment) == expected[before - 1]
            assert trigger.count_between(begin, moment) == after
            assert trigger.count_between(moment, end) == len(expected) - after


def local(trigger: Trigger, after: str, count: int) -> list[str]:
    moment: datetime | None = at(after)
    times = []
    for _ in range(count):
        assert moment is not None
        moment = trigger.next_after(moment)
        assert moment is not None
        times.append(moment.strftime("%d %H:%M"))
    return times


def test_a_fixed_time_in_the_gap_fires_right_after_it() -> None:
    """Berlin, 2026-03-29: 02:30 does not exist and fires at 03:00 CEST, which is 01:00 UTC."""
    trigger = trigger_from_spec({"cron_expression": "30 2 * * *", "timezone": "Europe/Berlin"})
    assert local(trigger, "2026-03-28", 3) == ["28 01:30", "29 01:00", "30 00:30"]


def test_a_fixed_time_in_the_fold_fires_in_the_first_pass() -> None:
    """Berlin, 2026-10-25: 02:30 comes twice, at 00:30 and at 01:30 UTC."""
    trigger = trigger_from_spec({"cron_expression": "30 2 * * *", "timezone": "Europe/Berlin"})
    assert local(trigger, "2026-10-24", 3) == ["24 00:30", "25 00:30", "26 01:30"]


def test_asked_in_the_second_pass_nothing_fires_again() -> None:
    """cronsim alone answers a time before its start there."""
    trigger = trigger_from_spec({"cron_expression": "30 2 * * *", "timezone": "Europe/Berlin"})
    assert trigger.next_after(at("2026-10-25T01:10")) == at("2026-10-26T01:30")
    assert trigger.previous_before(at("2026-10-25T01:10")) == at("2026-10-25T00:30")


def test_the_end_of_the_fold_fires_after_both_passes() -> None:
    """03:00 in Berlin is shown once, after the second pass; in the middle of the fold it has not come yet."""
    trigger = trigger_from_spec({"cron_expression": "0 3 * * *", "timezone": "Europe/Berlin"})
    middle = at("2026-10-25T01:10")
    assert trigger.next_after(middle) == at("2026-10-25T02:00")
    assert trigger.count_between(at("2026-10-25T00:00"), middle) == 0


def test_a_starred_hour_fires_in_both_passes_and_not_in_the_gap() -> None:
    """An hourly job runs 23 times on the short day and 25 times on the long one."""
    trigger = trigger_from_spec({"cron_expression": "30 * * * *", "timezone": "Europe/Berlin"})
    assert trigger.count_between(at("2026-03-28T23:00"), at("2026-03-29T22:00")) == 23
    assert trigger.count_between(at("2026-10-24T22:00"), at("2026-10-25T23:00")) == 25


def test_a_skipped_day_fires_once() -> None:
    """Apia had no 2011-12-30: the three jobs of that day are one, at the first instant of the 31st."""
    trigger = trigger_from_spec({"cron_expression": "0 8,12,16 * * *", "timezone": "Pacific/Apia"})
    assert local(trigger, "2011-12-30T03:00", 3) == ["30 10:00", "30 18:00", "30 22:00"]
    assert trigger.count_between(at("2011-12-30T03:00"), at("2011-12-30T17:00")) == 1


def test_midnight_in_santiago_exists_every_day() -> None:
    """The gap begins at midnight: the job of that day runs at 01:00, an hour of elapsed time is not lost."""
    trigger = trigger_from_spec({"cron_expression": "@daily", "timezone": "America/Santiago"})
    assert local(trigger, "2026-09-05T00:00", 3) == ["05 04:00", "06 04:00", "07 03:00"]
    assert datetime(2026, 9, 6, 4, tzinfo=UTC) == trigger.previous_before(at("2026-09-06T05:00"))

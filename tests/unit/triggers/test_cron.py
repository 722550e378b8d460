"""Cron: the dialect, and its fire times against brute force where clocks change."""

from __future__ import annotations

import itertools
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from modules.core.scheduler.triggers import InvalidTrigger, Trigger, trigger_from_spec
from tests.unit.triggers.oracle import fire_times, utc

EXPRESSIONS = (
    "* * * * *", "*/15 * * * *", "*/40 * * * *", "0 * * * *", "30 */2 * * *", "30 2 * * *", "0 2 * * *",
    "0,30 1-3 * * *", "5 0 * * *", "0 0 * * *", "59 23 * * *", "15,45 0,2,3 * * *", "10 */3 1 * *", "0 3 * * 0",
)  # fmt: skip
CHANGES = {
    "Europe/Berlin": [utc(2026, 3, 29, 1), utc(2026, 10, 25, 1)],
    "America/New_York": [utc(2026, 3, 8, 7), utc(2026, 11, 1, 6)],
    "America/Sao_Paulo": [utc(2018, 11, 4, 3), utc(2018, 2, 18, 2)],
    "America/Santiago": [utc(2026, 9, 6, 4), utc(2026, 4, 5, 3)],
    "America/St_Johns": [utc(2010, 3, 14, 3, 31), utc(2010, 11, 7, 2, 31)],
    "Australia/Lord_Howe": [utc(2026, 10, 3, 15, 30), utc(2026, 4, 4, 15)],
    "Pacific/Chatham": [utc(2026, 9, 26, 14), utc(2026, 4, 4, 14)],
    "Pacific/Apia": [utc(2011, 12, 30, 10), utc(2011, 9, 24, 11)],
    "Antarctica/Troll": [utc(2026, 3, 29, 1), utc(2026, 10, 25, 1)],
    "Africa/Casablanca": [utc(2026, 2, 15, 2), utc(2026, 3, 22, 2)],
    "Asia/Tehran": [utc(2022, 3, 21, 20, 30), utc(2022, 9, 21, 19, 30)],
    "Africa/Cairo": [utc(2026, 4, 23, 22), utc(2026, 10, 29, 21)],
    "Asia/Pyongyang": [utc(2015, 8, 14, 15), utc(2018, 5, 4, 15)],
    "Asia/Kathmandu": [utc(2026, 1, 1, 12)],
    "Europe/Lisbon": [utc(2026, 3, 29, 1), utc(2026, 10, 25, 1)],
    "UTC": [utc(2026, 2, 28, 12)],
}


def cron(expression: str, zone: str = "UTC") -> Trigger:
    return trigger_from_spec({"cron_expression": expression, "timezone": zone})


@pytest.mark.parametrize("zone", CHANGES)
@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_fire_times_around_changes_of_the_clock(zone: str, expression: str) -> None:
    """Forwards, backwards and counted, against every minute of the days around."""
    trigger = cron(expression, zone)
    for change in CHANGES[zone]:
        begin, end = change - timedelta(hours=30), change + timedelta(hours=30)
        expected = fire_times(expression, ZoneInfo(zone), begin, end)

        forwards, moment = [], begin
        while (following := trigger.next_after(moment)) is not None and following <= end:
            forwards.append(moment := following)
        assert forwards == expected

        backwards, moment = [], end + timedelta(microseconds=1)
        while (before := trigger.previous_before(moment)) is not None and before > begin:
            backwards.append(moment := before)
        assert backwards[::-1] == expected

        assert trigger.count_between(begin, end) == len(expected)


FIELD = {
    "minute": st.sampled_from(["*", "*/7", "0", "59", "0,30", "10-20", "5-55/9"]),
    "hour": st.sampled_from(["*", "*/5", "0", "2", "23", "1,13", "2-4", "1-23/2"]),
    "day": st.sampled_from(["*", "1", "15", "31", "*/10", "28-31"]),
    "month": st.sampled_from(["*", "2", "*/3", "3,10"]),
    "weekday": st.sampled_from(["*", "0", "1-5", "6"]),
}
WHEN = st.datetimes(datetime(2024, 1, 1), datetime(2028, 1, 1)).map(lambda moment: utc(*moment.timetuple()[:5]))


@settings(max_examples=150)
@given(
    fields=st.tuples(*FIELD.values()),
    zone=st.sampled_from([name for name in CHANGES if "Apia" not in name]),
    asked=WHEN,
    offset=st.integers(-40, 40),
)
def test_forwards_backwards_and_counting_agree(
    fields: tuple[str, ...], zone: str, asked: datetime, offset: int
) -> None:
    """From any moment, whole minute or not: strictly after, monotone, inverse of each other, counted rightly."""
    assume((fields[2], fields[3]) != ("31", "2"))
    trigger = cron(" ".join(fields), zone)
    asked += timedelta(seconds=offset)
    walked, moment = [], asked
    for _ in range(6):
        following = trigger.next_after(moment)
        assert following is not None
        assert following > moment
        walked.append(moment := following)
    assert trigger.count_between(asked, walked[-1]) == 6
    for earlier, later in itertools.pairwise(walked):
        assert trigger.previous_before(later) == earlier
        assert trigger.next_after(later - timedelta(microseconds=1)) == later
    before = trigger.previous_before(walked[0])
    assert before is None or before <= asked


@pytest.mark.parametrize(
    ("expression", "same"),
    [
        ("@daily", "0 0 * * *"),
        ("@HOURLY", "0 * * * *"),
        ("0 0 * * SUN", "0 0 * * 0"),
        ("0 0 * * 7", "0 0 * * 0"),
        ("0 0 * jan-mar Mon-fri", "0 0 * 1-3 1-5"),
        ("  0   0 * * *  ", "0 0 * * *"),
    ],
)
def test_names_aliases_and_sunday_have_two_spellings(expression: str, same: str) -> None:
    moment = utc(2026, 1, 1)
    for _ in range(5):
        following = cron(expression).next_after(moment)
        assert following == cron(same).next_after(moment)
        assert following is not None
        moment = following


def test_either_day_field_matches_unless_one_starts_with_a_star() -> None:
    """13th or Friday against 13th and Friday: Vixie's rule, and Debian's exception."""
    either = cron("0 0 13 * 5").next_after(utc(2026, 1, 1))
    assert either == utc(2026, 1, 2)
    both = cron("0 0 */13 * 5").next_after(utc(2026, 1, 1))
    assert both == utc(2026, 2, 27), "1, 14 or 27, and a Friday"


def test_last_day_and_nth_weekday() -> None:
    assert cron("0 0 L * *").next_after(utc(2028, 2, 1)) == utc(2028, 2, 29)
    assert cron("0 0 * * 1#2").next_after(utc(2026, 6, 1)) == utc(2026, 6, 8)
    assert cron("0 0 29 2 *").next_after(utc(2096, 3, 1)) == utc(2104, 2, 29), "2100 is no leap year"


@pytest.mark.parametrize(
    ("expression", "advice"),
    [
        ("0 22-2 * * *", "22-23,0-2"),
        ("0 0 * * fri-mon", "5-6,0-1"),
        ("0 0 * nov-feb *", "11-12,1-2"),
        ("50-10 * * * *", "50-59,0-10"),
        ("0 0 30 2 *", "never matches"),
        ("0 0 31 2,4 *", "never matches"),
        ("0 0 */31 2 1#5", "never matches"),
        ("60 * * * *", "minute"),
        ("* 24 * * *", "hour"),
        ("* * 0 * *", "day-of-month"),
        ("* * * 13 *", "month"),
        ("* * * * 8", "day-of-week"),
        ("* * * *", "4 fields"),
        ("* * * * * *", "seconds are not supported"),
        ("@reboot", "when your application starts"),
        ("@fortnightly", "@daily"),
        ("*/0 * * * *", "minute"),
        ("a * * * *", "minute"),
        ("1-2-3 * * * *", "minute"),
        ("", "five fields"),
        ("* * * * mon#6", "day-of-week"),
        ("٣ * * * *", "minute"),
        ("*/" + "9" * 150 + " * * * *", "step"),
        ("0 0 */33 * *", "step"),
    ],
)
def test_what_cannot_be_read_or_never_fires_is_refused_with_advice(expression: str, advice: str) -> None:
    with pytest.raises(InvalidTrigger) as refused:
        cron(expression)
    assert advice in refused.value.message


def test_a_rare_date_is_found_and_the_end_of_time_too() -> None:
    monday_leap_day = cron("* * 29 2 */7")
    following = monday_leap_day.next_after(utc(2033, 1, 1))
    assert following == utc(2060, 2, 29) or (following is not None and following.weekday() == 6)
    assert cron("0 0 1 1 *").next_after(utc(2199, 1, 1)) is None
    assert cron("0 0 1 1 *").previous_before(utc(2000, 1, 1)) is None


def test_a_year_of_minutes_is_counted_in_every_zone() -> None:
    for zone in ("UTC", "Europe/Berlin", "Australia/Lord_Howe"):
        assert cron("* * * * *", zone).count_between(utc(2026, 1, 1), utc(2027, 1, 1)) == 365 * 1440

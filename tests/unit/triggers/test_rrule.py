"""Recurrence rules, against python-dateutil where there are no zones, and by hand where clocks change."""

from __future__ import annotations

import signal
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from itertools import islice
from time import perf_counter
from typing import Any

import pytest
from dateutil.rrule import rrulestr
from hypothesis import assume, given, reject, settings
from hypothesis import strategies as st

from modules.core.scheduler.triggers import InvalidTrigger, Trigger, trigger_from_spec
from tests.unit.triggers.oracle import utc

TICK = timedelta(microseconds=1)
WEEKDAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
MOST = 400


def rule(text: str, first: str = "2026-01-01T09:00Z", zone: str = "UTC") -> Trigger:
    return trigger_from_spec({"rrule": text, "schedule_time": first, "timezone": zone})


def rule_or_none(text: str, first: datetime) -> Trigger | None:
    try:
        return rule(text, first.isoformat())
    except InvalidTrigger:
        return None


def walked(theirs: Iterable[datetime], count: int) -> list[datetime]:
    """Their first fire times; where there is none, dateutil would walk for hours, and the example is passed over."""

    def give_up(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGVTALRM, give_up)
    signal.setitimer(signal.ITIMER_VIRTUAL, 2.0)
    try:
        return list(islice(theirs, count))
    except TimeoutError:
        reject()
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0.0)
        signal.signal(signal.SIGVTALRM, before)


def take(trigger: Trigger, after: datetime, count: int) -> list[datetime]:
    times: list[datetime] = []
    moment = trigger.next_after(after)
    while moment is not None and len(times) < count:
        times.append(moment)
        moment = trigger.next_after(moment)
    return times


def local(trigger: Trigger, after: datetime, count: int) -> list[str]:
    return [moment.strftime("%m-%d %H:%M") for moment in take(trigger, after, count)]


def numbers(pool: list[int], most: int = 3) -> st.SearchStrategy[str]:
    drawn = st.lists(st.sampled_from(pool), min_size=1, max_size=most, unique=True)
    return drawn.map(lambda chosen: ",".join(map(str, chosen)))


@st.composite
def rules(draw: st.DrawFn) -> str:
    """Rules that RFC 5545 allows and that fire within a few years."""
    frequency = draw(st.sampled_from(["YEARLY", "MONTHLY", "WEEKLY", "DAILY", "HOURLY"]))
    parts = [f"FREQ={frequency}", f"INTERVAL={draw(st.sampled_from([1, 1, 1, 2, 3, 5, 7]))}"]
    some = st.booleans()
    if draw(some):
        parts.append("BYMONTH=" + draw(numbers(list(range(1, 13)))))
    numbered = frequency in ("YEARLY", "MONTHLY") and draw(some)
    if frequency == "YEARLY" and not numbered and draw(some):
        parts.append("BYWEEKNO=" + draw(numbers([1, 2, 20, 51, 52, 53, -1, -2])))
        parts.append("BYDAY=" + draw(numbers_of_weekdays([0])))
    elif draw(some):
        yearly = [1, 2, 5, 20, 53, -1, -2, -30] if frequency == "YEARLY" else [1, 2, 4, 5, -1, -2, -5]
        parts.append("BYDAY=" + draw(numbers_of_weekdays(yearly if numbered else [0])))
    elif frequency != "WEEKLY" and draw(some):
        parts.append("BYMONTHDAY=" + draw(numbers([*range(1, 32), -1, -2, -30, -31])))
    elif frequency in ("YEARLY", "HOURLY") and draw(some):
        parts.append("BYYEARDAY=" + draw(numbers([1, 59, 60, 61, 200, 366, -1, -60, -366])))
    for name, highest in (("BYHOUR", 23), ("BYMINUTE", 59), ("BYSECOND", 59)):
        if draw(some):
            parts.append(f"{name}=" + draw(numbers(list(range(highest + 1)), 2)))
    if any(part.startswith("BY") for part in parts) and frequency != "WEEKLY" and draw(some):
        parts.append("BYSETPOS=" + draw(numbers([1, 2, 3, 5, -1, -2])))
    if draw(some):
        parts.append("WKST=" + draw(st.sampled_from(WEEKDAYS)))
    return ";".join(parts)


def numbers_of_weekdays(places: list[int]) -> st.SearchStrategy[str]:
    named = st.tuples(st.sampled_from(places), st.sampled_from(WEEKDAYS)).map(lambda pair: f"{pair[0] or ''}{pair[1]}")
    return st.lists(named, min_size=1, max_size=3, unique=True).map(",".join)


# The same examples every time: it is the slowest test, and should stay as slow as it is.
@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    text=rules(),
    day=st.sampled_from([1, 3, 15, 31]),
    count=st.none() | st.sampled_from([1, 7, 60]),
    until=st.none() | st.just(datetime(2002, 5, 15, 9, 30, tzinfo=UTC)),
)
def test_without_zones_dateutil_agrees(text: str, day: int, count: int | None, until: datetime | None) -> None:
    """Forwards, backwards and counted. dateutil stops at 2004 here: it walks, and a rule may be rare."""
    first, end = datetime(2000, 1, day, 9, 30, tzinfo=UTC), datetime(2004, 1, 1, tzinfo=UTC)
    assume(count is None or until is None)
    try:
        theirs = rrulestr(text, dtstart=first).replace(until=until or end)
    except ValueError:  # it refuses what has no hour
        assume(False)
    expected = walked(theirs, count or MOST)
    text += f";COUNT={count}" if count else f";UNTIL={until:%Y%m%dT%H%M%SZ}" if until else ""
    trigger = rule_or_none(text, first)
    if trigger is None:
        assert expected == []
        return
    mine = [moment for moment in take(trigger, first - TICK, MOST) if moment <= end]
    assert mine == expected
    if mine:
        assert trigger.count_between(first - TICK, mine[-1]) == len(mine)
        assert [trigger.previous_before(moment) for moment in mine[1:]] == mine[:-1]
        assert trigger.previous_before(mine[0]) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("FREQ=WEEKLY;BYDAY=MO,FR", ["01-02 09:00", "01-05 09:00", "01-09 09:00"]),
        ("FREQ=MONTHLY;BYDAY=-1FR", ["01-30 09:00", "02-27 09:00", "03-27 09:00"]),
        ("FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1", ["01-30 09:00", "02-27 09:00", "03-31 09:00"]),
        ("RRULE:FREQ=DAILY;INTERVAL=10;", ["01-01 09:00", "01-11 09:00", "01-21 09:00"]),
        ("freq=monthly;bymonthday=31", ["01-31 09:00", "03-31 09:00", "05-31 09:00"]),
        ("FREQ=YEARLY;BYDAY=20MO", ["05-18 09:00", "05-17 09:00", "05-15 09:00"]),
        ("FREQ=HOURLY;INTERVAL=5", ["01-01 09:00", "01-01 14:00", "01-01 19:00"]),
    ],
)
def test_rules_of_the_standard(text: str, expected: list[str]) -> None:
    assert local(rule(text), utc(2025, 12, 31), 3) == expected


def test_it_counts_from_the_first_time_and_ends_with_count_or_until() -> None:
    """The anchor itself fires only where it matches; until is inclusive, a date as a whole."""
    assert local(rule("FREQ=WEEKLY;BYDAY=MO;COUNT=2"), utc(2020, 1, 1), 9) == ["01-05 09:00", "01-12 09:00"]
    assert local(rule("FREQ=DAILY;UNTIL=20260102T090000Z"), utc(2020, 1, 1), 9) == ["01-01 09:00", "01-02 09:00"]
    assert local(rule("FREQ=DAILY;UNTIL=20260103"), utc(2026, 1, 2), 9) == ["01-02 09:00", "01-03 09:00"]
    assert rule("FREQ=DAILY;COUNT=3").count_between(utc(2020, 1, 1), utc(2090, 1, 1)) == 3


def test_until_is_read_on_the_wall_or_as_an_instant() -> None:
    """09:00 in Berlin is 08:00 UTC in winter: an instant that ends in Z is not a wall time."""
    wall = rule("FREQ=DAILY;UNTIL=20260103T090000", "2026-01-01T08:00Z", "Europe/Berlin")
    instant = rule("FREQ=DAILY;UNTIL=20260103T075959Z", "2026-01-01T08:00Z", "Europe/Berlin")
    assert (len(take(wall, utc(2020, 1, 1), 9)), len(take(instant, utc(2020, 1, 1), 9))) == (3, 2)


def test_a_time_in_the_gap_fires_after_it_and_one_in_the_fold_the_first_time() -> None:
    daily = rule("FREQ=DAILY;BYHOUR=2;BYMINUTE=30", "2026-01-01T00:00Z", "Europe/Berlin")
    assert local(daily, utc(2026, 3, 28), 3) == ["03-28 01:30", "03-29 01:00", "03-30 00:30"]
    assert local(daily, utc(2026, 10, 24), 3) == ["10-24 00:30", "10-25 00:30", "10-26 01:30"]
    hourly = rule("FREQ=HOURLY", "2026-01-01T00:00Z", "Europe/Berlin")
    assert hourly.count_between(utc(2026, 3, 28, 23), utc(2026, 3, 29, 22)) == 23
    assert hourly.count_between(utc(2026, 10, 24, 22), utc(2026, 10, 25, 23)) == 24


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "rrule must be text"),
        (5, "rrule must be text"),
        ("x" * 501, "too long"),
        ("BYDAY=MO", "no FREQ"),
        ("FREQ=SECONDLY", "use interval"),
        ("FREQ=MINUTELY;INTERVAL=5", "use interval"),
        ("FREQ=DAYLY", "'DAYLY' at position 6 of rrule is no FREQ. Did you mean 'DAILY'?"),
        ("FREQ=WEEKLY;BYDAI=MO", "'BYDAI' at position 13 of rrule is no part of a rule. Did you mean 'BYDAY'?"),
        ("FREQ=WEEKLY;BYDAY=FR,MOM", "'MOM' at position 22 of rrule is no BYDAY. Did you mean 'MO'?"),
        ("FREQ=WEEKLY;BYDAY=-", "'-' at position 19"),
        ("FREQ=WEEKLY;BYDAY=", "has no value"),
        ("FREQ=WEEKLY;;BYDAY=MO", "position 13"),
        ("FREQ=WEEKLY;WKST=monday", "Did you mean 'MO'?"),
        ("FREQ=DAILY;BYHOUR=1,24", "'24' at position 21 of rrule is no BYHOUR. Write numbers from 0 to 23."),
        ("FREQ=DAILY;BYHOUR=-1", "numbers from 0 to 23"),
        ("FREQ=MONTHLY;BYMONTHDAY=0", "or -1 to -31 from the end"),
        ("FREQ=DAILY;INTERVAL=0", "whole number from 1"),
        ("FREQ=DAILY;COUNT=1;COUNT=2", "comes twice"),
        ("FREQ=DAILY;COUNT=1;UNTIL=20270101", "exclude each other"),
        ("FREQ=DAILY;UNTIL=2027", "'2027' at position 18 of rrule is no UNTIL"),
        ("FREQ=DAILY;UNTIL=20271301", "is no UNTIL"),
        ("FREQ=DAILY;UNTIL=20250101", "never matches"),
        ("FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30", "never matches"),
        ("FREQ=DAILY;BYSETPOS=1", "add one"),
        ("FREQ=WEEKLY;BYMONTHDAY=1", "exclude each other"),
        ("FREQ=DAILY;BYYEARDAY=1", "exclude each other"),
        ("FREQ=MONTHLY;BYWEEKNO=1", "exclude each other"),
        ("FREQ=YEARLY;BYWEEKNO=20", "such as BYDAY=MO"),
        ("FREQ=YEARLY;BYWEEKNO=20;BYDAY=2MO", "exclude each other"),
        ("FREQ=WEEKLY;BYDAY=2MO", "needs FREQ=MONTHLY"),
        ("FREQ=HOURLY;BYMINUTE=" + ",".join(map(str, range(60))) + ";BYSECOND=0,30", "use interval instead"),
        ("DTSTART:20260101T090000Z", "schedule_time"),
        ("FREQ=DAILY;EXDATE=20260101", "use exclude"),
    ],
)
def test_refusals_name_the_place_and_the_way_out(text: Any, words: str) -> None:
    with pytest.raises(InvalidTrigger) as refused:
        trigger_from_spec({"rrule": text, "schedule_time": "2026-01-01T09:00Z"})
    assert words in refused.value.message


@given(st.text(max_size=60) | st.text("FREQ=DAILYWEKMONTH;BY0123456789,-+:", max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        assert rule(f"FREQ=YEARLY;{text}").describe()
    except InvalidTrigger as refused:
        assert len(refused.message) < 700  # noqa: PT017


@pytest.mark.parametrize(
    "text",
    [
        "FREQ=YEARLY;INTERVAL=97;BYMONTH=2;BYMONTHDAY=29;BYDAY=MO",
        "FREQ=YEARLY;BYWEEKNO=53,-53;BYDAY=MO;BYMONTH=6",
        "FREQ=HOURLY;INTERVAL=7;BYMONTH=2;BYMONTHDAY=29;BYDAY=MO;BYHOUR=3;BYSETPOS=-1",
        "FREQ=WEEKLY;INTERVAL=53;BYSETPOS=5;BYDAY=MO",
        "FREQ=DAILY;INTERVAL=99991;BYMONTH=2;BYMONTHDAY=29",
        "FREQ=MONTHLY;INTERVAL=1199;BYMONTHDAY=31;BYMONTH=2",
    ],
)
def test_the_worst_rules_are_answered_or_refused_without_walking(text: str) -> None:
    """A bound of a hundred times what it takes here: only a walk through hours or days of 200 years would break it."""
    begun = perf_counter()
    try:
        rule(text).next_after(utc(2026, 1, 1))
    except InvalidTrigger as refused:
        assert "never matches" in refused.message  # noqa: PT017
    assert perf_counter() - begun < 5


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("FREQ=WEEKLY;INTERVAL=2;BYDAY=MO,FR", "every 2 weeks on Monday and Friday at 09:00, UTC time"),
        ("FREQ=MONTHLY;BYDAY=-1FR;COUNT=1", "every month on the last Friday at 09:00 until 2026-01-30 09:00:00"),
        ("FREQ=YEARLY;BYMONTH=3;BYMONTHDAY=-2", "every year in March on the 2nd last day of the month at 09:00"),
        ("FREQ=HOURLY;BYHOUR=9,17", "every hour in the hours 9 and 17 at :00:00"),
        ("FREQ=YEARLY;BYYEARDAY=100", "on the 100th day of the year"),
        ("FREQ=YEARLY;BYWEEKNO=20;BYDAY=TU", "in the 20th week of the year on Tuesday"),
        ("FREQ=MONTHLY;BYDAY=MO,TU;BYSETPOS=1,-1", "only the last and the 1st of these"),
    ],
)
def test_describes_itself(text: str, sentence: str) -> None:
    described = rule(text).describe()
    assert sentence in described
    assert f"(rrule '{text}')" in described

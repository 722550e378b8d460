"""`triggers` and `exclude`, held against sets of the fire times of their parts."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from modules.core.scheduler.triggers import InvalidTrigger, Trigger, trigger_from_spec
from modules.core.scheduler.triggers.dropped import excluded_between

ZONES = (
    "UTC", "Europe/Berlin", "America/New_York", "America/Santiago", "America/St_Johns", "America/Asuncion",
    "Australia/Lord_Howe", "Pacific/Chatham", "Pacific/Apia", "Antarctica/Troll", "Africa/Cairo", "Asia/Kathmandu",
    "Asia/Tehran", "Atlantic/Azores", "Europe/Dublin", "America/Havana", "Asia/Kolkata",
)  # fmt: skip
TICK = timedelta(microseconds=1)
SPAN = timedelta(days=12)
RULES: list[dict[str, Any]] = [
    {"cron_expression": "0 2 * * *"},
    {"cron_expression": "30 */6 * * *"},
    {"cron_expression": "15 0,12 * * mon-fri"},
    {"interval": "7 hours", "schedule_time": "2009-01-01T00:00:00Z"},
    {"interval": "1 day", "schedule_time": "2009-01-01T02:30:00Z"},
    {"rrule": "FREQ=WEEKLY;BYDAY=SA,SU;BYHOUR=1,2;BYMINUTE=30", "schedule_time": "2009-01-01T00:00:00Z"},
]
EXCLUSIONS: list[dict[str, Any]] = [
    {"weekdays": ["sat", "sun"]},
    {"from": "22:00", "until": "06:00"},
    {"weekdays": ["mon"], "from": "01:30", "until": "03:00"},
    {"holidays": "DE"},
    {"date": "2011-12-30"},
    {"from": "2011-12-24", "until": "2012-01-01"},
]
# Days around changes of clocks somewhere, Samoa's skipped day, a year's end, and any other.
STARTS = st.sampled_from(
    [datetime(2011, 12, 26), datetime(2012, 3, 20), datetime(2012, 4, 1), datetime(2012, 9, 30), datetime(2012, 10, 24),
     datetime(2013, 3, 6), datetime(2013, 10, 30), datetime(2010, 12, 22)]
).map(lambda naive: naive.replace(tzinfo=UTC))  # fmt: skip


def _all(trigger: Trigger, after: datetime, until: datetime) -> list[datetime]:
    """Every fire time in `(after, until]`, each asked for after the one before."""
    times: list[datetime] = []
    moment = trigger.next_after(after)
    while moment is not None and moment <= until:
        assert not times or moment > times[-1]
        times.append(moment)
        moment = trigger.next_after(moment)
    return times


def _check(trigger: Trigger, expected: list[datetime], after: datetime, until: datetime) -> None:
    assert _all(trigger, after, until) == expected
    assert trigger.count_between(after, until) == len(expected)
    backwards: list[datetime] = []
    moment = trigger.previous_before(until + TICK)
    while moment is not None and moment > after:
        backwards.append(moment)
        moment = trigger.previous_before(moment)
    assert backwards == expected[::-1]


@settings(max_examples=60)
@given(zone=st.sampled_from(ZONES), start=STARTS, rules=st.lists(st.sampled_from(RULES), min_size=1, max_size=4))
def test_a_union_fires_when_one_of_its_rules_does(zone: str, start: datetime, rules: list[dict[str, Any]]) -> None:
    parts = [trigger_from_spec({**rule, "timezone": zone}) for rule in rules]
    expected = sorted({time for part in parts for time in _all(part, start, start + SPAN)})
    _check(trigger_from_spec({"triggers": rules, "timezone": zone}), expected, start, start + SPAN)


def _is_excluded(moment: datetime, exclusion: dict[str, Any], zone: str) -> bool:
    """By the wall clock of that moment alone, without any of the code under test."""
    wall = moment.astimezone(ZoneInfo(zone))
    if "holidays" in exclusion:
        fixed = {(1, 1), (5, 1), (10, 3), (12, 25), (12, 26)}
        return (wall.month, wall.day) in fixed or wall.date() in {date(2012, 4, 6), date(2012, 4, 9)}
    if "date" in exclusion:
        return wall.date() == date.fromisoformat(exclusion["date"])
    if "weekdays" not in exclusion and len(exclusion["from"]) > 5:
        return date.fromisoformat(exclusion["from"]) <= wall.date() <= date.fromisoformat(exclusion["until"])
    days = exclusion.get("weekdays", ["mon", "tue", "wed", "thu", "fri", "sat", "sun"])
    today = f"{wall:%a}".lower() in days
    if "from" not in exclusion:
        return today
    clock = f"{wall:%H:%M}"
    if exclusion["from"] < exclusion["until"]:
        return today and exclusion["from"] <= clock < exclusion["until"]
    return clock >= exclusion["from"] or clock < exclusion["until"]  # that one is there every day


# Without the zones whose clocks change within the windows above: there a window's edge is moved by the one rule.
STEADY = ("UTC", "Asia/Kathmandu", "Asia/Kolkata")


@settings(max_examples=60)
@given(
    zone=st.sampled_from(STEADY),
    start=STARTS,
    rule=st.sampled_from(RULES),
    exclusions=st.lists(st.sampled_from(EXCLUSIONS), min_size=1, max_size=4),
)
def test_what_is_excluded_does_not_fire_and_is_told(
    zone: str, start: datetime, rule: dict[str, Any], exclusions: list[dict[str, Any]]
) -> None:
    bare = _all(trigger_from_spec({**rule, "timezone": zone}), start, start + SPAN)
    dropped = [time for time in bare if any(_is_excluded(time, one, zone) for one in exclusions)]
    trigger = trigger_from_spec({**rule, "timezone": zone, "exclude": exclusions})
    assume(_is_there(trigger, start))
    _check(trigger, [time for time in bare if time not in dropped], start, start + SPAN)
    told = excluded_between(trigger, start, start + SPAN, 10_000)
    assert [one.at for one in told] == dropped
    assert all(one.rule for one in told)


def _is_there(trigger: Trigger, start: datetime) -> bool:
    """Whether the exclusions leave anything of it."""
    try:
        return trigger.next_after(start) is not None
    except InvalidTrigger:
        return False


@settings(max_examples=60)
@given(
    zone=st.sampled_from(ZONES),
    start=STARTS,
    rule=st.sampled_from(RULES),
    exclusions=st.lists(st.sampled_from(EXCLUSIONS), min_size=1, max_size=4),
)
def test_in_every_zone_each_time_fires_or_is_told(
    zone: str, start: datetime, rule: dict[str, Any], exclusions: list[dict[str, Any]]
) -> None:
    bare = _all(trigger_from_spec({**rule, "timezone": zone}), start, start + SPAN)
    trigger = trigger_from_spec({**rule, "timezone": zone, "exclude": exclusions})
    assume(_is_there(trigger, start))
    told = {one.at for one in excluded_between(trigger, start, start + SPAN, 10_000)}
    _check(trigger, [time for time in bare if time not in told], start, start + SPAN)
    assert told <= set(bare)


@pytest.mark.parametrize(
    ("spec", "advice"),
    [
        ({"triggers": []}, "triggers"),
        (
            {
                "triggers": [{"interval": "1 second"}, {"interval": "2 seconds"}],
                "schedule_time": "2026-01-01T00:00:00Z",
            },
            "join them into one rule",
        ),
        ({"cron_expression": "0 2 * * *", "exclude": [{"weekdays": ["sut"]}]}, "Did you mean"),
        ({"cron_expression": "0 2 * * *", "exclude": [{"from": "2026-12-24", "until": "2026-12-01"}]}, "exchange them"),
        ({"cron_expression": "0 2 * * *", "exclude": [{"holidays": "Germany"}]}, "ISO 3166"),
        ({"cron_expression": "0 2 * * *", "exclude": {"date": "2026-12-24"}}, "must be a list"),
        ({"cron_expression": "0 2 * * *", "exclude": [{"from": "25:00", "until": "26:00"}]}, "exclude[0]"),
    ],
)
def test_what_makes_no_sense_is_refused(spec: dict[str, Any], advice: str) -> None:
    with pytest.raises(InvalidTrigger) as refused:
        trigger_from_spec(spec)
    assert advice in refused.value.message


def test_a_rule_that_is_always_excluded_is_refused_by_whoever_asks_when() -> None:
    trigger = trigger_from_spec({"cron_expression": "0 2 * * sat", "exclude": [{"weekdays": ["sat"]}]})
    with pytest.raises(InvalidTrigger, match="take an exclusion away"):
        trigger.next_after(datetime(2026, 1, 1, tzinfo=UTC))

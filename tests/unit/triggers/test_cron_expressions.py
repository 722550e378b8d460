"""What cron expressions mean on a clock without surprises, and how they are refused."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

import pytest
from cronsim import CronSim
from hypothesis import given
from hypothesis import strategies as st

from modules.core.scheduler.triggers import InvalidTrigger, Trigger, cron_calendar, trigger_from_spec, wall_clock
from tests.unit.triggers.cron_oracle import at

# How many years one search may look at: a rare date over a zone's changes needs some four hundred, a count over two
# centuries thirteen hundred. Whoever went from day to day would need 73 000.
MOST_YEARS = 2_000


def cron(expression: str, zone_name: str = "UTC") -> Trigger:
    return trigger_from_spec({"cron_expression": expression, "timezone": zone_name})


def first(expression: str, count: int, after: str = "2026-01-01") -> list[str]:
    trigger, times = cron(expression), []
    moment = at(after) - timedelta(microseconds=1)
    for _ in range(count):
        following = trigger.next_after(moment)
        assert following is not None
        moment = following
        times.append(moment.strftime("%Y-%m-%d %H:%M"))
    return times


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("*/20 5 * * *", ["2026-01-01 05:00", "2026-01-01 05:20", "2026-01-01 05:40", "2026-01-02 05:00"]),
        ("0 9 * * MON-Fri", ["2026-01-01 09:00", "2026-01-02 09:00", "2026-01-05 09:00"]),
        ("0 0 * * 0", ["2026-01-04 00:00", "2026-01-11 00:00"]),
        ("0 0 * * 7", ["2026-01-04 00:00", "2026-01-11 00:00"]),
        ("0 0 * * sun", ["2026-01-04 00:00", "2026-01-11 00:00"]),
        ("0 0 1 JAN,jul *", ["2026-01-01 00:00", "2026-07-01 00:00", "2027-01-01 00:00"]),
        ("50/5 7 * * *", ["2026-01-01 07:50", "2026-01-01 07:55", "2026-01-02 07:50"]),
        ("0 0 L * *", ["2026-01-31 00:00", "2026-02-28 00:00", "2026-03-31 00:00"]),
        ("0 0 LW * *", ["2026-01-30 00:00", "2026-02-27 00:00", "2026-03-31 00:00"]),
        ("0 0 * * 5L", ["2026-01-30 00:00", "2026-02-27 00:00"]),
        ("0 0 * * mon#2", ["2026-01-12 00:00", "2026-02-09 00:00"]),
        ("0 0 29 2 *", ["2028-02-29 00:00", "2032-02-29 00:00"]),
        ("0 0 * 2 mon#5", ["2044-02-29 00:00", "2072-02-29 00:00"]),
        ("7-7 7 * * *", ["2026-01-01 07:07", "2026-01-02 07:07"]),
    ],
)
def test_the_dialect(expression: str, expected: list[str]) -> None:
    """Lists, steps, ranges, names in any case, both Sundays, L, LW, nL and #."""
    assert first(expression, len(expected)) == expected


@pytest.mark.parametrize(
    ("alias", "expected"),
    [
        ("@yearly", "0 0 1 1 *"),
        ("@annually", "0 0 1 1 *"),
        ("@monthly", "0 0 1 * *"),
        ("@weekly", "0 0 * * 0"),
        ("@Daily", "0 0 * * *"),
        ("@midnight", "0 0 * * *"),
        (" @hourly ", "0 * * * *"),
    ],
)
def test_aliases_are_their_expressions(alias: str, expected: str) -> None:
    assert cron(alias) == cron(expected)


def test_equal_expressions_make_equal_triggers() -> None:
    """Triggers are values: equal, hashable, of one spelling."""
    assert cron("0  2 * * MON") == cron("0 2 * * mon")
    assert len({cron("0 2 * * mon"), cron("0 2 * * mon"), cron("0 3 * * mon")}) == 2


def test_either_day_field_is_enough_when_both_are_set() -> None:
    """Vixie's rule: the 13th, and every Friday."""
    assert first("0 0 13 * fri", 4) == ["2026-01-02 00:00", "2026-01-09 00:00", "2026-01-13 00:00", "2026-01-16 00:00"]
    assert "either day field is enough" in cron("0 0 13 * fri").describe()


def test_both_day_fields_must_match_when_one_starts_with_a_star() -> None:
    """Debian's rule: Fridays on odd days of the month, and days of the month that are an even weekday."""
    assert first("0 0 */2 * fri", 3) == ["2026-01-09 00:00", "2026-01-23 00:00", "2026-02-13 00:00"]
    assert first("0 0 13 * */2", 3) == ["2026-01-13 00:00", "2026-06-13 00:00", "2026-08-13 00:00"]
    assert "must match day of month and day of week" in cron("0 0 */2 * fri").describe()


NUMBERS = [st.integers(0, 59), st.integers(0, 23), st.integers(1, 31), st.integers(1, 12), st.integers(0, 7)]


@st.composite
def field(draw: st.DrawFn, index: int) -> str:
    number = NUMBERS[index]
    kind = draw(st.sampled_from(["star", "star", "number", "list", "range", "step", "every"]))
    if kind == "star":
        return "*"
    low, high = sorted((draw(number), draw(number)))
    step = draw(st.integers(1, 6))
    return {
        "number": f"{low}",
        "list": f"{high},{low}",
        "range": f"{low}-{high}",
        "step": f"{low}-{high}/{step}",
        "every": f"*/{step}",
    }[kind]


expressions = st.tuples(*(field(index) for index in range(5))).map(" ".join)
moments = st.datetimes(datetime(2001, 1, 1), datetime(2090, 1, 1), timezones=st.just(UTC))


@given(expressions, moments)
def test_without_zones_cronsim_agrees(expression: str, moment: datetime) -> None:
    """The library is right where no clock changes: five times onwards and five back."""
    try:
        trigger = cron(expression)
    except InvalidTrigger as refusal:
        assert "never matches" in str(refusal)  # noqa: PT017  # any other refusal of these is a fault
        return
    following = moment
    for expected in islice(CronSim(expression, moment), 5):
        answer = trigger.next_after(following)
        assert answer == expected
        following = expected
    earlier = moment
    for expected in islice(CronSim(expression, moment, reverse=True), 5):
        assert trigger.previous_before(earlier) == expected
        earlier = expected
    assert trigger.count_between(moment, following) == 5


@pytest.mark.parametrize(
    ("expression", "advice"),
    [
        ("0 22-2 * * *", "write '22-23,0-2'"),
        ("0 22-2/2 * * *", "write '22,0,2'"),
        ("50-10 * * * *", "write '50-59,0-10'"),
        ("0 23-0 * * *", "write '23,0'"),
        ("0 0 25-5 * *", "write '25-31,1-5'"),
        ("0 0 * nov-feb *", "write '11-12,1-2'"),
        ("0 0 * * fri-mon", "write '5-6,0-1'"),
        ("0 0 * * 7-2", "write '0-2'"),
        ("0 0 30 2 *", "never matches"),
        ("0 0 31 2,4,6,9,11 *", "never matches"),
        ("0 0 */30 2 mon#2", "never matches"),
        ("0 0 2 * * *", "seconds are not supported yet"),
        ("0 0 0 1 1 * 2026", "has 7 fields"),
        ("* * * *", "has 4 fields"),
        ("@reboot", "not supported yet"),
        ("@dayly", "Did you mean '@daily'?"),
        ("61 * * * *", "Write 0 to 59"),
        ("* 24 * * *", "Write 0 to 23"),
        ("* * 0 * *", "day-of-month"),
        ("* * * 13 *", "Write 1 to 12 or jan to dec"),
        ("* * * * 8", "day-of-week"),
        ("* * * * mno", "Did you mean 'mon'?"),
        ("* * * janu *", "Did you mean 'jan'?"),
        ("*/0 * * * *", "minute"),
        ("*/90 * * * *", "interval, such as '90 minutes'"),
        ("1,,2 * * * *", "minute"),
        ("-5 * * * *", "minute"),
        ("0 0 ? * mon", "day-of-month"),
        ("0 0 * * \u017fun", "day-of-week"),
        ("", "five fields"),
        ("   ", "five fields"),
        (5, "must be text"),
        ("* " * 150, "too long"),
    ],
)
def test_refusals_say_what_to_write(expression: object, advice: str) -> None:
    """Each message names the way out, and floods nobody."""
    with pytest.raises(InvalidTrigger) as refusal:
        trigger_from_spec({"cron_expression": expression})
    assert advice in refusal.value.message
    assert len(refusal.value.message) < 300


@given(st.text(max_size=250))
def test_any_text_is_read_or_refused(text: str) -> None:
    """No input raises anything but InvalidTrigger."""
    try:
        cron(text)
    except InvalidTrigger as refusal:
        assert len(refusal.message) < 400  # noqa: PT017


@given(st.lists(st.text("0123456789*/-,L#W?monjafeb", min_size=1, max_size=8), min_size=5, max_size=5))
def test_any_fields_are_read_or_refused(fields: list[str]) -> None:
    """The same for what nearly is an expression; and what is read can be described and asked."""
    try:
        trigger = cron(" ".join(fields), "Europe/Berlin")
    except InvalidTrigger:
        return
    assert trigger.describe()
    assert trigger.next_after(at("2001-01-01")) is not None


@pytest.mark.parametrize(
    ("expression", "sentence"),
    [
        ("0 2 * * mon-fri", "at 02:00 on Monday through Friday, Europe/Berlin time (cron '0 2 * * mon-fri')"),
        ("@hourly", "at the start of every hour, Europe/Berlin time (cron '0 * * * *')"),
    ],
)
def test_describes_itself(expression: str, sentence: str) -> None:
    assert cron(expression, "Europe/Berlin").describe() == sentence


@pytest.mark.parametrize("zone_name", ["UTC", "Europe/Berlin", "Africa/Casablanca", "Asia/Gaza"])
@pytest.mark.parametrize(
    "expression",
    ["* * * * *", "0-59 0-23 * * *", "*/5 0 * 2 mon#5", "0 0 * 2 sat#5", "*/7 */11 */29 2 sun", "59 23 31 12 *"],
)
def test_searches_are_short(expression: str, zone_name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """However rare the fire times are: years are looked at, some of them often, and never their days or minutes."""
    years = 0

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def count(*arguments: Any) -> Any:
            nonlocal years
            years += 1
            return function(*arguments)

        return count

    monkeypatch.setattr(cron_calendar, "_days_of", counted(cron_calendar._days_of))
    monkeypatch.setattr(wall_clock, "_changes_of", counted(wall_clock._changes_of))
    trigger = cron(expression, zone_name)
    for moment in (at("2000-01-01"), at("2026-11-24"), at("2199-12-31")):
        for search in (trigger.next_after, trigger.previous_before):
            years = 0
            search(moment)
            assert years < MOST_YEARS
    years = 0
    assert trigger.count_between(at("1999-01-01"), at("2300-01-01")) > 0
    assert 0 < years < MOST_YEARS


def test_fire_times_end_with_the_year_2199() -> None:
    """And begin with 2000."""
    assert cron("@yearly").next_after(at("2199-06-01")) is None
    assert cron("@yearly").previous_before(at("2199-06-01")) == at("2199-01-01")
    assert cron("@yearly").next_after(at("1999-06-01")) == at("2000-01-01")
    assert cron("@yearly").previous_before(at("2000-01-01")) is None
    assert cron("* * * * *").count_between(at("2199-12-31T23:00"), at("2250-01-01")) == 59

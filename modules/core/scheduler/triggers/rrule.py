"""Recurrence rules of RFC 5545 (RRULE), HOURLY or slower, on the wall clock of a zone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import product
from typing import Final, cast
from zoneinfo import ZoneInfo

from modules.core.errors import did_you_mean
from modules.core.scheduler.triggers.base import EARLIEST
from modules.core.scheduler.triggers.errors import InvalidTrigger, shown
from modules.core.scheduler.triggers.on_the_wall import OnTheWall
from modules.core.scheduler.triggers.rrule_calendar import Frequency, RRuleCalendar, Rule, picked_times
from modules.core.scheduler.triggers.rrule_words import in_words
from modules.core.scheduler.triggers.wall_clock import latest_wall, wall_of

LONGEST: Final = 500
MOST_TIMES_A_DAY: Final = 1440
WEEKDAYS: Final = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
FREQUENCIES: Final = ("YEARLY", "MONTHLY", "WEEKLY", "DAILY", "HOURLY")
_EXAMPLE: Final = "'FREQ=MONTHLY;BYDAY=-1FR'"
# The numbers that a list may hold, and whether they may count from the end.
_NUMBERS: Final = {
    "BYMONTH": (1, 12, False), "BYWEEKNO": (1, 53, True), "BYYEARDAY": (1, 366, True), "BYMONTHDAY": (1, 31, True),
    "BYHOUR": (0, 23, False), "BYMINUTE": (0, 59, False), "BYSECOND": (0, 59, False), "BYSETPOS": (1, 366, True),
}  # fmt: skip
_PARTS: Final = ("FREQ", "INTERVAL", "COUNT", "UNTIL", "WKST", "BYDAY", *_NUMBERS)
_ELSEWHERE: Final = {
    "DTSTART": "put it into schedule_time", "EXDATE": "use exclude", "RDATE": "use triggers", "EXRULE": "use exclude",
    "TZID": "use timezone",
}  # fmt: skip
# What RFC 5545 does not allow together (section 3.3.10).
_NOT_WITH: Final = {
    "BYWEEKNO": ("MONTHLY", "WEEKLY", "DAILY", "HOURLY"),
    "BYYEARDAY": ("MONTHLY", "WEEKLY", "DAILY"),
    "BYMONTHDAY": ("WEEKLY",),
}


@dataclass(frozen=True, slots=True)
class RRule(OnTheWall):
    """The fire times of a rule, the first of them not before the moment that it was anchored to."""

    text: str
    calendar: RRuleCalendar
    zone: ZoneInfo

    def describe(self) -> str:
        return in_words(self.text, self.calendar.rule, self.zone)


def rrule(text: object, anchor: datetime, zone: ZoneInfo) -> RRule:
    """The trigger of a rule that counts from `anchor` (UTC): DTSTART, on whole seconds. Only moments that match the
    rule are fire times, so the anchor itself need not be one. Raises InvalidTrigger."""
    parts = _parts(text)
    spelled = ";".join(f"{name}={value}" for name, (value, _) in parts.items())
    frequency = _frequency(parts)
    given = {name: _numbers(name, *parts[name]) for name in _NUMBERS if name in parts}
    weekdays = _weekdays(*parts["BYDAY"]) if "BYDAY" in parts else ()
    _check_together(frequency, parts, weekdays)
    first = wall_of(anchor, zone).replace(microsecond=0)
    month_days, months = given.get("BYMONTHDAY", ()), given.get("BYMONTH", ())
    if not weekdays and not given.keys() & {"BYMONTHDAY", "BYYEARDAY", "BYWEEKNO"}:
        if frequency == "YEARLY":
            months, month_days = months or (first.month,), (first.day,)
        elif frequency == "MONTHLY":
            month_days = (first.day,)
        elif frequency == "WEEKLY":
            weekdays = ((0, first.weekday()),)
    rule = Rule(
        frequency=cast(Frequency, frequency),
        interval=_whole("INTERVAL", parts, 1, 100_000) or 1,
        first=first,
        last=_until(*parts["UNTIL"], zone) if "UNTIL" in parts else None,
        months=months,
        week_numbers=given.get("BYWEEKNO", ()),
        year_days=given.get("BYYEARDAY", ()),
        month_days=month_days,
        weekdays=weekdays,
        hours=given.get("BYHOUR", ()),
        times=_times(frequency, given, first),
        positions=given.get("BYSETPOS", ()),
        week_start=_weekday(*parts["WKST"]) if "WKST" in parts else 0,
    )
    calendar = RRuleCalendar(rule)
    if (count := _whole("COUNT", parts, 1, 2**31 - 1)) is not None:
        calendar = calendar.ended_after(count)
    if calendar.next_after(max(first, EARLIEST.replace(tzinfo=None)) - timedelta(days=1)) is None:
        raise InvalidTrigger(
            f"{shown(spelled)} never matches from {first} on: correct its BY parts or UNTIL, or move schedule_time."
        )
    return RRule(spelled, calendar, zone)


def _parts(text: object) -> dict[str, tuple[str, int]]:
    """Each part with its value and the position of that, from 1."""
    if not isinstance(text, str) or not text.strip():
        raise InvalidTrigger(f"rrule must be text, such as {_EXAMPLE}.")
    if len(text) > LONGEST:
        raise InvalidTrigger(f"rrule is too long: at most {LONGEST} characters.")
    parts: dict[str, tuple[str, int]] = {}
    position = 1
    for item in text.split(";"):
        name, sign, value = item.partition("=")
        offset = position + len(item) - len(item.lstrip())
        position += len(item) + 1
        name = name.strip().upper().removeprefix("RRULE:").strip()
        if not item.strip() and position > len(text):
            continue  # a semicolon at the end
        head = name.partition(":")[0].partition(";")[0]
        if head in _ELSEWHERE:
            raise InvalidTrigger(f"{head} at position {offset} of rrule does not belong there: {_ELSEWHERE[head]}.")
        if name not in _PARTS:
            hint = did_you_mean(name[:20], _PARTS)
            raise InvalidTrigger(
                f"{shown(name, 40)} at position {offset} of rrule is no part of a rule.{hint} Use {', '.join(_PARTS)}."
            )
        if not sign or not value.strip():
            raise InvalidTrigger(f"{name} at position {offset} of rrule has no value: write {name}=...")
        if name in parts:
            raise InvalidTrigger(f"{name} at position {offset} of rrule comes twice: join the two.")
        parts[name] = (value.strip().upper(), offset + item.strip().index("=") + 1)
    return parts


def _frequency(parts: Mapping[str, tuple[str, int]]) -> str:
    if "FREQ" not in parts:
        raise InvalidTrigger(f"rrule has no FREQ: write FREQ=DAILY or another of {', '.join(FREQUENCIES)}.")
    value, position = parts["FREQ"]
    if value in ("SECONDLY", "MINUTELY"):
        raise InvalidTrigger(
            f"FREQ={value} is faster than rules are for: use interval, such as '30 seconds', or cron_expression."
        )
    if value not in FREQUENCIES:
        raise _bad("FREQ", value, position, did_you_mean(value[:20], FREQUENCIES), ", ".join(FREQUENCIES))
    return value


def _whole(name: str, parts: Mapping[str, tuple[str, int]], lowest: int, highest: int) -> int | None:
    if name not in parts:
        return None
    value, position = parts[name]
    number = int(value) if value.isascii() and value.isdecimal() and len(value) < 12 else -1
    if not lowest <= number <= highest:
        raise _bad(name, value, position, "", f"a whole number from {lowest} to {highest}")
    return number


def _numbers(name: str, text: str, position: int) -> tuple[int, ...]:
    lowest, highest, may_be_negative = _NUMBERS[name]
    allowed = f"numbers from {lowest} to {highest}" + (f", or -1 to -{highest} from the end" if may_be_negative else "")
    numbers = set()
    for word in text.split(","):
        digits = word.strip().removeprefix("+" if not may_be_negative or word.strip()[:1] == "+" else "-")
        number = int(digits) if digits.isascii() and digits.isdecimal() and len(digits) < 6 else -1
        if not lowest <= number <= highest:
            raise _bad(name, word, position, "", allowed)
        numbers.add(-number if word.strip().startswith("-") else number)
        position += len(word) + 1
    return tuple(sorted(numbers))


def _weekdays(text: str, position: int) -> tuple[tuple[int, int], ...]:
    days = set()
    for word in text.split(","):
        name = word.strip()[-2:]
        number = word.strip()[:-2]
        digits = number.removeprefix("-" if number[:1] == "-" else "+")
        if digits and not (digits.isascii() and digits.isdecimal() and len(digits) < 3 and 1 <= int(digits) <= 53):
            name, digits = word.strip(), ""  # what cannot be a number belongs to a name that is none
        if name not in WEEKDAYS or (number and not digits):
            raise _bad("BYDAY", word, position, _weekday_meant(word), f"{', '.join(WEEKDAYS)}, or such as 2MO, -1FR")
        days.add((int(number) if number else 0, WEEKDAYS.index(name)))
        position += len(word) + 1
    return tuple(sorted(days))


def _weekday(text: str, position: int) -> int:
    if text not in WEEKDAYS:
        raise _bad("WKST", text, position, _weekday_meant(text), ", ".join(WEEKDAYS))
    return WEEKDAYS.index(text)


def _weekday_meant(word: str) -> str:
    letters = "".join(letter for letter in word if letter.isalpha())
    meant = next((day for day in WEEKDAYS if len(letters) > 2 and letters.startswith(day)), None)
    return f" Did you mean {meant!r}?" if meant else did_you_mean(letters[:10], WEEKDAYS)


def _check_together(
    frequency: str, parts: Mapping[str, tuple[str, int]], weekdays: tuple[tuple[int, int], ...]
) -> None:
    for name, frequencies in _NOT_WITH.items():
        if name in parts and frequency in frequencies:
            raise InvalidTrigger(f"{name} and FREQ={frequency} exclude each other: use FREQ=YEARLY, or remove {name}.")
    if any(number for number, _ in weekdays):
        if frequency not in ("YEARLY", "MONTHLY"):
            raise InvalidTrigger(f"BYDAY with numbers needs FREQ=MONTHLY or FREQ=YEARLY, not {frequency}.")
        if "BYWEEKNO" in parts:
            raise InvalidTrigger("BYDAY with numbers and BYWEEKNO exclude each other: name the weekday without one.")
    if "BYWEEKNO" in parts and "BYDAY" not in parts:
        raise InvalidTrigger("BYWEEKNO names weeks: say with BYDAY on which of their days, such as BYDAY=MO.")
    if "BYSETPOS" in parts and not any(name.startswith("BY") for name in parts if name != "BYSETPOS"):
        raise InvalidTrigger("BYSETPOS chooses among what other BY parts name: add one, such as BYDAY=MO,TU.")
    if "COUNT" in parts and "UNTIL" in parts:
        raise InvalidTrigger("COUNT and UNTIL exclude each other: keep one.")


def _times(frequency: str, given: Mapping[str, tuple[int, ...]], first: datetime) -> tuple[int, ...]:
    minutes = given.get("BYMINUTE", (first.minute,))
    seconds = given.get("BYSECOND", (first.second,))
    hours = (0,) if frequency == "HOURLY" else given.get("BYHOUR", (first.hour,))
    a_day = len(minutes) * len(seconds) * (24 if frequency == "HOURLY" else len(hours))
    if a_day > MOST_TIMES_A_DAY:
        raise InvalidTrigger(
            f"rrule would fire up to {a_day} times a day, at most {MOST_TIMES_A_DAY} are allowed: use interval instead."
        )
    times = tuple(hour * 3600 + minute * 60 + second for hour, minute, second in product(hours, minutes, seconds))
    if "BYSETPOS" in given and frequency in ("DAILY", "HOURLY"):
        return picked_times(times, given["BYSETPOS"])
    return times


def _until(text: str, position: int, zone: ZoneInfo) -> datetime:
    """The last moment on the wall."""
    try:
        if len(text) == 8:
            return datetime.combine(date.fromisoformat(text), time.max)
        if len(text) in (15, 16) and text[8] == "T":
            moment = datetime.fromisoformat(text)
            return moment if moment.tzinfo is None else latest_wall(moment.astimezone(UTC), zone)
    except (ValueError, OverflowError):
        pass
    raise _bad("UNTIL", text, position, "", "a date such as 20261231, or a time such as 20261231T235959Z")


def _bad(name: str, value: str, position: int, hint: str, allowed: str) -> InvalidTrigger:
    return InvalidTrigger(
        f"{shown(value.strip(), 40)} at position {position} of rrule is no {name}.{hint} Write {allowed}."
    )

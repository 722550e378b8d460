"""A recurrence rule as an English phrase."""

from __future__ import annotations

from calendar import day_name, month_name
from collections.abc import Iterable
from zoneinfo import ZoneInfo

from modules.core.scheduler.triggers.rrule_calendar import Rule

_UNITS = {"YEARLY": "year", "MONTHLY": "month", "WEEKLY": "week", "DAILY": "day", "HOURLY": "hour"}


def in_words(text: str, rule: Rule, zone: ZoneInfo) -> str:
    """The phrase of a rule whose text is `text`."""
    unit = _UNITS[rule.frequency]
    words = [f"every {unit}" if rule.interval == 1 else f"every {rule.interval} {unit}s"]
    if rule.months:
        words.append(f"in {_and(month_name[month] for month in rule.months)}")
    if rule.week_numbers:
        words.append(f"in {_and(_place(number) + ' week' for number in rule.week_numbers)} of the year")
    if rule.month_days:
        words.append(f"on {_and(_place(number) + ' day' for number in rule.month_days)} of the month")
    if rule.year_days:
        words.append(f"on {_and(_place(number) + ' day' for number in rule.year_days)} of the year")
    if rule.weekdays:
        words.append(f"on {_and(_weekday(number, day) for number, day in rule.weekdays)}")
    if rule.hours and rule.frequency == "HOURLY":
        words.append(f"in the hours {_and(str(hour) for hour in rule.hours)}")
    if rule.positions and rule.frequency not in ("DAILY", "HOURLY"):
        words.append(f"only {_and(_place(number) for number in rule.positions)} of these")
    words.append(_times(rule))
    if rule.last is not None:
        words.append(f"until {rule.last:%Y-%m-%d %H:%M:%S}")
    return f"{' '.join(word for word in words if word)}, {zone.key} time (rrule {text!r})"


def _times(rule: Rule) -> str:
    if len(rule.times) > 6:
        return f"at {len(rule.times)} times"
    if rule.frequency == "HOURLY":
        return f"at {_and(f':{seconds // 60:02}:{seconds % 60:02}' for seconds in rule.times)}"
    return f"at {_and(_clock(seconds) for seconds in rule.times)}"


def _clock(seconds: int) -> str:
    minutes, rest = divmod(seconds, 60)
    return f"{minutes // 60:02}:{minutes % 60:02}" + (f":{rest:02}" if rest else "")


def _weekday(number: int, day: int) -> str:
    return f"{_place(number)} {day_name[day]}" if number else f"{day_name[day]}"


def _place(number: int) -> str:
    """The 2nd, the last, the 3rd last."""
    if number == -1:
        return "the last"
    size = abs(number)
    ending = "th" if 10 <= size % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(size % 10, "th")
    return f"the {size}{ending}" + (" last" if number < 0 else "")


def _and(items: Iterable[str]) -> str:
    *most, last = items
    return f"{', '.join(most)} and {last}" if most else last

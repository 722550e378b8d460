"""From `exclude`, as REST bodies and rows hold it, to exclusions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from modules.core.errors import did_you_mean
from modules.core.scheduler.triggers.base import sentence_time
from modules.core.scheduler.triggers.errors import InvalidTrigger, shown
from modules.core.scheduler.triggers.exclusions import DAY, Exclusion, Holidays, Range, Weekly
from modules.core.scheduler.triggers.holiday_calendar import checked_place
from modules.core.scheduler.triggers.moments import to_instant

MOST_EXCLUSIONS: Final = 100
MOST_REPEATED: Final = 10  # windows of the week and holidays cost a search more than a date does
WEEKDAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_SHORT: Final = tuple(name[:3] for name in WEEKDAYS)
_KINDS: Final = (
    {"date"}, {"from", "until"}, {"weekdays"}, {"weekdays", "from", "until"}, {"holidays"}, {"holidays", "subdivision"},
)  # fmt: skip
_FIELDS: Final = ("date", "from", "until", "weekdays", "holidays", "subdivision")
_TIME: Final = re.compile(r"([0-9]{2}):([0-9]{2})(?::([0-9]{2}))?")
_EXAMPLES: Final = (
    "{'date': '2026-12-24'}, {'from': '2026-12-24', 'until': '2027-01-06'}, {'weekdays': ['sat', 'sun']}, "
    "{'from': '22:00', 'until': '06:00'} or {'holidays': 'DE'}"
)


def exclusions(value: object, zone: ZoneInfo) -> tuple[Exclusion, ...]:
    """One exclusion for each entry of a list of objects, as in `_EXAMPLES`. Raises InvalidTrigger, which names the
    entry by its place, from 0.

    Dates are whole days of `zone`, the last one of a range included. A range between times ends right before `until`,
    and so does a window of the week, which may go past midnight; without weekdays it is there every day.
    """
    if not isinstance(value, list | tuple):
        raise InvalidTrigger(f"exclude must be a list of objects such as {_EXAMPLES}.")
    if len(value) > MOST_EXCLUSIONS:
        raise InvalidTrigger(f"exclude has {len(value)} entries, at most {MOST_EXCLUSIONS} are allowed: use ranges.")
    found = tuple(_exclusion(entry, f"exclude[{index}]", zone) for index, entry in enumerate(value))
    if (repeated := sum(not isinstance(one, Range) for one in found)) > MOST_REPEATED:
        raise InvalidTrigger(f"exclude has {repeated} windows and holidays, at most {MOST_REPEATED}: join some.")
    return found


def _exclusion(entry: object, place: str, zone: ZoneInfo) -> Exclusion:
    if not isinstance(entry, Mapping) or not entry:
        raise InvalidTrigger(f"{place} must be an object such as {_EXAMPLES}.")
    for name in entry:
        if name not in _FIELDS:
            hint = did_you_mean(name[:20], _FIELDS) if isinstance(name, str) else ""
            raise InvalidTrigger(f"{place} has an unknown field, {shown(str(name), 40)}.{hint} Write {_EXAMPLES}.")
    given = {name: item for name, item in entry.items() if item is not None}
    if set(given) not in _KINDS:
        raise InvalidTrigger(
            f"{place}: {' and '.join(sorted(given)) or 'nothing'} cannot be combined like that. Write {_EXAMPLES}."
        )
    if "holidays" in given:
        try:
            return Holidays(*checked_place(given["holidays"], given.get("subdivision")), zone)
        except InvalidTrigger as error:
            raise InvalidTrigger(f"{place}: {error.message}") from error
    if "date" in given:
        day = _day(given["date"])
        if day is None:
            raise InvalidTrigger(f"{place}.date must be a date such as '2026-12-24'.")
        return Range(_midnight(day, place, zone), _midnight(day + DAY, place, zone), f"on {day}")
    if "weekdays" in given or _is_time(given["from"]) or _is_time(given["until"]):
        return _weekly(given, place, zone)
    return _range(given["from"], given["until"], place, zone)


def _range(begin: Any, end: Any, place: str, zone: ZoneInfo) -> Range:
    first, last = _day(begin), _day(end)
    start = to_instant(begin, f"{place}.from", zone) if first is None else _midnight(first, place, zone)
    until = to_instant(end, f"{place}.until", zone) if last is None else _midnight(last + DAY, place, zone)
    if until <= start:
        raise InvalidTrigger(f"{place}: until lies before from, or with it: exchange them.")
    words = f"from {first or sentence_time(start)} " + (f"to {last}" if last else f"until {sentence_time(until)}")
    return Range(start, until, words)


def _weekly(given: Mapping[str, Any], place: str, zone: ZoneInfo) -> Weekly:
    days = _weekdays(given["weekdays"], place) if "weekdays" in given else tuple(range(7))
    on_days = "every day" if len(days) == 7 else f"every {', '.join(WEEKDAYS[day].capitalize() for day in days)}"
    if "from" not in given:
        return Weekly(days, timedelta(0), DAY, zone, on_days)
    begin, end = (_time(given[name], f"{place}.{name}", last=name == "until") for name in ("from", "until"))
    if begin == end:
        raise InvalidTrigger(f"{place}: from and until are the same time: leave both out to exclude whole days.")
    length = end - begin if end > begin else end + DAY - begin
    return Weekly(days, begin, length, zone, f"{on_days} from {given['from']} until {given['until']}")


def _weekdays(value: object, place: str) -> tuple[int, ...]:
    if not isinstance(value, list | tuple) or not 1 <= len(value) <= 7:
        raise InvalidTrigger(f"{place}.weekdays must be a list of one to seven names, such as ['sat', 'sun'].")
    days = set()
    for index, name in enumerate(value):
        word = name.strip().lower() if isinstance(name, str) else ""
        if word not in WEEKDAYS and word not in _SHORT:
            hint = did_you_mean(word[:10], WEEKDAYS if len(word) > 3 else _SHORT)
            raise InvalidTrigger(
                f"{place}.weekdays[{index}] is no weekday.{hint} Write names such as 'mon' or 'monday'."
            )
        days.add(_SHORT.index(word[:3]))
    return tuple(sorted(days))


def _is_time(value: object) -> bool:
    return isinstance(value, str) and _TIME.fullmatch(value) is not None


def _time(value: object, name: str, *, last: bool) -> timedelta:
    match = _TIME.fullmatch(value) if isinstance(value, str) else None
    if match is not None:
        hours, minutes, seconds = (int(part or 0) for part in match.groups())
        moment = timedelta(hours=hours, minutes=minutes, seconds=seconds)
        if minutes < 60 and seconds < 60 and (moment < DAY or (last and moment == DAY)):
            return moment
    raise InvalidTrigger(f"{name} must be a time of the day such as '22:00', up to '24:00' for until.")


def _day(value: object) -> date | None:
    """A date, or its text; None for what else there may be."""
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    if not isinstance(value, str) or len(value) != 10:
        return None
    try:
        return date.fromisoformat(value)
    except ValueError:
        return None


def _midnight(day: date, place: str, zone: ZoneInfo) -> datetime:
    return to_instant(datetime(day.year, day.month, day.day), place, zone)  # noqa: DTZ001  # the zone comes with it

"""Intervals as text: `6 hours`, `1h30m`, `1 month`, and ISO 8601 durations such as `PT15M` and `P1M`."""

from __future__ import annotations

import re
from typing import Final, NoReturn

from modules.core.errors import did_you_mean
from modules.core.scheduler.triggers.errors import InvalidTrigger, shown

SECONDS: Final = {"seconds": 1, "minutes": 60, "hours": 3600, "days": 86_400, "weeks": 604_800}
MONTHS: Final = {"months": 1, "years": 12}
UNITS: Final = (*SECONDS, *MONTHS)
ELAPSED: Final = ("hours", "minutes", "seconds")  # the others follow the wall clock
LONGEST_YEARS: Final = 200  # the years in which triggers fire
LONGEST_TEXT: Final = 100
_MOST: Final = {unit: LONGEST_YEARS * 365 * 86_400 // seconds for unit, seconds in SECONDS.items()} | {
    unit: LONGEST_YEARS * 12 // months for unit, months in MONTHS.items()
}
_SHORT: Final = {
    "s": "seconds", "sec": "seconds", "secs": "seconds", "m": "minutes", "min": "minutes", "mins": "minutes",
    "h": "hours", "hr": "hours", "hrs": "hours", "d": "days", "w": "weeks", "mo": "months", "y": "years",
}  # fmt: skip
_WORDS = re.compile(r"([0-9]{1,10})\s*([a-z]+)[\s,]*(?:and\s+)?")
_ISO = re.compile(
    r"p(?:(?P<years>[0-9]{1,10})y)?(?:(?P<months>[0-9]{1,10})m)?(?:(?P<weeks>[0-9]{1,10})w)?(?:(?P<days>[0-9]{1,10})d)?"
    r"(?:t(?:(?P<hours>[0-9]{1,10})h)?(?:(?P<minutes>[0-9]{1,10})m)?(?:(?P<seconds>[0-9]{1,10})s)?)?"
)
_FRACTION = re.compile(r"[0-9]?[.,][0-9]")


def parse_interval(text: str) -> tuple[int, str]:
    """`(value, unit)`: what was written where it is one unit, else the largest unit that holds it exactly, so "1h30m"
    is `(90, "minutes")`. The unit is one of `UNITS`. Raises InvalidTrigger.

    Months and years follow the calendar, so they cannot be mixed with units that do not. Days and weeks follow the
    wall clock, hours and shorter are elapsed time; days mixed with hours become elapsed time.
    """
    if not isinstance(text, str):
        raise InvalidTrigger("interval must be text, such as '6 hours', '1h30m', '1 month' or 'PT15M'.")
    if len(text) > LONGEST_TEXT:
        raise InvalidTrigger(f"interval is too long: write at most {LONGEST_TEXT} characters, such as '6 hours'.")
    lowered = text.strip().lower()
    parts = _iso_parts(lowered, text) if lowered.startswith("p") else _word_parts(lowered, text)
    if not parts:
        _refuse(text)
    return _one_unit(parts, text)


def unit_named(word: str) -> str:
    """The unit in its plural: hour, Hours and hours are "hours". Raises InvalidTrigger."""
    if not isinstance(word, str):
        raise InvalidTrigger(f"interval_type must be text: one of {', '.join(UNITS)}.")
    lowered = word.strip().lower()
    plural = lowered if lowered in UNITS else f"{lowered}s"
    if plural not in UNITS:
        hint = did_you_mean(lowered[:20], UNITS)
        raise InvalidTrigger(f"{shown(word)} is not a unit of time.{hint} Use one of {', '.join(UNITS)}.")
    return plural


def checked_value(value: object, unit: str) -> int:
    """A whole number of units from 1 up to 200 years. Raises InvalidTrigger."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidTrigger("interval_value must be a whole number, such as 5.")
    if value < 1:
        raise InvalidTrigger(f"An interval must be at least 1 of its unit: write 1 {unit[:-1]} or more.")
    if value > _MOST[unit]:
        raise InvalidTrigger(
            f"The interval is too long: it may last {LONGEST_YEARS} years, which is {_MOST[unit]} {unit}."
        )
    return value


def in_largest_unit(seconds: int, units: tuple[str, ...] = ELAPSED) -> tuple[int, str]:
    """`(value, unit)` with the first of `units` that holds so many seconds exactly."""
    unit = next(unit for unit in units if seconds % SECONDS[unit] == 0)
    return seconds // SECONDS[unit], unit


def _word_parts(lowered: str, text: str) -> dict[str, int]:
    parts: dict[str, int] = {}
    position = 0
    while position < len(lowered):
        match = _WORDS.match(lowered, position)
        if match is None:
            _refuse(text)
        unit = _SHORT.get(match[2]) or unit_named(match[2])
        if unit in parts:
            raise InvalidTrigger(f"{shown(text)} names {unit} twice: add the two up.")
        parts[unit] = int(match[1])
        position = match.end()
    return parts


def _iso_parts(lowered: str, text: str) -> dict[str, int]:
    match = _ISO.fullmatch(lowered)
    if match is None or lowered.endswith("t"):
        _refuse(text)
    return {unit: int(value) for unit, value in match.groupdict().items() if value is not None}


def _one_unit(parts: dict[str, int], text: str) -> tuple[int, str]:
    if len(parts) == 1:
        ((unit, value),) = parts.items()
        return checked_value(value, unit), unit
    if not parts.keys() & MONTHS.keys():
        total = sum(value * SECONDS[unit] for unit, value in parts.items())
        value, unit = in_largest_unit(total, ("weeks", "days") if parts.keys() <= {"weeks", "days"} else ELAPSED)
        return checked_value(value, unit), unit
    if not parts.keys() <= MONTHS.keys():
        raise InvalidTrigger(
            f"{shown(text)} mixes months or years with shorter units, and a month has no fixed length: use either, "
            "or a cron expression."
        )
    return checked_value(sum(value * MONTHS[unit] for unit, value in parts.items()), "months"), "months"


def _refuse(text: str) -> NoReturn:
    if _FRACTION.search(text):
        raise InvalidTrigger(
            f"{shown(text)} has a fraction: write whole numbers, such as '1h30m' for an hour and a half."
        )
    raise InvalidTrigger(f"{shown(text)} is not an interval: write '6 hours', '1h30m', '1 month' or 'PT15M'.")

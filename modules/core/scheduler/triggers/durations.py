"""Intervals as text: `6 hours`, `1h30m`, `1 month`, and ISO 8601 durations such as `PT15M` and `P1M`."""

from __future__ import annotations

import re
from typing import Final, NoReturn

from modules.core.errors import did_you_mean
from modules.core.scheduler.triggers.base import InvalidTrigger

UNITS: Final = ("seconds", "minutes", "hours", "days", "weeks", "months", "years")
SECONDS: Final = {"seconds": 1, "minutes": 60, "hours": 3600, "days": 86_400, "weeks": 604_800}
LONGEST_YEARS: Final = 200
_DAYS: Final = {
    "seconds": 1 / 86_400, "minutes": 1 / 1440, "hours": 1 / 24, "days": 1, "weeks": 7, "months": 28, "years": 365,
}  # fmt: skip
_SHORT: Final = {
    "s": "seconds", "sec": "seconds", "secs": "seconds", "m": "minutes", "min": "minutes", "mins": "minutes",
    "h": "hours", "hr": "hours", "hrs": "hours", "d": "days", "w": "weeks", "mo": "months", "y": "years",
}  # fmt: skip
_WORDS = re.compile(r"(\d{1,10})\s*([a-z]+)[\s,]*(?:and\s+)?")
_ISO = re.compile(
    r"p(?:(?P<years>\d{1,9})y)?(?:(?P<months>\d{1,9})m)?(?:(?P<weeks>\d{1,9})w)?(?:(?P<days>\d{1,9})d)?"
    r"(?:t(?:(?P<hours>\d{1,9})h)?(?:(?P<minutes>\d{1,9})m)?(?:(?P<seconds>\d{1,9})s)?)?"
)


def parse_interval(text: str) -> tuple[int, str]:
    """`(value, unit)` with the largest unit that holds it: "1h30m" is (90, "minutes"). Raises InvalidTrigger.

    Months and years follow the calendar, so they cannot be mixed with units that do not.
    """
    if not isinstance(text, str) or len(text) > 100:
        _refuse(str(text))
    lowered = text.strip().lower()
    return _one_unit(_iso_parts(lowered) if lowered.startswith("p") else _word_parts(lowered, text), text)


def unit_named(word: str) -> str:
    """The unit in its plural: hour, Hours and hours are "hours". Raises InvalidTrigger."""
    if not isinstance(word, str):
        raise InvalidTrigger(f"interval_type must be text: one of {', '.join(UNITS)}.")
    lowered = word.strip().lower()
    plural = lowered if lowered in UNITS else f"{lowered}s"
    if plural not in UNITS:
        hint = did_you_mean(lowered[:20], UNITS)
        raise InvalidTrigger(f"{word[:20]!r} is not a unit of time.{hint} Use one of {', '.join(UNITS)}.")
    return plural


def checked_value(value: object, unit: str) -> int:
    """A whole number of units from 1 up to 200 years. Raises InvalidTrigger."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidTrigger("interval_value must be a whole number, such as 5.")
    if value < 1:
        raise InvalidTrigger("interval_value must be at least 1: an interval cannot be zero or negative.")
    if value * _DAYS[unit] > LONGEST_YEARS * 365:
        raise InvalidTrigger(f"interval_value is too large: an interval may last {LONGEST_YEARS} years at most.")
    return value


def _word_parts(lowered: str, text: str) -> dict[str, int]:
    parts: dict[str, int] = {}
    position = 0
    while position < len(lowered):
        match = _WORDS.match(lowered, position)
        if match is None:
            _refuse(text)
        word = match[2]
        unit = _SHORT.get(word) or unit_named(word)
        if unit in parts:
            _refuse(text)
        parts[unit] = int(match[1])
        position = match.end()
    return parts


def _iso_parts(lowered: str) -> dict[str, int]:
    match = _ISO.fullmatch(lowered)
    if match is None or lowered.endswith("t"):
        _refuse(lowered)
    return {unit: int(value) for unit, value in match.groupdict().items() if value is not None}


def _one_unit(parts: dict[str, int], text: str) -> tuple[int, str]:
    calendar = {unit: value for unit, value in parts.items() if unit in ("months", "years")}
    if not parts:
        _refuse(text)
    if calendar and len(calendar) != len(parts):
        raise InvalidTrigger(
            f"{text[:100]!r} mixes months or years with units of fixed length: use either, or a cron expression."
        )
    if len(parts) == 1:
        ((unit, value),) = parts.items()
        return checked_value(value, unit), unit
    if calendar:
        return checked_value(calendar["years"] * 12 + calendar["months"], "months"), "months"
    total = sum(value * SECONDS[unit] for unit, value in parts.items())
    smallest = min(parts, key=SECONDS.__getitem__)
    # Hours and shorter are elapsed time, days follow the wall clock: a mixture is elapsed time.
    units = [unit for unit in ("hours", "minutes", "seconds") if total % SECONDS[unit] == 0]
    unit = smallest if smallest in ("days", "weeks") else units[0]
    return checked_value(total // SECONDS[unit], unit), unit


def _refuse(text: str) -> NoReturn:
    raise InvalidTrigger(f"{text[:100]!r} is not an interval: write '6 hours', '1h30m', '1 month' or 'PT15M'.")

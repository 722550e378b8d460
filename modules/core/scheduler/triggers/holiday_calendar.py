"""Public holidays, from the package `holidays`, which is an extra: only who excludes them needs it."""

from __future__ import annotations

from datetime import date
from functools import lru_cache
from types import ModuleType

from modules.core.errors import did_you_mean
from modules.core.scheduler.triggers.errors import InvalidTrigger, shown


def checked_place(country: object, subdivision: object) -> tuple[str, str | None]:
    """A country and a part of it that the package knows. Raises InvalidTrigger, also where it is not installed."""
    known = _package().list_supported_countries(include_aliases=True)
    if not isinstance(country, str) or country not in known:
        given = country if isinstance(country, str) else ""
        hint = did_you_mean(given.strip().upper()[:10], known)
        raise InvalidTrigger(
            f"{shown(given)} is not a country whose holidays are known.{hint} Use its ISO 3166 code of two letters, "
            "such as 'DE'."
        )
    if subdivision is None:
        return country, None
    parts = known[country]
    if not isinstance(subdivision, str) or subdivision not in parts:
        given = subdivision if isinstance(subdivision, str) else ""
        hint = did_you_mean(given.strip()[:20], parts)
        some = f"Use one of {', '.join(sorted(parts)[:60])}." if parts else "That country has none: leave it out."
        raise InvalidTrigger(f"{shown(given)} is not a subdivision of {country}.{hint} {some}")
    return country, subdivision


@lru_cache(maxsize=4096)
def holidays_of(country: str, subdivision: str | None, year: int) -> frozenset[date]:
    """The holidays of a year; the place must have been checked."""
    found = _package().country_holidays(country, subdiv=subdivision, years=year)
    return frozenset(day for day in found if day.year == year)


def _package() -> ModuleType:
    try:
        import holidays  # an extra
    except ImportError as error:
        raise InvalidTrigger(
            "Excluding holidays needs the package 'holidays', which is not installed here: "
            "install core-scheduler[holidays], or exclude the dates themselves."
        ) from error
    return holidays

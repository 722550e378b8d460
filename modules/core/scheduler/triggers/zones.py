"""Time zones by name."""

from __future__ import annotations

from functools import cache
from zoneinfo import ZoneInfo, available_timezones

from modules.core.errors import did_you_mean
from modules.core.scheduler.triggers.base import InvalidTrigger


def zone(name: str) -> ZoneInfo:
    """The zone of that IANA name. By membership in the list of names, so that no name is ever opened as a path."""
    if not isinstance(name, str):
        raise InvalidTrigger("timezone must be text: an IANA name such as 'Europe/Berlin'.")
    if name not in _names():
        hint = did_you_mean(name[:64], _names())
        raise InvalidTrigger(f"{name[:64]!r} is not a timezone.{hint} Use an IANA name such as 'Europe/Berlin'.")
    return ZoneInfo(name)


@cache
def _names() -> frozenset[str]:
    return frozenset(available_timezones())

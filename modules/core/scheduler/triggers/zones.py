"""Time zones by name."""

from __future__ import annotations

from functools import cache
from zoneinfo import ZoneInfo, available_timezones

from modules.core.errors import did_you_mean
from modules.core.scheduler.triggers.errors import InvalidTrigger, shown

# Listed on some systems, but they mean another zone, or none, on the next machine.
_NOT_PORTABLE = {"localtime", "posixrules", "Factory"}


def zone(name: str) -> ZoneInfo:
    """The zone of that IANA name. By membership in the list of names, so that no name is ever opened as a path.

    Raises InvalidTrigger.
    """
    if not isinstance(name, str):
        raise InvalidTrigger("timezone must be text: an IANA name such as 'Europe/Berlin'.")
    if name not in _names():
        raise InvalidTrigger(f"{shown(name)} is not a timezone.{_hint(name)} Use an IANA name such as 'Europe/Berlin'.")
    return ZoneInfo(name)


def _hint(name: str) -> str:
    word = name.strip()[:64].lower().replace(" ", "_")
    whole = [known for known in sorted(_names()) if known.lower() == word]
    cities = [known for known in sorted(_names()) if known.rpartition("/")[2].lower() == word]
    return did_you_mean((whole + cities or [name[:64]])[0], sorted(_names()))


@cache
def _names() -> frozenset[str]:
    return frozenset(available_timezones() - _NOT_PORTABLE)

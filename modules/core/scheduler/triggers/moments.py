"""Times as callers write them."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from modules.core.scheduler.triggers.base import in_range
from modules.core.scheduler.triggers.errors import InvalidTrigger, shown
from modules.core.scheduler.triggers.wall_clock import instant_of

_EXAMPLE = "2026-07-17T10:00:00Z"


def to_instant(value: object, name: str, zone: ZoneInfo) -> datetime:
    """A datetime or ISO 8601 text as a UTC instant; a naive one is wall time in `zone`, over gaps and folds by the rule
    of wall_clock. `name` is the field, for the message of InvalidTrigger."""
    if isinstance(value, str):
        value = _read(value, name)
    if not isinstance(value, datetime):
        raise InvalidTrigger(f"{name} must be a datetime or ISO 8601 text such as {_EXAMPLE}.")
    try:
        moment = instant_of(value.replace(tzinfo=None), zone) if value.utcoffset() is None else value.astimezone(UTC)
    except (OverflowError, ValueError):
        moment = None
    if in_range(moment) is None or moment is None:
        raise InvalidTrigger(f"{name} is out of range: use the years 2000 to 2199.")
    return moment


def _read(text: str, name: str) -> datetime:
    try:
        return datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise InvalidTrigger(f"{name} is {shown(text, 40)}, not an ISO 8601 time: write {_EXAMPLE}.") from error

"""A cron expression as an English phrase."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from cronsim import CronSim


def in_words(expression: str, zone: ZoneInfo) -> str:
    """The phrase of a checked expression, with the rule that joins the two day fields where both are set."""
    fields = expression.split()
    explained = CronSim(expression, datetime(2000, 1, 1)).explain()  # noqa: DTZ001  # a wall clock has no zone
    words = f"{explained[0].lower()}{explained[1:]}, {zone.key} time (cron {expression!r}"
    if "*" not in (fields[2], fields[4]):
        both = fields[2].startswith("*") or fields[4].startswith("*")
        words += "; a day must match day of month and day of week" if both else "; either day field is enough"
    return f"{words})"

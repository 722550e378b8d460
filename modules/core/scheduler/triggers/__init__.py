"""STUB to be replaced by the real package."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError

from modules.core.errors import Invalid

SCHEDULE_FIELDS = ()
UNITS = {
    "seconds": 1,
    "minutes": 60,
    "hours": 3600,
    "days": 86400,
    "weeks": 604800,
    "months": 2592000,
    "years": 31536000,
}


class InvalidTrigger(Invalid, ValueError):
    code = "INVALID_TRIGGER"


class Trigger: ...


def zone(name: str) -> ZoneInfo:
    if name not in available_timezones():
        raise InvalidTrigger(f"{name!r} is no zone")
    return ZoneInfo(name)


def parse_interval(text: str) -> tuple[int, str]:
    value, unit = text.split()
    return int(value), unit if unit.endswith("s") else unit + "s"


@dataclass(frozen=True)
class Once(Trigger):
    at: datetime

    def next_after(self, m):
        return self.at if self.at > m else None

    def previous_before(self, m):
        return self.at if self.at < m else None

    def count_between(self, a, b):
        return int(a < self.at <= b)

    def describe(self):
        return "once"


@dataclass(frozen=True)
class Every(Trigger):
    anchor: datetime | None
    step: timedelta

    def next_after(self, m):
        if self.anchor is None:
            return m + self.step
        if m < self.anchor:
            return self.anchor
        return self.anchor + ((m - self.anchor) // self.step + 1) * self.step

    def previous_before(self, m):
        if self.anchor is None:
            return m - self.step
        if m <= self.anchor:
            return None
        n = (m - self.anchor) // self.step
        at = self.anchor + n * self.step
        return at if at < m else at - self.step

    def count_between(self, a, b):
        return (b - self.anchor) // self.step - (a - self.anchor) // self.step

    def describe(self):
        return f"every {self.step}"


@dataclass(frozen=True)
class Cron(Trigger):
    text: str

    def next_after(self, m):
        return next(CronSim(self.text, m.astimezone(UTC)))

    def previous_before(self, m):
        return next(CronSim(self.text, m.astimezone(UTC), reverse=True))

    def count_between(self, a, b):
        return 1

    def describe(self):
        return self.text


def trigger_from_spec(spec: Mapping[str, Any]) -> Any:
    if spec.get("cron_expression"):
        try:
            CronSim(spec["cron_expression"], datetime(2026, 1, 1, tzinfo=UTC))
        except CronSimError as e:
            raise InvalidTrigger(str(e)) from e
        return Cron(spec["cron_expression"])
    value, unit = spec.get("interval_value"), spec.get("interval_type")
    if spec.get("interval"):
        value, unit = parse_interval(spec["interval"])
    if unit:
        if unit not in UNITS:
            raise InvalidTrigger("unit")
        return Every(spec.get("schedule_time"), timedelta(seconds=value * UNITS[unit]))
    return Once(spec["schedule_time"])

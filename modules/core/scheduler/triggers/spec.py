"""From the schedule fields of a task, as REST bodies and rows hold them, to a trigger."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from modules.core.errors import did_you_mean
from modules.core.scheduler.triggers.base import InvalidTrigger, Trigger
from modules.core.scheduler.triggers.bounds import Bounded
from modules.core.scheduler.triggers.cron import cron
from modules.core.scheduler.triggers.durations import checked_value, parse_interval, unit_named
from modules.core.scheduler.triggers.interval import ELAPSED, CalendarInterval, ElapsedInterval
from modules.core.scheduler.triggers.once import Once
from modules.core.scheduler.triggers.wall_clock import instant_of
from modules.core.scheduler.triggers.zones import zone

SCHEDULE_FIELDS: Final = (
    "schedule_time", "recurring", "interval_type", "interval_value", "interval", "cron_expression", "timezone",
    "start_time", "end_time",
)  # fmt: skip
OTHER_TASK_FIELDS: Final = (
    "name", "description", "module_id", "function_name", "parameters", "max_executions", "timeout_seconds", "retry",
    "delivery", "unique_key", "tags", "allow_past",
)  # fmt: skip


def trigger_from_spec(spec: Mapping[str, Any]) -> Trigger:
    """The trigger that these fields describe. Raises InvalidTrigger, which says what to change.

    Times are datetimes or ISO 8601 text; naive ones are wall time in `timezone` (default UTC). `schedule_time` is the
    one time, the anchor of an interval, or the start of a cron schedule. Other fields of a task are passed over.
    """
    fields = _known_fields(spec)
    zone_of_spec = zone(fields.get("timezone", "UTC"))
    at, start, end = (
        _moment(fields.get(name), name, zone_of_spec) for name in ("schedule_time", "start_time", "end_time")
    )
    if start is not None and end is not None and end < start:
        raise InvalidTrigger("end_time lies before start_time: exchange them, or leave one out.")
    trigger: Trigger
    if not _recurs(fields):
        if at is None:
            raise InvalidTrigger("A one-time task needs schedule_time; a recurring one an interval or cron_expression.")
        trigger = Once(at)
    elif "cron_expression" in fields:
        trigger = cron(fields["cron_expression"], zone_of_spec)
        start = max(start, at) if start is not None and at is not None else start or at
    else:
        trigger = _interval(fields, at, zone_of_spec)
    if end is not None and at is not None and end < at:
        raise InvalidTrigger("end_time lies before schedule_time: move one of them.")
    return trigger if start is None and end is None else Bounded(trigger, start, end)


def _known_fields(spec: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(spec, Mapping):
        raise InvalidTrigger("A schedule is a dict of fields, such as {'interval': '6 hours'}.")
    for name in spec:
        if name not in SCHEDULE_FIELDS and name not in OTHER_TASK_FIELDS:
            hint = did_you_mean(str(name)[:50], SCHEDULE_FIELDS)
            raise InvalidTrigger(f"{str(name)[:50]!r} is no field of a schedule.{hint} Remove it or correct its name.")
    return {name: spec[name] for name in SCHEDULE_FIELDS if spec.get(name) is not None}


def _recurs(fields: Mapping[str, Any]) -> bool:
    given = [name for name in ("interval_type", "interval_value", "interval", "cron_expression") if name in fields]
    recurring = fields.get("recurring", bool(given))
    if not isinstance(recurring, bool):
        raise InvalidTrigger("recurring must be true or false.")
    if recurring and not given:
        raise InvalidTrigger("recurring is true, but no rule is given: add interval or cron_expression.")
    if given and not recurring:
        raise InvalidTrigger(f"recurring is false, but {given[0]} is given: remove one of them.")
    if "cron_expression" in given and len(given) > 1:
        raise InvalidTrigger(f"cron_expression and {given[0]} exclude each other: keep one.")
    if "interval" in given and len(given) > 1:
        raise InvalidTrigger("interval and interval_type with interval_value exclude each other: keep one form.")
    if len({"interval_type", "interval_value"} & set(given)) == 1:
        missing = "interval_value" if "interval_type" in given else "interval_type"
        raise InvalidTrigger(f"{missing} is missing: an interval needs interval_type and interval_value.")
    return recurring


def _interval(fields: Mapping[str, Any], anchor: datetime | None, zone_of_spec: ZoneInfo) -> Trigger:
    if "interval" in fields:
        value, unit = parse_interval(fields["interval"])
    else:
        unit = unit_named(fields["interval_type"])
        value = checked_value(fields["interval_value"], unit)
    if unit in ELAPSED:
        return ElapsedInterval(value, unit, anchor)
    return CalendarInterval(value, unit, zone_of_spec, anchor)


def _moment(value: Any, name: str, zone_of_spec: ZoneInfo) -> datetime | None:
    if value is None:
        return None
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError as error:
            raise InvalidTrigger(f"{name} is not an ISO 8601 time: write 2026-07-17T10:00:00Z.") from error
    if not isinstance(value, datetime):
        raise InvalidTrigger(f"{name} must be a datetime or ISO 8601 text such as 2026-07-17T10:00:00Z.")
    try:
        moment = instant_of(value, zone_of_spec) if value.tzinfo is None else value.astimezone(UTC)
    except (OverflowError, ValueError) as error:
        raise _out_of_range(name) from error
    if not 2000 <= moment.year <= 2199:
        raise _out_of_range(name)
    return moment


def _out_of_range(name: str) -> InvalidTrigger:
    return InvalidTrigger(f"{name} is out of range: use the years 2000 to 2199.")

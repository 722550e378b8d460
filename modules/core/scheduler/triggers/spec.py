"""From the schedule fields of a task, as REST bodies and rows hold them, to a trigger."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from modules.core.errors import did_you_mean
from modules.core.scheduler.triggers.base import Trigger
from modules.core.scheduler.triggers.bounds import Bounded
from modules.core.scheduler.triggers.calendar_interval import CalendarInterval
from modules.core.scheduler.triggers.cron import cron
from modules.core.scheduler.triggers.durations import ELAPSED, checked_value, parse_interval, unit_named
from modules.core.scheduler.triggers.errors import InvalidTrigger, shown
from modules.core.scheduler.triggers.exclude_spec import exclusions
from modules.core.scheduler.triggers.excluding import Excluding
from modules.core.scheduler.triggers.fixed_delay import FixedDelay
from modules.core.scheduler.triggers.interval import ElapsedInterval
from modules.core.scheduler.triggers.jitter import checked_jitter
from modules.core.scheduler.triggers.moments import to_instant
from modules.core.scheduler.triggers.on_event import on_event, on_task
from modules.core.scheduler.triggers.once import Once
from modules.core.scheduler.triggers.rrule import rrule
from modules.core.scheduler.triggers.union import MOST_TRIGGERS, union
from modules.core.scheduler.triggers.zones import zone

SCHEDULE_FIELDS: Final = (
    "schedule_time", "recurring", "interval_type", "interval_value", "interval", "mode", "cron_expression", "rrule",
    "triggers", "exclude", "timezone", "start_time", "end_time", "jitter_seconds", "on_event", "on_task",
)  # fmt: skip
_OTHER_TASK_FIELDS: Final = (
    "name", "description", "module_id", "function_name", "parameters", "max_executions", "timeout_seconds", "retry",
    "delivery", "priority", "unique_key", "tags", "allow_past", "overlap", "overlap_key", "catch_up", "catch_up_limit",
    "max_lateness_seconds", "expires_at",
)  # fmt: skip
# The fields that make a rule. Those of an interval belong together; of the others a schedule has one.
RULE_FIELDS: Final = (
    "interval_type", "interval_value", "interval", "cron_expression", "rrule", "triggers", "on_event", "on_task",
)  # fmt: skip
# What a rule within `triggers` may have.
PART_FIELDS: Final = (
    "schedule_time", "interval_type", "interval_value", "interval", "cron_expression", "rrule", "timezone",
    "start_time", "end_time",
)  # fmt: skip
EVENT_FIELDS: Final = ("on_event", "on_task")
MODES: Final = ("fixed_rate", "fixed_delay")
INTERVAL_FIELDS: Final = frozenset(("interval_type", "interval_value", "interval"))
# With one of these a rule counts from its first time, so it has to have one.
COUNTING_FIELDS: Final = INTERVAL_FIELDS | {"rrule"}
# What only a trigger that fires by time can have.
TIME_FIELDS: Final = ("schedule_time", "start_time", "end_time", "jitter_seconds", "exclude")


def trigger_from_spec(spec: Mapping[str, Any]) -> Trigger:
    """The trigger that these fields describe; None is an absent field. Raises InvalidTrigger, with advice.

    Times are datetimes or ISO 8601 text; naive ones are wall time in `timezone` (default UTC). `schedule_time` is the
    one time, the anchor of an interval (without it `start_time` is), or the start of a cron schedule. `start_time` and
    `end_time` are inclusive. `recurring` follows from the rule when it is absent. `on_event` and `on_task` make a
    trigger that never fires by time. `jitter_seconds` is checked and leaves the trigger as it is: see jitter.py. Other
    fields of a task are passed over, unknown ones refused.
    """
    fields = _known_fields(spec)
    recurring = _recurs(fields)
    if "jitter_seconds" in fields:
        checked_jitter(fields["jitter_seconds"])
    if by_event := next((name for name in EVENT_FIELDS if name in fields), None):
        return _by_event(fields, by_event)
    zone_of_spec = zone(fields.get("timezone", "UTC"))
    at, start, end = (
        to_instant(fields[name], name, zone_of_spec) if name in fields else None
        for name in ("schedule_time", "start_time", "end_time")
    )
    _check_order(at, start, end, recurring=recurring)
    trigger: Trigger
    if not recurring:
        if at is None:
            raise InvalidTrigger("schedule_time is missing: a one-time task needs it, a recurring one needs a rule.")
        trigger = Once(at)
    elif "cron_expression" in fields:
        trigger = cron(fields["cron_expression"], zone_of_spec)
        start = _later(start, at)
    elif "rrule" in fields:
        trigger = rrule(fields["rrule"], _anchor(at or start, "rrule"), zone_of_spec)
    elif "triggers" in fields:
        trigger = _union(fields, at or start, zone_of_spec)
        start = _later(start, at)
    else:
        trigger = _interval(fields, at or start, zone_of_spec)
    if "exclude" in fields:
        trigger = _without(trigger, fields, zone_of_spec)
    return trigger if start is None and end is None else Bounded(trigger, start, end)


def _anchor(anchor: datetime | None, name: str) -> datetime:
    if anchor is None:
        raise InvalidTrigger(f"{name} needs schedule_time or start_time: it has to be known what the rule counts from.")
    return anchor


def _later(one: datetime | None, other: datetime | None) -> datetime | None:
    return max(one, other) if one is not None and other is not None else one or other


def _without(trigger: Trigger, fields: Mapping[str, Any], zone_of_spec: ZoneInfo) -> Trigger:
    if isinstance(trigger, Once):
        raise InvalidTrigger("exclude needs a rule: a one-time task runs once, or not at all. Remove exclude.")
    if isinstance(trigger, FixedDelay):
        raise InvalidTrigger("exclude and mode fixed_delay exclude each other: use fixed_rate, or remove exclude.")
    if isinstance(trigger, ElapsedInterval | CalendarInterval):
        _anchor(trigger.anchor, "exclude")
    rules = exclusions(fields["exclude"], zone_of_spec)
    return Excluding(trigger, rules) if rules else trigger


def _union(fields: Mapping[str, Any], anchor: datetime | None, zone_of_spec: ZoneInfo) -> Trigger:
    parts = fields["triggers"]
    if not isinstance(parts, list | tuple) or not parts:
        raise InvalidTrigger("triggers must be a list of rules, such as [{'cron_expression': '0 9 * * mon-fri'}].")
    if len(parts) > MOST_TRIGGERS:
        raise InvalidTrigger(f"triggers has {len(parts)} entries, at most {MOST_TRIGGERS} are allowed.")
    made = []
    for index, part in enumerate(parts):
        try:
            made.append(_part(part, anchor, zone_of_spec))
        except InvalidTrigger as error:
            raise InvalidTrigger(f"triggers[{index}]: {error.message}") from error
    return union(tuple(made))


def _part(part: object, anchor: datetime | None, zone_of_spec: ZoneInfo) -> Trigger:
    """One rule of a union. What it leaves out is as in the task: its timezone, and what intervals count from."""
    if not isinstance(part, Mapping):
        raise InvalidTrigger("it must be an object with one rule, such as {'interval': '6 hours'}.")
    for name in part:
        if name not in PART_FIELDS:
            hint = did_you_mean(name[:50], PART_FIELDS) if isinstance(name, str) else ""
            raise InvalidTrigger(f"{shown(str(name), 40)} is no field of it.{hint} Use {', '.join(PART_FIELDS)}.")
    fields = {name: value for name, value in part.items() if value is not None}
    if anchor is not None and fields.keys() & COUNTING_FIELDS and "start_time" not in fields:
        fields.setdefault("schedule_time", anchor)
    trigger = trigger_from_spec({"timezone": zone_of_spec.key, **fields})
    if isinstance(trigger, ElapsedInterval | CalendarInterval):
        _anchor(trigger.anchor, "triggers")
    return trigger


def _known_fields(spec: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(spec, Mapping):
        raise InvalidTrigger("A schedule is a dict of fields, such as {'interval': '6 hours'}.")
    for name in spec:
        if not isinstance(name, str):
            raise InvalidTrigger("The names of the fields of a schedule are text, such as 'interval'.")
        if name not in SCHEDULE_FIELDS and name not in _OTHER_TASK_FIELDS:
            hint = did_you_mean(name[:50], (*SCHEDULE_FIELDS, *_OTHER_TASK_FIELDS))
            raise InvalidTrigger(
                f"{shown(name)} is not a field of a schedule.{hint} Remove it, or use {', '.join(SCHEDULE_FIELDS)}."
            )
    return {name: spec[name] for name in SCHEDULE_FIELDS if spec.get(name) is not None}


def _recurs(fields: Mapping[str, Any]) -> bool:
    given = [name for name in RULE_FIELDS if name in fields]
    recurring = fields.get("recurring", bool(given))
    if not isinstance(recurring, bool):
        raise InvalidTrigger("recurring must be true or false, not text or a number.")
    if recurring and not given:
        raise InvalidTrigger("recurring is true, but there is no rule: add interval or cron_expression.")
    if given and not recurring:
        raise InvalidTrigger(f"recurring is false, but {given[0]} is given: remove one of them.")
    kinds = ["interval" if name in INTERVAL_FIELDS else name for name in given]
    if other := next((kind for kind in kinds if kind != kinds[-1]), None):
        raise InvalidTrigger(f"{kinds[-1]} and {other} exclude each other: keep one.")
    if "interval" in given and len(given) > 1:
        raise InvalidTrigger("interval and interval_type with interval_value exclude each other: keep one form.")
    _check_mode(fields, kinds)
    if given in (["interval_type"], ["interval_value"]):
        missing = "interval_value" if given == ["interval_type"] else "interval_type"
        raise InvalidTrigger(f"{missing} is missing: an interval needs interval_type and interval_value.")
    return recurring


def _check_mode(fields: Mapping[str, Any], kinds: list[str]) -> None:
    mode = fields.get("mode")
    if mode is None:
        return
    if not isinstance(mode, str) or mode not in MODES:
        hint = did_you_mean(mode[:20], MODES) if isinstance(mode, str) else ""
        raise InvalidTrigger(f"mode must be one of {', '.join(MODES)}.{hint}")
    if mode == "fixed_delay" and "interval" not in kinds:
        raise InvalidTrigger("mode fixed_delay needs an interval: add one, such as '10 minutes', or remove mode.")


def _by_event(fields: Mapping[str, Any], name: str) -> Trigger:
    if beside := next((other for other in TIME_FIELDS if other in fields), None):
        raise InvalidTrigger(f"{name} and {beside} exclude each other: no clock fires this task. Remove {beside}.")
    return on_event(fields[name]) if name == "on_event" else on_task(fields[name])


def _check_order(at: datetime | None, start: datetime | None, end: datetime | None, *, recurring: bool) -> None:
    if start is not None and end is not None and end < start:
        raise InvalidTrigger("end_time lies before start_time: exchange them, or leave one out.")
    if at is not None and end is not None and end < at:
        raise InvalidTrigger("end_time lies before schedule_time: move one of them.")
    if at is not None and start is not None and at < start and not recurring:
        raise InvalidTrigger("start_time lies after schedule_time, so the task would never run: remove start_time.")


def _interval(fields: Mapping[str, Any], anchor: datetime | None, zone_of_spec: ZoneInfo) -> Trigger:
    if "interval" in fields:
        value, unit = parse_interval(fields["interval"])
    else:
        unit = unit_named(fields["interval_type"])
        value = checked_value(fields["interval_value"], unit)
    if fields.get("mode") == "fixed_delay":
        if unit not in ELAPSED:
            raise InvalidTrigger(
                f"mode fixed_delay counts elapsed time, and {unit} follow the wall clock: write the interval in hours, "
                "minutes or seconds."
            )
        return FixedDelay(value, unit, anchor)
    if unit in ELAPSED:
        return ElapsedInterval(value, unit, anchor)
    return CalendarInterval(value, unit, zone_of_spec, anchor)

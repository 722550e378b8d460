"""When a schedule would fire, before anything is stored. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, TypedDict
from zoneinfo import ZoneInfo

from modules.core.scheduler.errors import InvalidTask
from modules.core.scheduler.firing import first_fire
from modules.core.scheduler.task_config import ScheduleConfig, parse_schedule
from modules.core.scheduler.triggers import trigger_from_spec

MOST_FIRE_TIMES = 100


class FireTime(TypedDict):
    """One fire time: the instant in UTC, and what clocks in the schedule's timezone show then."""

    time: datetime
    local_time: str


class Preview(TypedDict):
    """What a schedule means, in a sentence and in its next fire times."""

    description: str
    timezone: str
    fire_times: list[FireTime]


def preview(schedule: Mapping[str, Any] | ScheduleConfig, count: int, now: datetime, default_timezone: str) -> Preview:
    """The next `count` (1 to 100) fire times after `now`. Raises InvalidTask, InvalidTrigger."""
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= MOST_FIRE_TIMES:
        raise InvalidTask(f"count must be a whole number from 1 to {MOST_FIRE_TIMES}.")
    config = parse_schedule(schedule)
    fields = config.anchored_fields(default_timezone, now)
    asked_for = config.asked_for
    trigger = trigger_from_spec(fields)
    zone = ZoneInfo(fields["timezone"])
    times: list[FireTime] = []
    moment = first_fire(trigger, now, asked_for=asked_for)
    while moment is not None and len(times) < min(count, config.max_executions or count):
        times.append({"time": moment, "local_time": moment.astimezone(zone).isoformat()})
        moment = trigger.next_after(moment)
    return {"description": trigger.describe(), "timezone": fields["timezone"], "fire_times": times}

"""When tasks fire, as frozen values. Pure: no clock is read. `trigger_from_spec` builds one from a task's fields."""

from modules.core.scheduler.triggers.base import InvalidTrigger, Trigger
from modules.core.scheduler.triggers.durations import parse_interval
from modules.core.scheduler.triggers.spec import SCHEDULE_FIELDS, trigger_from_spec
from modules.core.scheduler.triggers.zones import zone

__all__ = ["SCHEDULE_FIELDS", "InvalidTrigger", "Trigger", "parse_interval", "trigger_from_spec", "zone"]

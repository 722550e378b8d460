"""When tasks fire, as frozen values: pure, never reading the clock. `trigger_from_spec` makes one from fields."""

from modules.core.scheduler.triggers.base import Trigger
from modules.core.scheduler.triggers.durations import parse_interval
from modules.core.scheduler.triggers.errors import InvalidTrigger
from modules.core.scheduler.triggers.spec import SCHEDULE_FIELDS, trigger_from_spec
from modules.core.scheduler.triggers.zones import zone

__all__ = ["SCHEDULE_FIELDS", "InvalidTrigger", "Trigger", "parse_interval", "trigger_from_spec", "zone"]

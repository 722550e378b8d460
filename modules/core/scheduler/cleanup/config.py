"""The configurations that modules and the API give, checked. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

from modules.core.errors import Invalid, did_you_mean
from modules.core.scheduler.triggers.durations import in_largest_unit, parse_interval

COMMON_FIELDS: Final = ("cleanup_interval",)
SHORTEST_INTERVAL_SECONDS: Final = 60
_SECONDS: Final = {"seconds": 1, "minutes": 60}


class InvalidCleanup(Invalid):
    """A cleanup that cannot be; the message says what to write instead."""

    code = "INVALID_CLEANUP"


@dataclass(frozen=True, slots=True)
class RowRule:
    """Rows whose `date_column` is older than the age given; with no age, those whose date lies in the past."""

    table_name: str
    date_column: str
    batch_size: int = 500
    max_age_days: int = 0
    max_age_hours: int = 0

    @property
    def hours(self) -> int:
        return self.max_age_days * 24 + self.max_age_hours


@dataclass(frozen=True, slots=True)
class FileRule:
    """Files under `directory`, last changed more than `max_age_hours` ago, whose name matches `pattern`."""

    directory: str
    max_age_hours: int
    pattern: str = "*"
    recursive: bool = True


@dataclass(frozen=True, slots=True)
class HistoryRule:
    """Our own history: executions that ended more than `keep_days` ago (None: the setting says)."""

    history: str = "executions"
    keep_days: int | None = None
    batch_size: int = 500


Rule = RowRule | FileRule | HistoryRule

_MARKS: Final[dict[str, type[RowRule] | type[FileRule] | type[HistoryRule]]] = {
    "table_name": RowRule,
    "directory": FileRule,
    "history": HistoryRule,
}
_LIMITS: Final[dict[str, tuple[int, int]]] = {
    "batch_size": (1, 10_000),
    "max_age_days": (0, 36_500),
    "max_age_hours": (0, 876_000),
    "keep_days": (1, 36_500),
}


def parse_config(config: Mapping[str, Any]) -> Rule:
    """The rule that a configuration describes. Raises InvalidCleanup."""
    if not isinstance(config, Mapping):
        raise InvalidCleanup("A cleanup is configured by a dict, such as {'directory': ..., 'max_age_hours': 24}.")
    marks = [mark for mark in _MARKS if mark in config]
    if len(marks) != 1:
        raise InvalidCleanup(
            "A cleanup names exactly one of table_name (with date_column), directory (with max_age_hours), or history."
        )
    rule = _MARKS[marks[0]]
    known = [field.name for field in fields(rule)]
    for name in config:
        if name not in known and name not in COMMON_FIELDS:
            hint = did_you_mean(str(name)[:50], (*known, *COMMON_FIELDS))
            raise InvalidCleanup(f"{str(name)[:50]!r} is no field of such a cleanup.{hint} Remove it or correct it.")
    # A null age would be an age of nothing: only where the setting stands in for it may a number be null.
    left_out = {name for name in known if name not in config or (name == "keep_days" and config[name] is None)}
    values = {name: _checked(name, config[name]) for name in known if name not in left_out}
    missing = [name for name in _required(rule) if name not in values]
    if missing:
        raise InvalidCleanup(f"{missing[0]} is missing: this kind of cleanup needs {' and '.join(_required(rule))}.")
    if rule is FileRule and values["max_age_hours"] < 1:
        raise InvalidCleanup("max_age_hours must be at least 1: a file that is being written must not be deleted.")
    if "cleanup_interval" in config:
        cleanup_interval_of(config, SHORTEST_INTERVAL_SECONDS)
    return rule(**values)


def cleanup_interval_of(config: Mapping[str, Any], default_seconds: int) -> tuple[int, str]:
    """`(value, unit)` of how often a cleanup runs, at most once a minute. Raises InvalidCleanup, InvalidTrigger."""
    given = config.get("cleanup_interval")
    if given is None:
        return in_largest_unit(default_seconds)
    if isinstance(given, int) and not isinstance(given, bool):
        given = f"{given} seconds"  # the setting of that name is in seconds
    if not isinstance(given, str):
        raise InvalidCleanup("cleanup_interval must be text such as '1 hour', or a whole number of seconds.")
    value, unit = parse_interval(given)
    if value * _SECONDS.get(unit, SHORTEST_INTERVAL_SECONDS) < SHORTEST_INTERVAL_SECONDS:
        raise InvalidCleanup(f"cleanup_interval must be at least {SHORTEST_INTERVAL_SECONDS} seconds.")
    return value, unit


def _required(rule: type[RowRule] | type[FileRule] | type[HistoryRule]) -> tuple[str, ...]:
    if rule is RowRule:
        return ("table_name", "date_column")
    return ("directory", "max_age_hours") if rule is FileRule else ("history",)


def _checked(name: str, value: Any) -> Any:
    if name == "recursive":
        if not isinstance(value, bool):
            raise InvalidCleanup("recursive must be true or false.")
        return value
    if name in _LIMITS:
        low, high = _LIMITS[name]
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise InvalidCleanup(f"{name} must be a whole number from {low} to {high}.")
        return value
    if not isinstance(value, str) or not 1 <= len(value) <= 1000 or "\x00" in value:
        raise InvalidCleanup(f"{name} must be text.")
    if name == "history" and value != "executions":
        raise InvalidCleanup("history must be 'executions': no other history is kept.")
    if name == "pattern" and "/" in value:
        raise InvalidCleanup("pattern is matched with file names, so it has no '/': name a folder with directory.")
    return value

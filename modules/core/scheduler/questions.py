"""What callers of the service ask for, checked: ids, lists of tasks, filters, pages. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from modules.core.errors import ModuleError
from modules.core.scheduler.cursors import is_id, to_cursor
from modules.core.scheduler.db_ops import TaskFilter
from modules.core.scheduler.errors import InvalidTask, TaskNotFound
from modules.core.scheduler.input_rules import checked_line
from modules.core.scheduler.lifecycle import EVENT_STATUSES
from modules.core.scheduler.task_config import TaskConfig, parse_task_config
from modules.core.scheduler.triggers import InvalidTrigger
from modules.core.scheduler.triggers.moments import to_instant

LONGEST_PAGE = 200
MOST_AT_ONCE = 10_000


@contextmanager
def naming(index: int) -> Iterator[None]:
    """Errors inside say which task of a list they are about."""
    try:
        yield
    except ModuleError as error:
        error.message = f"Task {index} of the list: {error.message}"
        error.details["index"] = index
        raise


def task_id_of(task_id: str) -> str:
    if not is_id(task_id):
        raise TaskNotFound("There is no such task: ids look like 0199c0de-0000-7000-8000-000000000000.")
    return task_id


def parse_all(configs: Any) -> list[TaskConfig]:
    if isinstance(configs, str | Mapping) or not isinstance(configs, Sequence):
        raise InvalidTask("schedule_tasks takes a list of task configurations; for one, use schedule_task.")
    if not 1 <= len(configs) <= MOST_AT_ONCE:
        raise InvalidTask(
            f"schedule_tasks takes 1 to {MOST_AT_ONCE} tasks at once, not {len(configs)}: split the list."
        )
    parsed = []
    for index, config in enumerate(configs):
        with naming(index):
            parsed.append(parse_task_config(config))
    return parsed


def task_filter(status: Any, module_id: Any, recurring: Any, name: Any) -> TaskFilter:
    if status not in (None, "running", *EVENT_STATUSES):
        raise InvalidTask(f"status must be one of {', '.join(('running', *EVENT_STATUSES))}.")
    if recurring not in (None, True, False):
        raise InvalidTask("recurring must be true or false.")
    for field, value in (("module_id", module_id), ("name", name)):
        if value is not None:
            checked_line(value, field)
    return TaskFilter(status, module_id, recurring, name)


def page_size(limit: int) -> int:
    if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= LONGEST_PAGE:
        raise InvalidTask(f"limit must be a whole number from 1 to {LONGEST_PAGE}.")
    return limit


def moment_of(value: datetime | str | None, name: str, zone: ZoneInfo) -> datetime | None:
    """A caller's moment in UTC; a naive one is wall time in `zone`. Raises InvalidTask, which names the field."""
    if value is None:
        return None
    try:
        return to_instant(value, name, zone)
    except InvalidTrigger as error:
        raise InvalidTask(error.message) from error


def next_cursor(rows: list[Any], limit: int) -> str | None:
    return to_cursor(rows[limit - 1].id) if len(rows) > limit else None

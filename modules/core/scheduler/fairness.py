"""Who goes first when more is due than fits, and who may go at all. Pure.

Order: by due time, where each level of priority counts as a head start. So a higher priority goes first, and whoever
has waited longer than the head start is not overtaken any more: nobody starves.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from heapq import nsmallest
from typing import Literal

Source = Literal["ready", "due"]


@dataclass(frozen=True, slots=True)
class Waiting:
    """The first moment (or one of the moments) at which something of this priority wants to start: an execution that
    is `ready`, or an event that is `due`."""

    source: Source
    priority: int
    moment: datetime


def rank(moment: datetime, priority: int, head_start: timedelta) -> datetime:
    """What waiting work is ordered by: the smaller goes first."""
    return moment - priority * head_start


def shares(waiting: Iterable[Waiting], limit: int, head_start: timedelta) -> Counter[tuple[Source, int]]:
    """How many of each source and priority are among the first `limit`."""
    first = nsmallest(limit, waiting, key=lambda one: rank(one.moment, one.priority, head_start))
    return Counter((one.source, one.priority) for one in first)


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `most` executions at once of a function, or where `function_name` is None of a whole module."""

    module_id: str
    function_name: str | None
    most: int

    def covers(self, module_id: str, function_name: str) -> bool:
        return self.module_id == module_id and self.function_name in (None, function_name)


class Admission:
    """Counts down what still fits under each limit; a function under no limit always fits."""

    def __init__(self, room: Mapping[Limit, int]) -> None:
        self._room = dict(room)

    def is_full(self, module_id: str, function_name: str) -> bool:
        return any(left <= 0 and limit.covers(module_id, function_name) for limit, left in self._room.items())

    @property
    def any_full(self) -> bool:
        return any(left <= 0 for left in self._room.values())

    def take(self, module_id: str, function_name: str) -> bool:
        """Whether one more fits; if so it is counted."""
        if not self._room:
            return True
        if self.is_full(module_id, function_name):
            return False
        for limit in self._room:
            if limit.covers(module_id, function_name):
                self._room[limit] -= 1
        return True

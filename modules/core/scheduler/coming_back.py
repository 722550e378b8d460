"""After a downtime: what it left overdue is told in the log and kept, before any of it runs."""

from __future__ import annotations

import logging
from typing import Any, Final

from modules.core.errors import ModuleError
from modules.core.scheduler.db_models import SchedulerDowntime
from modules.core.scheduler.db_ops import damaged_columns
from modules.core.scheduler.downtime import Overdue, in_words
from modules.core.scheduler.runtime import Runtime
from modules.core.scheduler.trigger_manager import TriggerManager

logger = logging.getLogger(__name__)

MOST_TASKS: Final = 1_000
MOST_SECONDS: Final = 0.5


async def come_back(runtime: Runtime, triggers: TriggerManager, downtime: SchedulerDowntime | None) -> None:
    """`downtime` is what joining found. What it left overdue is put off a little, so that it does not start all at
    once; the node that ended it says what that is. A start goes on where the database does not answer that."""
    runtime.back_since = None if downtime is None else downtime.until_time
    if downtime is None or downtime.until_time is None or downtime.node_id != runtime.node_id:
        return
    try:
        overdue = await _count(runtime, triggers)
        await runtime.db_ops.note_overdue(downtime.id, overdue)
    except ModuleError:
        logger.warning("what the downtime left overdue could not be counted", exc_info=True)
    else:
        logger.warning("%s", in_words(downtime.until_time - downtime.from_time, overdue))


async def _count(runtime: Runtime, triggers: TriggerManager) -> Overdue:
    """By the decisions that firing will make. Bounded in rows and in time; what is beyond is not counted."""
    now, clock = runtime.clock.now(), runtime.clock
    rows = await runtime.db_ops.overdue(now, MOST_TASKS + 1)
    give_up = clock.monotonic() + MOST_SECONDS
    overdue = Overdue(complete=len(rows) <= MOST_TASKS)
    for event in rows[:MOST_TASKS]:
        if clock.monotonic() > give_up:
            return Overdue(overdue.tasks, overdue.fire_times, overdue.to_run, complete=False)
        if (event.module_id, event.function_name) in runtime.registry and not damaged_columns(event):
            overdue = overdue.with_task(*triggers.overdue(event, now))
    return overdue


def downtime_view(downtime: SchedulerDowntime | None) -> dict[str, Any] | None:
    """A downtime as the door shows it; the counts are null where they could not be told."""
    if downtime is None or downtime.until_time is None:
        return None
    down = downtime.until_time - downtime.from_time
    overdue = None
    if downtime.tasks is not None:
        overdue = Overdue(downtime.tasks, downtime.fire_times or 0, downtime.to_run or 0, bool(downtime.complete))
    return {
        "from": downtime.from_time,
        "until": downtime.until_time,
        "seconds": down.total_seconds(),
        "node_id": downtime.node_id,
        "tasks": overdue.tasks if overdue else None,
        "fire_times": overdue.fire_times if overdue else None,
        "to_run": overdue.to_run if overdue else None,
        "missed": overdue.missed if overdue else None,
        "complete": overdue.complete if overdue else None,
        "summary": in_words(down, overdue),
    }

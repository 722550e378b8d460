"""The part of the service for tasks that modules state at their start."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from modules.core.result import returns_result
from modules.core.scheduler import control, new_event
from modules.core.scheduler.db_ops import EventChange
from modules.core.scheduler.declared import check_declared, restate
from modules.core.scheduler.errors import DuplicateTask
from modules.core.scheduler.input_rules import checked_line
from modules.core.scheduler.job_manager import JobManager
from modules.core.scheduler.runtime import Runtime
from modules.core.scheduler.task_config import TaskConfig, TaskPatch, parse_task_config
from modules.core.scheduler.trigger_manager import TriggerManager

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from modules.core.scheduler.db_models import ScheduledEvent

logger = logging.getLogger(__name__)

RIVALS = 3  # how often another node may come first


class DeclaredService:
    """State tasks, list what was stated, and end what nobody states any more."""

    _runtime: Runtime
    job_manager: JobManager
    trigger_manager: TriggerManager
    change: Callable[..., Any]
    _now: Callable[[], datetime]
    _within: Callable[[AsyncSession | None], AbstractAsyncContextManager[None]]
    _stated: set[str]

    @returns_result
    async def ensure_task(
        self, task_config: Mapping[str, Any] | TaskConfig, *, session: AsyncSession | None = None
    ) -> dict[str, Any]:
        """State a recurring task, at every start: data `{"task_id", "action"}`. It must have a `unique_key`.

        `action` is "created" (once, however many nodes start), "updated" (what is stated is not what it was: the task
        is changed, fires at strictly future times only, and stays paused if it is), "unchanged" (an operator's edits
        last until the code changes) or "cancelled" (somebody has cancelled it: it stays so until a task with that key
        is scheduled by hand).
        """
        config = parse_task_config(task_config)
        check_declared(config)
        async with self._within(session):
            answer = await self._ensure(config)
        self._stated.add(str(config.unique_key))
        return answer

    @returns_result
    async def declared_tasks(self) -> dict[str, Any]:
        """The tasks that code has stated; data `{"tasks": [{"task_id", "unique_key", "name", "module_id", "status",
        "state"}]}`.

        `state` is "declared" when this process has stated it since its start, "orphaned" when its module is loaded here
        and has not, and "unknown" when its module is not loaded here.
        """
        rows = await self._runtime.db_ops.declared_tasks()
        return {"tasks": [self._declared_view(row) for row in rows]}

    @returns_result
    async def prune_declared(self, module_id: str | None = None, *, dry_run: bool = False) -> dict[str, Any]:
        """Cancel the tasks whose state is orphaned; data `{"dry_run", "pruned": [as declared_tasks shows them]}`.

        With `module_id` only that module's, even where it is not loaded here: for a module that is gone for good. Ask
        when no node runs older code any more, which would miss them.
        """
        if module_id is not None:
            checked_line(module_id, "module_id")
        prunable = ("orphaned",) if module_id is None else ("orphaned", "unknown")
        pruned = [
            shown
            for shown in map(self._declared_view, await self._runtime.db_ops.declared_tasks())
            if shown["state"] in prunable and module_id in (None, shown["module_id"])
        ]
        if not dry_run:
            end = partial(
                control.cancel, left_behind=lambda event: self.trigger_manager.left_behind(event, self._now())
            )
            for shown in pruned:
                await self.change(shown["task_id"], end)
        return {"dry_run": dry_run, "pruned": pruned}

    async def _ensure(self, config: TaskConfig) -> dict[str, Any]:
        for rivals in range(RIVALS + 1):
            event = await self._runtime.db_ops.task_with_key(str(config.unique_key))
            if event is not None:
                return await self._restate(event, config)
            try:
                created = await self.job_manager.create(config, declared=True)
            except DuplicateTask:
                if rivals == RIVALS:
                    raise
            else:
                return {"task_id": created["task_id"], "action": "created"}
        raise AssertionError("unreachable")

    async def _restate(self, event: ScheduledEvent, config: TaskConfig) -> dict[str, Any]:
        if event.status == "cancelled":
            logger.info(
                "task %r was cancelled and stays so: to have it again, schedule a task with this unique_key",
                config.unique_key,
            )
            return {"task_id": event.id, "action": "cancelled"}
        runtime = self._runtime
        zone = runtime.settings.timezone

        def edit(event: ScheduledEvent, patch: TaskPatch) -> EventChange:
            return new_event.edit(event, patch, runtime.registry, self._now(), default_timezone=zone)

        def change(event: ScheduledEvent) -> EventChange:
            return restate(event, config, edit, self._now(), default_timezone=zone)

        if not change(event).values:
            return {"task_id": event.id, "action": "unchanged"}
        changed = await self.change(event.id, change)
        return {"task_id": event.id, "action": "updated" if changed.values else "unchanged"}

    def _declared_view(self, event: ScheduledEvent) -> dict[str, Any]:
        key, module_id = event.unique_key, event.declared_by
        loaded = any(task.module_id == module_id for task in self._runtime.registry.tasks())
        state = "declared" if key in self._stated else "orphaned" if loaded else "unknown"
        return {
            "task_id": event.id,
            "unique_key": key,
            "name": event.name,
            "module_id": module_id,
            "status": event.status,
            "state": state,
        }

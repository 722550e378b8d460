"""The part of the service that changes tasks: edit, pause, resume, cancel, run now."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from modules.core.ids import new_id
from modules.core.joined import after_commit, joined_connection, joining
from modules.core.result import returns_result
from modules.core.scheduler import control, new_event
from modules.core.scheduler.cluster import Cluster
from modules.core.scheduler.db_ops import EventChange
from modules.core.scheduler.dispatcher import Dispatcher
from modules.core.scheduler.edit_preview import edit_preview
from modules.core.scheduler.errors import InvalidParameters, InvalidTask
from modules.core.scheduler.input_rules import checked_future, checked_line
from modules.core.scheduler.job_manager import JobManager
from modules.core.scheduler.questions import task_id_of
from modules.core.scheduler.runtime import Runtime
from modules.core.scheduler.task_config import TaskPatch, parse_task_patch
from modules.core.scheduler.trigger_manager import TriggerManager
from modules.core.scheduler.views import task_view

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from modules.core.scheduler.db_models import ScheduledEvent


class ControlService:
    """Edit, pause, resume, cancel and run now; the service builds what this asks.

    With `session`, an AsyncSession on the same database, a change is part of the caller's transaction.
    """

    _runtime: Runtime
    cluster: Cluster
    dispatcher: Dispatcher
    job_manager: JobManager
    trigger_manager: TriggerManager

    @returns_result
    async def update_task(
        self,
        task_id: str,
        changes: Mapping[str, Any] | TaskPatch,
        *,
        dry_run: bool = False,
        session: AsyncSession | None = None,
    ) -> dict[str, Any]:
        """Change a task; data is the task afterwards. A new schedule fires at strictly future times only.

        `version` among the changes refuses them with VERSION_CONFLICT when the task was changed meanwhile. With
        `dry_run` nothing is stored, and data is what the same call without it would do now: `{"task_id", "dry_run",
        "version", "changes": [{"field", "old", "new"}], "fire_times": {"old", "new"}, "missed": [...]}`.
        """
        runtime = self._runtime
        patch = parse_task_patch(changes)

        def edit(event: ScheduledEvent) -> EventChange:
            zone = runtime.settings.timezone
            return new_event.edit(event, patch, runtime.registry, self._now(), default_timezone=zone)

        async with self._within(session):
            if dry_run:
                return edit_preview(*await runtime.db_ops.try_change(task_id_of(task_id), edit, version=patch.version))
            await self.change(task_id_of(task_id), edit, version=patch.version)
            return task_view(await runtime.db_ops.get_task(task_id))

    @returns_result
    async def cancel_task(self, task_id: str, *, session: AsyncSession | None = None) -> dict[str, Any]:
        """No further start, for good; an execution under way goes on. Data `{"task_id", "status": "cancelled"}`."""
        change = partial(control.cancel, left_behind=lambda event: self.trigger_manager.left_behind(event, self._now()))
        async with self._within(session):
            await self.change(task_id_of(task_id), change)
        return {"task_id": task_id, "status": "cancelled"}

    @returns_result
    async def pause_task(
        self,
        task_id: str,
        reason: str | None = None,
        *,
        until: datetime | str | None = None,
        actor: str | None = None,
        session: AsyncSession | None = None,
    ) -> dict[str, Any]:
        """No further start until resumed; an execution under way goes on. Data `{"task_id", "status": "paused"}`,
        with `until` where there is one.

        At `until` the task resumes by itself: fire times before that moment are recorded as missed, one at that moment
        runs. Naive, it is the host's local time. `reason` and `actor`, who asked for it, are shown with the task.
        """
        moment = None if until is None else checked_future(until, "until", self._now())
        why = None if reason is None else checked_line(reason, "reason")
        who = None if actor is None else checked_line(actor, "actor")
        async with self._within(session):
            await self.change(
                task_id_of(task_id), lambda event: control.pause(event, self._now(), why, until=moment, actor=who)
            )
        return {"task_id": task_id, "status": "paused", **({"until": moment} if moment else {})}

    @returns_result
    async def resume_task(
        self, task_id: str, *, catch_up: str = "none", session: AsyncSession | None = None
    ) -> dict[str, Any]:
        """Start again from the next fire time on; data `{"task_id", "status": "resumed", "next_execution"}`, with the
        `execution_id` of what runs now where there is one.

        Fire times of a recurring task that passed meanwhile are recorded as missed; with `catch_up` "latest" the newest
        of them runs now. A one-time task that came due runs now.
        """
        if catch_up not in ("none", "latest"):
            raise InvalidTask("catch_up must be none or latest.")
        execution_id = new_id()

        def change(event: ScheduledEvent) -> EventChange:
            now = self._now()
            skip = partial(self.trigger_manager.skip_paused, now=now, but_latest=catch_up == "latest")
            return control.resume(event, skip, execution_id=execution_id, now=now)

        async with self._within(session):
            changed = await self.change(task_id_of(task_id), change)
        answer = {"task_id": task_id, "status": "resumed", "next_execution": changed.values["next_execution"]}
        return answer | ({"execution_id": changed.execution.id} if changed.execution else {})

    @returns_result
    async def execute_task(
        self,
        task_id: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        actor: str | None = None,
        session: AsyncSession | None = None,
    ) -> dict[str, Any]:
        """Run a task now, once, its schedule left alone; data `{"execution_id", "status": "running"}`.

        Each top-level key of `parameters` replaces the task's own, for this run, its retries included; they are checked
        as those of a new task are. `actor` says who asked for it.
        """
        given = None if parameters is None else _object(parameters, "parameters")
        who = None if actor is None else checked_line(actor, "actor")
        async with self._within(session):
            return await self.job_manager.execute(task_id_of(task_id), given, who)

    def _within(self, session: AsyncSession | None) -> AbstractAsyncContextManager[None]:
        return joining(self._runtime.database.url, session)

    async def change(
        self, event_id: str, change: Callable[[ScheduledEvent], EventChange], *, version: int | None = None
    ) -> EventChange:
        """Decide and do a change of one event. What is claimed here and has not begun is given back before, and
        what was claimed meanwhile after it: a pause or a cancellation that was answered is kept.

        `change` reads the time itself: the row may have been locked for long before it is asked. In a caller's
        transaction, what this process knows is put right when that has ended.
        """
        if joined_connection() is not None:
            decided = await self._runtime.db_ops.change_task(event_id, change, self._now(), version=version)
            after_commit(partial(self._changed_by_caller, event_id))
            return decided
        await self.dispatcher.withdraw(event_id)
        decided = await self._runtime.db_ops.change_task(event_id, change, self._runtime.clock.now(), version=version)
        await self.dispatcher.withdraw(event_id)
        self.cluster.wakeups.announce_change(event_id)
        self._changed(event_id)
        return decided

    def _changed_by_caller(self, event_id: str) -> None:
        self.dispatcher.withdraw_soon(event_id)
        self.cluster.wakeups.announce_change(event_id)
        self._changed(event_id)

    def _now(self) -> datetime:
        return self._runtime.clock.now()

    def _changed(self, event_id: str) -> None:
        self.job_manager.jobs.note_change(event_id)
        self.dispatcher.wake()


def _object(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise InvalidParameters(f"{name} must be an object such as {{'format': 'csv'}}.")
    return dict(value)

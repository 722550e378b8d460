"""SchedulerService: one short public method per use case, each answering with a Result."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import SQLAlchemyError

from modules.core.background import BackgroundLoop, SharedCall, within
from modules.core.errors import ModuleError
from modules.core.ids import new_id
from modules.core.joined import after_commit
from modules.core.result import Result, returns_result, returns_result_or
from modules.core.scheduler.cluster import Cluster
from modules.core.scheduler.coming_back import come_back
from modules.core.scheduler.control_service import ControlService
from modules.core.scheduler.cursors import from_cursor, is_id
from modules.core.scheduler.dispatcher import Dispatcher
from modules.core.scheduler.errors import ExecutionNotFound
from modules.core.scheduler.housekeeper import Housekeeper
from modules.core.scheduler.job_manager import JobManager
from modules.core.scheduler.ledger_service import LedgerService
from modules.core.scheduler.node_service import NodeService, package_version
from modules.core.scheduler.preview import Preview, preview
from modules.core.scheduler.questions import next_cursor, page_size, parse_all, task_filter, task_id_of
from modules.core.scheduler.recovery import Recovery
from modules.core.scheduler.runtime import Runtime
from modules.core.scheduler.task_config import TaskConfig, parse_task_config
from modules.core.scheduler.trigger_manager import TriggerManager
from modules.core.scheduler.views import execution_view, task_view

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from modules.core.app_context import AppContext

logger = logging.getLogger(__name__)

RECORDER_PATIENCE = 10.0
STEP_PATIENCE = 5.0


class SchedulerService(ControlService, LedgerService, NodeService):
    """Schedules tasks, runs them in the background, and answers for what became of them.

    Service key "core.scheduler.service". Every async method returns a Result: `data` is described at each method,
    `error` is `{"code", "message", "details"}`. Times are aware UTC datetimes.
    """

    def __init__(self, app_context: AppContext) -> None:
        self.app_context = app_context
        self._runtime = Runtime.of(app_context)
        self.db_ops = self._runtime.db_ops
        self.trigger_manager = TriggerManager(app_context)
        self.housekeeper = Housekeeper(app_context)
        self.job_manager = JobManager(app_context, self)
        self.recovery = Recovery(
            self._runtime, self.job_manager.settler, alive=lambda: self.job_manager.running, wake=self.wake
        )
        self.dispatcher = Dispatcher(self._runtime, self.job_manager, self.trigger_manager, self.recovery)
        self.cluster = Cluster(
            self._runtime,
            executions=lambda: self.job_manager.running,
            lost=self._lost,
            wake=self.wake,
            on_due=self.dispatcher.wake,
            on_change=self._changed_elsewhere,
        )
        self.dispatcher.on_given_back = lambda: self.cluster.tell_due(self._runtime.clock.now())
        self._recovery_loop = BackgroundLoop("core.scheduler recovery", self.recovery.tick, self._runtime.clock)
        self._is_running = False
        self._starting_or_stopping = asyncio.Lock()
        self._stop = SharedCall(self._stop_everything)

    @returns_result_or("TASK_SCHEDULING_FAILED")
    async def schedule_task(
        self, task_config: Mapping[str, Any] | TaskConfig, *, session: AsyncSession | None = None
    ) -> dict[str, Any]:
        """Schedule a task; data `{"task_id", "status": "scheduled", "next_execution"}`. It is durable on return; with
        `session`, an AsyncSession on the same database, when and only when the caller commits."""
        async with self._within(session):
            return await self.job_manager.create(parse_task_config(task_config))

    @returns_result_or("TASK_SCHEDULING_FAILED")
    async def schedule_tasks(
        self, task_configs: Sequence[Mapping[str, Any] | TaskConfig], *, session: AsyncSession | None = None
    ) -> dict[str, Any]:
        """Schedule many tasks in one transaction, all or none; data `{"tasks": [as schedule_task answers, ...]}`. With
        `session` it is the caller's transaction.

        An error names the first task that was refused by its place in the list, counted from 0: `details["index"]`.
        """
        async with self._within(session):
            return {"tasks": await self.job_manager.create_many(parse_all(task_configs))}

    @returns_result
    async def get_task(self, task_id: str) -> dict[str, Any]:
        """One task, as a dict."""
        return task_view(await self._runtime.db_ops.get_task(task_id_of(task_id)))

    @returns_result
    async def list_tasks(
        self,
        *,
        status: str | None = None,
        module_id: str | None = None,
        recurring: bool | None = None,
        name: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> dict[str, Any]:
        """Tasks in the order of their making; data `{"tasks": [...], "next_cursor": str or None}`.

        `name` matches any part of a task's name, in any case; `limit` is at most 200.
        """
        which = task_filter(status, module_id, recurring, name)
        rows = await self._runtime.db_ops.list_tasks(which, from_cursor(cursor), page_size(limit) + 1)
        return {"tasks": [task_view(row) for row in rows[:limit]], "next_cursor": next_cursor(rows, limit)}

    @returns_result
    async def get_execution(self, execution_id: str) -> dict[str, Any]:
        """One execution, as a dict; with its `progress` while it runs in this process."""
        if not is_id(execution_id):
            raise ExecutionNotFound("There is no such execution: ids look like 0199c0de-0000-7000-8000-000000000000.")
        shown = execution_view(await self._runtime.db_ops.get_execution(execution_id))
        running_here = self.job_manager.jobs.context_of(execution_id)
        return shown | {"progress": running_here.progress_json() if running_here else None}

    @returns_result
    async def list_executions(
        self, task_id: str | None = None, *, limit: int = 50, cursor: str | None = None
    ) -> dict[str, Any]:
        """Executions, newest first; data `{"executions": [...], "next_cursor": str or None}`."""
        db_ops = self._runtime.db_ops
        if task_id is not None:
            await db_ops.get_task(task_id_of(task_id))
        rows = await db_ops.list_executions(task_id, from_cursor(cursor), page_size(limit) + 1)
        return {
            "executions": [execution_view(row) for row in rows[:limit]],
            "next_cursor": next_cursor(rows, limit),
        }

    @returns_result
    async def preview(self, schedule: Mapping[str, Any], count: int = 5) -> Preview:
        """When a schedule would fire, without storing it; data `{"description", "timezone", "fire_times": [...]}`."""
        return preview(schedule, count, self._runtime.clock.now(), self._runtime.settings.timezone)

    def task_types(self) -> list[dict[str, Any]]:
        """The functions that may be scheduled here, with the JSON Schema of their parameters where they have one."""
        return [
            {
                "module_id": task.module_id,
                "function_name": task.function_name,
                "description": task.description,
                "parameters_schema": task.parameter_model.model_json_schema() if task.parameter_model else None,
            }
            for task in sorted(self._runtime.registry.tasks(), key=lambda task: (task.module_id, task.function_name))
        ]

    async def register_cleanup_task(
        self,
        module_id: str,
        cleanup_type: str,
        config: Mapping[str, Any],
        *,
        session: AsyncSession | None = None,
    ) -> Result:
        """Store a cleanup and the task that runs it; data `{"cleanup_id", "status": "registered"}`. With `session` it
        is part of the caller's transaction."""
        try:
            async with self._within(session):
                result = await self.housekeeper.register_cleanup_task(module_id, cleanup_type, config)
                after_commit(self.wake)
                return result
        except ModuleError as error:
            return Result.from_error(error)

    async def run_cleanup(self, cleanup_type: str | None = None, *, dry_run: bool = False) -> Result:
        """Run cleanups now; data `{"dry_run", "deleted", "failed", "reports": [...]}`."""
        return await self.housekeeper.run_cleanup(cleanup_type, dry_run=dry_run)

    def wake(self) -> None:
        """Something may be due sooner than the dispatcher thinks."""
        self.dispatcher.wake()

    def stored(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """These new events are on disk: whoever can run them has to know when."""
        rows = [row for row in rows if row["next_execution"] is not None]  # the others wait for an event
        if not rows:
            return
        self.dispatcher.wake(min(row["next_execution"] for row in rows))
        registry, here = self._runtime.registry, self.dispatcher.takes_on_more
        for_others = [
            row["next_execution"]
            for row in rows
            if not here or (row["module_id"], row["function_name"]) not in registry
        ]
        self.cluster.tell_due(min(for_others, default=None))

    def _changed_elsewhere(self, event_id: str) -> None:
        self.dispatcher.withdraw_soon(event_id)
        self._changed(event_id)

    def _lost(self, execution_ids: Collection[str]) -> None:
        self.dispatcher.drop(set(execution_ids))
        self.job_manager.jobs.stop_some(execution_ids, "interrupted")

    @property
    def is_running(self) -> bool:
        """Whether this process dispatches."""
        return self._is_running

    async def start_background_processing(self) -> None:
        """Start to dispatch; does nothing when it runs already."""
        async with self._starting_or_stopping:
            if self._is_running:
                return
            runtime = self._runtime
            runtime.node_id = new_id()
            downtime = await self.cluster.join(package_version())
            await come_back(runtime, self.trigger_manager, downtime)
            self._is_running = True
            self.job_manager.recorder.start()
            self._recovery_loop.start()
            self.dispatcher.start()

    async def run_due(self) -> list[str]:
        """Run what is due now until nothing is; returns the ids of the executions taken on. For tests and tools."""
        recorder = self.job_manager.recorder
        recorder.start()
        try:
            taken: list[str] = []
            while now_taken := await self.dispatcher.run_once():
                taken += now_taken
            return taken
        finally:
            if not self._is_running:
                await recorder.stop(RECORDER_PATIENCE)

    async def stop(self) -> None:
        """Stop in order: no new work, wait for what runs, interrupt the rest, write every outcome. Idempotent.

        No step waits for ever, and a caller that gives up waiting cuts nothing short.
        """
        await self._stop()

    async def _stop_everything(self) -> None:
        async with self._starting_or_stopping:
            if not self._is_running:
                await self.cluster.wakeups.stop(STEP_PATIENCE)
                return
            self._is_running = False
            settings = self._runtime.settings
            await _go_on_after(self.cluster.prepare_to_leave())
            await self.dispatcher.loop.stop(STEP_PATIENCE)
            await _go_on_after(self.dispatcher.withdraw_all())
            await self.dispatcher.drain(settings.drain_timeout_seconds)
            if interrupted := self.job_manager.running:
                self.job_manager.jobs.stop_some(interrupted, "interrupted")
            await self.dispatcher.settled(settings.cancel_grace_seconds + 1.0)
            if self.dispatcher.running:
                logger.error("%d task functions do not end; the stop goes on without them", self.dispatcher.running)
            await self._recovery_loop.stop(STEP_PATIENCE)
            await self.job_manager.recorder.stop(RECORDER_PATIENCE)
            self.job_manager.jobs.forget()
            if interrupted:
                self.cluster.tell_due(self._runtime.clock.now())  # their next attempts are ready for any other node
            await self.cluster.wakeups.stop(STEP_PATIENCE)
            await self.cluster.heartbeat.stop(STEP_PATIENCE)
            await _go_on_after(self.cluster.leave())

    def hurry(self) -> None:
        """Cut short the wait for running tasks in a stop under way."""
        self.dispatcher.hurry()


async def _go_on_after(step: Coroutine[Any, Any, None]) -> None:
    try:
        await within(STEP_PATIENCE, step)
    except (SQLAlchemyError, ModuleError, TimeoutError):
        # The row of a silent node does no harm.
        logger.warning("the node's own row could not be changed", exc_info=True)

"""Jobs: events seen from the side that makes and runs them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from modules.core.ids import new_id
from modules.core.joined import after_commit, joined_connection
from modules.core.result import returns_result, returns_result_or
from modules.core.scheduler import control
from modules.core.scheduler.db_ops import CLEANUP_KEYS, Claim, EventChange
from modules.core.scheduler.errors import AlreadyRunning, InvalidState, InvalidTask
from modules.core.scheduler.housekeeper import Housekeeper
from modules.core.scheduler.intake import Intake
from modules.core.scheduler.new_event import event_values
from modules.core.scheduler.outcomes import clean_text, storable
from modules.core.scheduler.questions import naming
from modules.core.scheduler.running_jobs import RunningJobs
from modules.core.scheduler.runtime import Runtime
from modules.core.scheduler.settlement import Settler
from modules.core.scheduler.task_config import TaskConfig, parse_task_config
from modules.core.scheduler.trigger_manager import TriggerManager
from modules.core.session import current_session_id

if TYPE_CHECKING:
    from modules.core.app_context import AppContext
    from modules.core.scheduler.db_models import ScheduledEvent


class Scheduler(Protocol):
    """What a JobManager needs of the service it belongs to."""

    trigger_manager: TriggerManager
    housekeeper: Housekeeper

    def stored(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """These new events are on disk."""

    async def change(
        self, event_id: str, change: Callable[[ScheduledEvent], EventChange], *, version: int | None = None
    ) -> EventChange:
        """Decide and do a change of one event, and let everybody know."""


class JobManager:
    """Creates, changes and ends jobs; `jobs` runs them."""

    def __init__(self, app_context: AppContext, scheduler: Scheduler) -> None:
        self._runtime = Runtime.of(app_context)
        self._scheduler = scheduler
        settings = self._runtime.settings
        self.settler = Settler(scheduler.trigger_manager, settings.default_retry, self._runtime.rng)
        self.jobs = RunningJobs(self._runtime, self.settler)
        self.recorder = self.jobs.recorder
        self._intake = Intake(self._runtime.db_ops.create_tasks)

    @returns_result_or("TASK_SCHEDULING_FAILED")
    async def create_job(
        self, name: str, function_name: str, parameters: Mapping[str, Any], schedule_info: Mapping[str, Any]
    ) -> dict[str, Any]:
        """A new scheduled job; Result data `{"job_id", "task_id", "status", "next_execution"}`.

        `function_name` is `module_id:function_name`, or the bare name where `schedule_info` has the `module_id` or only
        one module offers that function. `schedule_info` holds the schedule and any other field of a task.
        """
        fields = dict(schedule_info)
        module_id, separator, bare_name = function_name.rpartition(":")
        if separator:
            fields["module_id"] = module_id
        elif "module_id" not in fields:
            fields["module_id"] = self._runtime.registry.find_module_of(function_name)
        fields |= {"name": name, "function_name": bare_name, "parameters": dict(parameters)}
        created = await self.create(parse_task_config(fields))
        return {"job_id": created["task_id"], **created}

    async def create(self, config: TaskConfig) -> dict[str, Any]:
        """Check and store a job; returns when it is durable. Raises the ModuleError that says what is wrong.

        Calls that come at the same time share a transaction.
        """
        values = self._values(config)
        if joined_connection() is None:
            await self._intake.add(values)
        else:
            [refused] = await self._runtime.db_ops.create_tasks([values])
            if refused is not None:
                raise refused
        after_commit(lambda: self._scheduler.stored([values]))
        return _scheduled(values)

    async def create_many(self, configs: Sequence[TaskConfig]) -> list[dict[str, Any]]:
        """Check and store these jobs, all or none, in one transaction."""
        rows = []
        for index, config in enumerate(configs):
            with naming(index):
                rows.append(self._values(config))
        for index, refused in enumerate(await self._runtime.db_ops.create_tasks(rows, all_or_none=True)):
            with naming(index):
                if refused is not None:
                    raise refused
        after_commit(lambda: self._scheduler.stored(rows))
        return [_scheduled(values) for values in rows]

    def _values(self, config: TaskConfig) -> dict[str, Any]:
        runtime = self._runtime
        if (config.unique_key or "").startswith(CLEANUP_KEYS):
            raise InvalidTask(f"unique_key: keys that begin with {CLEANUP_KEYS!r} belong to cleanups; choose another.")
        return event_values(
            config,
            runtime.registry,
            runtime.clock.now(),
            default_timezone=runtime.settings.timezone,
            session_id=current_session_id() or runtime.session_id,
        )

    @returns_result
    async def execute_job(self, job_id: str) -> dict[str, Any]:
        """Run a job now, by hand; Result data `{"execution_id", "status": "running"}`. Its schedule is left alone."""
        return await self.execute(job_id)

    async def execute(
        self, job_id: str, parameters: Mapping[str, Any] | None = None, actor: str | None = None
    ) -> dict[str, Any]:
        """As execute_job, raising instead of returning a failure. Each key of `parameters` replaces the task's own, for
        this run and all its attempts."""
        now = self._runtime.clock.now()
        execution_id = new_id()
        session_id = current_session_id()
        if stuck := next((claim for claim in self.stuck if claim.event.id == job_id), None):
            raise AlreadyRunning(
                f"Task {job_id} ignores its cancellation and is still alive (execution {stuck.execution_id}): wait for "
                "it to end, or restart this process.",
                details={"execution_id": stuck.execution_id},
            )

        def change(event: ScheduledEvent) -> EventChange:
            given = None if parameters is None else control.parameters_of_run(event, parameters, self._validate)
            return control.execute_now(event, execution_id, now, session_id, parameters=given, actor=actor)

        await self._scheduler.change(job_id, change)
        return {"execution_id": execution_id, "status": "running"}

    def _validate(self, event: ScheduledEvent, parameters: dict[str, Any]) -> None:
        self._runtime.registry.get(event.module_id, event.function_name).validate(parameters)

    @returns_result
    async def update_job_status(
        self, job_id: str, status: str, result: Any = None, error: str | None = None
    ) -> dict[str, Any]:
        """Set a job's status: pending (resume), paused, cancelled, or completed / failed, which end it for good.

        `result` and `error` are kept with the job: the error as its last one, the result in the answer only.
        """
        stored, _ = storable(result, self._runtime.settings.result_max_bytes)
        await self._scheduler.change(job_id, lambda event: self._status_change(event, status, error))
        return {"job_id": job_id, "status": status, "result": stored}

    def _status_change(self, event: Any, status: str, error: str | None) -> EventChange:
        now, triggers = self._runtime.clock.now(), self._scheduler.trigger_manager
        if status == "pending":
            change = control.resume(event, lambda event: triggers.skip_paused(event, now))
        elif status == "paused":
            change = control.pause(event, now, error)
        elif status == "cancelled":
            change = control.cancel(event, lambda event: triggers.left_behind(event, now))
        elif status in ("completed", "failed"):
            if event.status not in ("pending", "paused"):
                raise InvalidState(f"Job {event.id} is {event.status}: only a live one can be set to {status}.")
            change = control.end(event, status, lambda event: triggers.left_behind(event, now))
        else:
            raise InvalidTask(f"{status!r} is no status: use pending, paused, completed, failed or cancelled.")
        if error is not None and change.values:
            change.values["last_error"] = clean_text(error)[:4000]
        return change

    @returns_result
    async def cleanup_completed_jobs(self) -> dict[str, Any]:
        """Delete jobs that were finished for `keep_execution_history` days, with their history; data `{"deleted"}`."""
        days = self._runtime.settings.keep_execution_history
        return {"deleted": await self._scheduler.housekeeper.delete_finished_tasks(days)}

    @property
    def running(self) -> Collection[str]:
        """The executions that this process holds, those included that begin or whose outcome is being written."""
        return self.jobs.held

    @property
    def stuck(self) -> list[Claim]:
        """Executions that are settled but whose function is still alive; each keeps its slot."""
        return self.jobs.stuck


def _scheduled(values: Mapping[str, Any]) -> dict[str, Any]:
    return {"task_id": values["id"], "status": "scheduled", "next_execution": values["next_execution"]}

"""Jobs: events seen from the side that makes and runs them."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from modules.core.error_handler import error_message
from modules.core.errors import ModuleError
from modules.core.ids import new_id
from modules.core.result import returns_result, returns_result_or
from modules.core.scheduler import control
from modules.core.scheduler.db_ops import CLEANUP_KEYS, Claim, EventChange, Finished
from modules.core.scheduler.errors import AlreadyRunning, InvalidParameters, InvalidState, InvalidTask
from modules.core.scheduler.execution import ExecutionContext
from modules.core.scheduler.housekeeper import Housekeeper
from modules.core.scheduler.new_event import event_values
from modules.core.scheduler.outcomes import Outcome, clean_text, of_exception, storable
from modules.core.scheduler.recorder import Recorder
from modules.core.scheduler.runtime import Runtime
from modules.core.scheduler.settlement import Settler
from modules.core.scheduler.task_config import TaskConfig, parse_task_config
from modules.core.scheduler.task_runner import StopReason, TaskRunner
from modules.core.scheduler.trigger_manager import TriggerManager
from modules.core.session import current_session_id

if TYPE_CHECKING:
    from modules.core.app_context import AppContext

logger = logging.getLogger(__name__)

MODULE_ID = "core.scheduler"


class Scheduler(Protocol):
    """What a JobManager needs of the service it belongs to."""

    trigger_manager: TriggerManager
    housekeeper: Housekeeper

    def wake(self) -> None:
        """Something may be due sooner than the dispatcher thinks."""


class JobManager:
    """Creates jobs, runs claimed executions, and hands their outcomes to the recorder."""

    def __init__(self, app_context: AppContext, scheduler: Scheduler) -> None:
        self._runtime = Runtime.of(app_context)
        self._scheduler = scheduler
        self._held: set[str] = set()
        self._runners: dict[str, TaskRunner] = {}
        self._stuck: dict[str, Claim] = {}
        settings = self._runtime.settings
        self.settler = Settler(scheduler.trigger_manager, settings.default_retry, self._runtime.rng)
        self.recorder = Recorder(self._runtime, self.settler)

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
        """Check and store a job; returns when it is durable. Raises the ModuleError that says what is wrong."""
        runtime = self._runtime
        if (config.unique_key or "").startswith(CLEANUP_KEYS):
            raise InvalidTask(f"unique_key: keys that begin with {CLEANUP_KEYS!r} belong to cleanups; choose another.")
        values = event_values(
            config,
            runtime.registry,
            runtime.clock.now(),
            default_timezone=runtime.settings.timezone,
            session_id=current_session_id() or runtime.session_id,
        )
        await runtime.db_ops.create_task(values)
        self._scheduler.wake()
        return {"task_id": values["id"], "status": "scheduled", "next_execution": values["next_execution"]}

    @returns_result
    async def execute_job(self, job_id: str) -> dict[str, Any]:
        """Run a job now, by hand; Result data `{"execution_id", "status": "running"}`. Its schedule is left alone."""
        return await self.execute(job_id)

    async def execute(self, job_id: str) -> dict[str, Any]:
        """As execute_job, raising instead of returning a failure."""
        now = self._runtime.clock.now()
        execution_id = new_id()
        session_id = current_session_id()
        if stuck := next((claim for claim in self.stuck if claim.event.id == job_id), None):
            raise AlreadyRunning(
                f"Task {job_id} ignores its cancellation and is still alive (execution {stuck.execution_id}): wait for "
                "it to end, or restart this process.",
                details={"execution_id": stuck.execution_id},
            )
        await self._runtime.db_ops.change_task(
            job_id, lambda event: control.execute_now(event, execution_id, now, session_id), now
        )
        self._scheduler.wake()
        return {"execution_id": execution_id, "status": "running"}

    @returns_result
    async def update_job_status(
        self, job_id: str, status: str, result: Any = None, error: str | None = None
    ) -> dict[str, Any]:
        """Set a job's status: pending (resume), paused, cancelled, or completed / failed, which end it for good.

        `result` and `error` are kept with the job: the error as its last one, the result in the answer only.
        """
        now = self._runtime.clock.now()
        stored, _ = storable(result, self._runtime.settings.result_max_bytes)
        await self._runtime.db_ops.change_task(job_id, lambda event: self._status_change(event, status, error), now)
        self._scheduler.wake()
        return {"job_id": job_id, "status": status, "result": stored}

    def _status_change(self, event: Any, status: str, error: str | None) -> EventChange:
        if status == "pending":
            now, triggers = self._runtime.clock.now(), self._scheduler.trigger_manager
            change = control.resume(event, lambda event: triggers.skip_paused(event, now))
        elif status == "paused":
            change = control.pause(event, error)
        elif status == "cancelled":
            change = control.cancel(event)
        elif status in ("completed", "failed"):
            if event.status not in ("pending", "paused"):
                raise InvalidState(f"Job {event.id} is {event.status}: only a live one can be set to {status}.")
            change = EventChange({"status": status, "next_execution": None}, cancel_waiting=True)
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
        return self._held.copy()

    def hold(self, claim: Claim) -> None:
        """From now on this one's lease is extended; `run` it next."""
        self._held.add(claim.execution_id)

    @property
    def stuck(self) -> list[Claim]:
        """Executions that are settled but whose function is still alive; each keeps its slot."""
        return list(self._stuck.values())

    def context_of(self, execution_id: str) -> ExecutionContext | None:
        """What the function of an execution running here was told, its progress included."""
        runner = self._runners.get(execution_id)
        return runner.context if runner else None

    def stop_all(self, reason: StopReason) -> None:
        """Ask every running function to end."""
        self.stop_some(self.running, reason)

    def stop_some(self, execution_ids: Collection[str], reason: StopReason) -> None:
        """Ask these functions to end; ids that are not running here are passed over."""
        for execution_id in execution_ids:
            runner = self._runners.get(execution_id)
            if runner is not None:
                runner.stop(reason)

    async def run(self, claim: Claim) -> None:
        """Run a claimed execution: resolve -> call -> judge -> record. Returns when the slot is free again."""
        clock = self._runtime.clock
        runner: TaskRunner | None = None
        began = clock.monotonic()
        try:
            try:
                runner = self._runners[claim.execution_id] = self._runner_for(claim)
                outcome = await runner.run(self._resolve_parameters(claim))
            except ModuleError as error:
                outcome = Outcome("failed", error=error.message, error_type=error.error_code)
            except Exception as error:
                logger.exception("execution %s could not be run", claim.execution_id)
                outcome = of_exception(error)
            duration = clock.monotonic() - began
            self._log(claim, outcome)
            if runner is not None and runner.stuck:
                self._stuck[claim.execution_id] = claim
            await self.recorder.record(
                Finished(
                    execution_id=claim.execution_id,
                    fence=claim.fence,
                    outcome=outcome,
                    end_time=max(clock.now(), claim.start_time),
                    duration_ms=duration * 1000,
                    cpu_ms=runner.cpu_seconds * 1000 if runner else None,
                )
            )
            if runner is not None and runner.stuck:
                await runner.finished()
        finally:
            self._held.discard(claim.execution_id)
            self._runners.pop(claim.execution_id, None)
            self._stuck.pop(claim.execution_id, None)

    def _runner_for(self, claim: Claim) -> TaskRunner:
        settings = self._runtime.settings
        context = ExecutionContext(
            task_id=claim.event.id,
            execution_id=claim.execution_id,
            scheduled_for=claim.scheduled_for,
            attempt=claim.attempt,
            fence=claim.fence,
            trace_session_id=claim.trace_session_id,
        )
        return TaskRunner(
            self._runtime.registry.get(claim.event.module_id, claim.event.function_name),
            context,
            timeout=claim.event.timeout_s or settings.execution_timeout,
            grace=settings.cancel_grace_seconds,
            result_max_bytes=settings.result_max_bytes,
        )

    def _resolve_parameters(self, claim: Claim) -> Any:
        # Rows are input too: whoever can write them is not the one who registered the function.
        task = self._runtime.registry.get(claim.event.module_id, claim.event.function_name)
        parameters = claim.event.parameters
        if not isinstance(parameters, dict):
            raise InvalidParameters("The stored parameters are not an object: correct them with PATCH.")
        return task.validate(parameters)

    def _log(self, claim: Claim, outcome: Outcome) -> None:
        if outcome.note:
            logger.warning("execution %s of task %s: %s", claim.execution_id, claim.event.id, outcome.note)
        if outcome.state in ("failed", "timed_out"):
            details = f"Task {claim.event.name} failed: {outcome.error_type}: {outcome.error}"
            logger.error(
                error_message(module_id=MODULE_ID, error_type="TASK_EXECUTION_FAILED", details=clean_text(details)),
                extra={"task_id": claim.event.id, "execution_id": claim.execution_id, "attempt": claim.attempt},
            )
        else:
            logger.debug("execution %s of task %s %s", claim.execution_id, claim.event.id, outcome.state)

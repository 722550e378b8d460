"""The executions that this process holds: claimed, running, ended and not yet on record."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from modules.core.error_handler import error_message
from modules.core.errors import ModuleError
from modules.core.scheduler.db_ops import Claim, Finished
from modules.core.scheduler.errors import InvalidParameters
from modules.core.scheduler.execution import ExecutionContext
from modules.core.scheduler.outcomes import Outcome, clean_text, of_exception
from modules.core.scheduler.recorder import Recorder
from modules.core.scheduler.runtime import Runtime
from modules.core.scheduler.settlement import Settler
from modules.core.scheduler.task_registry import RegisteredTask
from modules.core.scheduler.task_runner import StopReason, TaskRunner
from modules.core.scheduler.trigger_manager import counts_from_end

logger = logging.getLogger(__name__)

MODULE_ID = "core.scheduler"


@dataclass(slots=True)
class _Job:
    claim: Claim
    start_time: datetime
    began: float
    runner: TaskRunner | None = None


class RunningJobs:
    """Runs claimed executions: resolve -> call -> judge -> hand the outcome to the recorder.

    `on_slot` is called when a slot falls free, `on_due(moment)` when something is on record that leaves work for that
    moment; None means that nobody knows when.
    """

    def __init__(self, runtime: Runtime, settler: Settler) -> None:
        self._runtime = runtime
        self._held: dict[str, Claim] = {}
        self._jobs: dict[str, _Job] = {}
        self._stuck: dict[str, Claim] = {}
        self._changed: set[str] = set()
        self._quiet = asyncio.Event()
        self.ended = 0
        self.on_slot: Callable[[], None] = _nothing
        self.on_due: Callable[[datetime | None], None] = _nothing
        self.recorder = Recorder(runtime, settler, self._recorded, self._written)

    @property
    def held(self) -> Collection[str]:
        """Every execution whose lease is to be extended. Safe to ask from another thread."""
        return set(self._held.copy())

    @property
    def alive(self) -> int:
        """Taken slots: functions that run, the stuck ones included."""
        return len(self._jobs)

    @property
    def stuck(self) -> list[Claim]:
        """Executions that are settled but whose function is still alive; each keeps its slot."""
        return list(self._stuck.values())

    def held_of_module(self, module_id: str) -> int:
        return sum(claim.event.module_id == module_id for claim in self._held.values())

    def hold(self, claim: Claim) -> None:
        """From now on this one's lease is extended; `start` it when it is due and a slot is free."""
        self._held[claim.execution_id] = claim
        if self._runtime.stepping.resting:
            self._runtime.stepping.wake()

    def let_go(self, claim: Claim) -> None:
        """Nothing more is done about a claim that was not started."""
        self._held.pop(claim.execution_id, None)
        self._note_quiet()

    def forget(self) -> None:
        """What is not on record by now never will be by this process: its lease runs out."""
        self._held.clear()
        self._changed.clear()
        self._note_quiet()

    def note_change(self, event_id: str) -> None:
        """The task was changed while it may be running here: when it is due next is not known from its claim."""
        if any(claim.event.id == event_id for claim in self._held.values()):
            self._changed.add(event_id)

    def context_of(self, execution_id: str) -> ExecutionContext | None:
        """What the function of an execution running here was told, its progress included."""
        job = self._jobs.get(execution_id)
        return job.runner.context if job is not None and job.runner is not None else None

    def stop_some(self, execution_ids: Collection[str], reason: StopReason) -> None:
        """Ask these functions to end; ids that are not running here are passed over."""
        for execution_id in execution_ids:
            job = self._jobs.get(execution_id)
            if job is not None and job.runner is not None:
                job.runner.stop(reason)

    async def quiet(self) -> None:
        """Wait until nothing is held and no function is alive."""
        while self._held or self._jobs:
            self._quiet.clear()
            await self._quiet.wait()

    async def all_ended(self) -> None:
        """Wait until no function is alive; their outcomes may be on their way to the database."""
        while self._jobs:
            self._quiet.clear()
            await self._quiet.wait()

    def begin(self) -> None:
        """Before the first start in an event loop."""
        self._quiet = asyncio.Event()

    def start(self, claim: Claim) -> None:
        """Call the function of a claimed execution."""
        clock, settings = self._runtime.clock, self._runtime.settings
        job = _Job(claim, max(clock.now(), claim.due), clock.monotonic())
        self._jobs[claim.execution_id] = job
        try:
            task = self._runtime.registry.get(claim.event.module_id, claim.event.function_name)
            parameters = _parameters(task, claim)
            job.runner = TaskRunner(
                task,
                ExecutionContext(
                    task_id=claim.event.id,
                    execution_id=claim.execution_id,
                    scheduled_for=claim.scheduled_for,
                    attempt=claim.attempt,
                    fence=claim.fence,
                    trace_session_id=claim.trace_session_id,
                ),
                timeout=claim.event.timeout_s or settings.execution_timeout,
                grace=settings.cancel_grace_seconds,
                result_max_bytes=settings.result_max_bytes,
                stepping=self._runtime.stepping,
                settled=partial(self._settled, job),
                ended=partial(self._ended, job),
            )
            job.runner.start(parameters)
        except ModuleError as error:
            self._not_started(job, Outcome("failed", error=error.message, error_type=error.error_code))
        except Exception as error:
            logger.exception("execution %s could not be run", claim.execution_id)
            self._not_started(job, of_exception(error))

    def _not_started(self, job: _Job, outcome: Outcome) -> None:
        self._settled(job, outcome)
        self._ended(job)

    def _settled(self, job: _Job, outcome: Outcome) -> None:
        claim, runner, clock = job.claim, job.runner, self._runtime.clock
        _log(claim, outcome)
        if runner is not None and runner.stuck:
            self._stuck[claim.execution_id] = claim
        self.recorder.put(
            Finished(
                execution_id=claim.execution_id,
                event_id=claim.event.id,
                fence=claim.fence,
                outcome=outcome,
                start_time=job.start_time,
                end_time=max(clock.now(), job.start_time),
                duration_ms=(clock.monotonic() - job.began) * 1000,
                cpu_ms=runner.cpu_seconds * 1000 if runner else None,
                lateness_ms=claim.lateness_ms(job.start_time),
                sets_next=claim.kind == "schedule" and counts_from_end(claim.event),
            )
        )

    def _ended(self, job: _Job) -> None:
        self._jobs.pop(job.claim.execution_id, None)
        self._stuck.pop(job.claim.execution_id, None)
        self.ended += 1
        self._note_quiet()
        self.on_slot()

    def _recorded(self, finished: Finished, mine: bool, next_due: datetime | None) -> None:
        claim = self._held.pop(finished.execution_id, None)
        self._note_quiet()
        if claim is None:
            return
        if not mine:  # nor is it known what follows; an answer that was lost with its connection looks like this too
            self.on_due(None)
        elif claim.event.id in self._changed:
            self._changed.discard(claim.event.id)
            self.on_due(None)
        elif moments := [moment for moment in (claim.next_execution, next_due) if moment is not None]:
            self.on_due(min(moments))

    def _written(self) -> None:
        self.on_slot()  # whoever waits for the recorder may go on

    def _note_quiet(self) -> None:
        if not self._jobs:
            self._quiet.set()


def _nothing(*_arguments: object) -> None:
    """Until somebody listens."""


def _parameters(task: RegisteredTask, claim: Claim) -> Any:
    # Rows are input too: whoever can write them is not the one who registered the function.
    parameters = claim.event.parameters if claim.parameters is None else claim.parameters
    if not isinstance(parameters, dict):
        raise InvalidParameters("The stored parameters are not an object: correct them with PATCH.")
    return task.validate(parameters)


def _log(claim: Claim, outcome: Outcome) -> None:
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

"""Calls one task function: on the event loop or in a thread of its own, and gets it to stop when asked.

Whatever the function does - raise, hang, cancel itself, call sys.exit - ends here as an Outcome.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
from typing import Any, Literal

from modules.core.clock import thread_cpu_seconds
from modules.core.scheduler.cpu_meter import Metered
from modules.core.scheduler.execution import ExecutionContext
from modules.core.scheduler.outcomes import Outcome, of_exception, of_return_value
from modules.core.scheduler.task_registry import RegisteredTask
from modules.core.session import use_session

StopReason = Literal["timed_out", "cancelled", "interrupted"]
logger = logging.getLogger(__name__)


class TaskRunner:
    """One call of one function. `run()` once; `stop()` from outside at any time."""

    def __init__(
        self, task: RegisteredTask, context: ExecutionContext, *, timeout: float, grace: float, result_max_bytes: int
    ) -> None:
        self.context = context
        self.cpu_seconds = 0.0
        self._task = task
        self._timeout = timeout
        self._grace = grace
        self._result_max_bytes = result_max_bytes
        self._stop: asyncio.Future[StopReason] = asyncio.get_running_loop().create_future()
        self._work: asyncio.Future[Outcome] | None = None

    @property
    def stuck(self) -> bool:
        """Whether the function is still alive although its outcome is settled."""
        return self._work is not None and not self._work.done()

    def stop(self, reason: StopReason) -> None:
        """Ask the function to end; the first reason counts."""
        if not self._stop.done():
            self._stop.set_result(reason)

    async def run(self, parameters: Any) -> Outcome:
        """The outcome of the call, at the latest after timeout and grace."""
        arguments = (parameters, self.context) if self._task.wants_context else (parameters,)
        with use_session(self.context.trace_session_id):
            if self._task.is_async:
                self._work = asyncio.create_task(self._on_the_loop(arguments), name=self.context.execution_id)
            else:
                self._work = self._in_a_thread(arguments)
        await asyncio.wait((self._work, self._stop), timeout=self._timeout, return_when=asyncio.FIRST_COMPLETED)
        if not self._work.done() and not self._stop.done():
            await asyncio.sleep(0)  # another task may have blocked the loop: what has ended meanwhile is not late
        if self._work.done():
            self._stop.cancel()
            return self._outcome_of(self._work)
        return await self._stopped(self._work)

    async def finished(self) -> None:
        """Wait until the function has really ended; for those that are stuck."""
        if self._work is not None:
            await asyncio.wait((self._work,))

    async def _stopped(self, work: asyncio.Future[Outcome]) -> Outcome:
        reason: StopReason = self._stop.result() if self._stop.done() else "timed_out"
        self.stop(reason)
        self.context.request_cancel()
        if self._task.is_async:
            work.cancel()
        await asyncio.wait((work,), timeout=self._grace)
        if not work.done():
            logger.error(
                "execution %s of %s.%s does not end: it ignores cancellation, and keeps its slot until it returns",
                self.context.execution_id,
                self._task.module_id,
                self._task.function_name,
            )
        elif not self._task.is_async and reason != "timed_out" and not self.context.noticed_cancel:
            # A thread that never looked whether it should stop has done all its work.
            return self._outcome_of(work)
        return Outcome(reason, error=_STOPPED[reason].format(timeout=self._timeout), error_type=reason)

    def _outcome_of(self, work: asyncio.Future[Outcome]) -> Outcome:
        if work.cancelled():
            return Outcome("failed", error="The task function cancelled itself.", error_type="CancelledError")
        return work.result()

    async def _on_the_loop(self, arguments: tuple[Any, ...]) -> Outcome:
        metered: Metered | None = None
        try:
            metered = Metered(self._task.function(*arguments))
            return of_return_value(await metered, self._result_max_bytes)
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            # SystemExit and KeyboardInterrupt too: a task must not end the process that runs it.
            return self._failure(error)
        finally:
            self.cpu_seconds = metered.cpu_seconds if metered else 0.0

    def _in_a_thread(self, arguments: tuple[Any, ...]) -> asyncio.Future[Outcome]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Outcome] = loop.create_future()
        context = contextvars.copy_context()

        def settle(outcome: Outcome) -> None:
            if not future.done():
                future.set_result(outcome)

        def call() -> None:
            began = thread_cpu_seconds()
            try:
                value = context.run(self._task.function, *arguments)
                outcome = of_return_value(value, self._result_max_bytes)
            except BaseException as error:
                outcome = self._failure(error)
            self.cpu_seconds = thread_cpu_seconds() - began
            try:
                loop.call_soon_threadsafe(settle, outcome)
            except RuntimeError:
                logger.warning("execution %s ended after its event loop was closed", self.context.execution_id)

        # A daemon thread of its own: one that never returns must neither hold up the others nor the process's exit.
        threading.Thread(target=call, name=f"task-{self._task.function_name}", daemon=True).start()
        return future

    def _failure(self, error: BaseException) -> Outcome:
        logger.info(
            "execution %s of %s.%s raised",
            self.context.execution_id,
            self._task.module_id,
            self._task.function_name,
            exc_info=error,
        )
        return of_exception(error)


_STOPPED: dict[StopReason, str] = {
    "timed_out": "The task ran longer than {timeout:g} s and was stopped; raise its timeout or make it faster.",
    "cancelled": "The execution was cancelled.",
    "interrupted": "The process was stopped while the task ran.",
}

"""Calls one task function: on the event loop or in a thread of its own, and gets it to stop when asked.

Whatever the function does - raise, hang, cancel itself, call sys.exit - ends here as an Outcome. A call costs one
asyncio task and one timer; all else is made when it is needed.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
from collections.abc import Callable
from typing import Any, Literal

from modules.core.clock import thread_cpu_seconds
from modules.core.scheduler.cpu_meter import Metered, Stepping
from modules.core.scheduler.execution import ExecutionContext
from modules.core.scheduler.outcomes import Outcome, of_exception, of_return_value
from modules.core.scheduler.task_registry import RegisteredTask
from modules.core.session import use_session

StopReason = Literal["timed_out", "cancelled", "interrupted"]
logger = logging.getLogger(__name__)

TURNS = 3


class TaskRunner:
    """One call of one function: `start()` once, `stop()` at any time.

    `settled(outcome)` is called once, at the latest after timeout and grace; `ended()` once as well, when the function
    is no longer alive: right after that, or for one that ignores its cancellation later. A cancelled one that goes on
    is settled when it ends: whoever cancelled it to run another in its place must not run beside it.
    """

    __slots__ = (
        "_ended", "_grace", "_outcome_given", "_reason", "_result_max_bytes", "_settled", "_stepping", "_task",
        "_timeout", "_timer", "_work", "context", "cpu_seconds", "overdue",
    )  # fmt: skip

    def __init__(
        self,
        task: RegisteredTask,
        context: ExecutionContext,
        *,
        timeout: float,
        grace: float,
        result_max_bytes: int,
        stepping: Stepping,
        settled: Callable[[Outcome], None],
        ended: Callable[[], None],
    ) -> None:
        self.context = context
        self.cpu_seconds = 0.0
        self.overdue = False  # it was cancelled, does not end, and so goes on to be open
        self._task = task
        self._timeout = timeout
        self._grace = grace
        self._result_max_bytes = result_max_bytes
        self._stepping = stepping
        self._settled = settled
        self._ended = ended
        self._reason: StopReason | None = None
        self._outcome_given = False
        self._work: asyncio.Future[Outcome] | None = None
        self._timer: asyncio.Handle | None = None

    @property
    def function_name(self) -> str:
        return f"{self._task.module_id}.{self._task.function_name}"

    @property
    def stuck(self) -> bool:
        """Whether the function is still alive although its outcome is settled."""
        return self._outcome_given and self._work is not None and not self._work.done()

    def start(self, parameters: Any) -> None:
        """Call the function."""
        loop = asyncio.get_running_loop()
        arguments = (parameters, self.context) if self._task.wants_context else (parameters,)
        with use_session(self.context.trace_session_id):
            if self._task.is_async:
                self._work = loop.create_task(self._on_the_loop(arguments), name=self.context.execution_id)
            else:
                self._work = self._in_a_thread(arguments)
        self._timer = loop.call_later(self._timeout, self._time_is_up, TURNS)
        self._work.add_done_callback(self._done)

    def stop(self, reason: StopReason) -> None:
        """Ask the function to end; the first reason counts, and none when it has ended."""
        work = self._work
        if self._reason is not None or work is None or work.done():
            return
        self._reason = reason
        self.context.request_cancel()
        if self._task.is_async:
            work.cancel()
        self._set_timer(self._grace, self._give_up)

    def _time_is_up(self, turns: int) -> None:
        # Another task may have blocked the loop: what has ended meanwhile is not late, and gets the turns to say so.
        if turns:
            asyncio.get_running_loop().call_soon(self._time_is_up, turns - 1)
        else:
            self.stop("timed_out")

    def _set_timer(self, seconds: float, callback: Callable[[], None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, callback)

    def _give_up(self) -> None:
        if self._work is None or self._work.done() or self._reason is None:
            return
        logger.error(
            "execution %s of %s.%s does not end: it ignores cancellation, and keeps its slot until it returns",
            self.context.execution_id,
            self._task.module_id,
            self._task.function_name,
        )
        if self._reason == "cancelled":
            self.overdue = True
        else:
            self._settle(self._stopped(self._reason))

    def _done(self, work: asyncio.Future[Outcome]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if not self._outcome_given:
            self._settle(self._outcome_of(work))
        self._ended()

    def _settle(self, outcome: Outcome) -> None:
        self._outcome_given = True
        self._settled(outcome)

    def _outcome_of(self, work: asyncio.Future[Outcome]) -> Outcome:
        reason = self._reason
        if reason is not None:
            did_all = not self._task.is_async and reason != "timed_out" and not self.context.noticed_cancel
            # A thread that never looked whether it should stop has done all its work.
            return work.result() if did_all else self._stopped(reason)
        if work.cancelled():
            return Outcome("failed", error="The task function cancelled itself.", error_type="CancelledError")
        return work.result()

    def _stopped(self, reason: StopReason) -> Outcome:
        return Outcome(reason, error=_STOPPED[reason].format(timeout=self._timeout), error_type=reason)

    async def _on_the_loop(self, arguments: tuple[Any, ...]) -> Outcome:
        metered: Metered | None = None
        try:
            metered = Metered(self._task.function(*arguments), self._stepping, self)
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

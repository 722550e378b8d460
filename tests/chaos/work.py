"""The task function of chaos runs: it says on disk when it starts and how it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

from modules.core.scheduler import ExecutionContext
from tests.chaos.log import Log

MODULE = "chaos"


class Workshop:
    """`work` sleeps `parameters["seconds"]` and raises in the first `parameters["failing"]` attempts."""

    def __init__(
        self,
        log: Log,
        *,
        process: Callable[[], int],
        node_id: Callable[[], str],
        now: Callable[[], datetime],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._log = log
        self._process = process
        self._node_id = node_id
        self._now = now
        self._sleep = sleep

    async def work(self, parameters: dict[str, Any], context: ExecutionContext) -> dict[str, int]:
        self.write("start", context)
        how = "stopped"
        try:
            await self._sleep(parameters.get("seconds", 0))
            if context.attempt <= parameters.get("failing", 0):
                how = "failed"
                raise RuntimeError("as planned")
            how = "done"
            return {"attempt": context.attempt}
        finally:
            self.write("end", context, how=how)

    def write(self, what: str, context: ExecutionContext, **more: str) -> None:
        """A line of the log."""
        self._log.write(
            what=what,
            at=self._now().isoformat(),
            task=context.task_id,
            execution=context.execution_id,
            scheduled_for=context.scheduled_for.isoformat(),
            attempt=context.attempt,
            fence=context.fence,
            node=self._node_id(),
            process=self._process(),
            **more,
        )

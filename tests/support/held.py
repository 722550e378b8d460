"""Runs that go on until the test lets them end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

from modules.core.scheduler import ExecutionContext
from tests.support.app import App, manual_clock, running_app


class Held:
    """An application whose function `hold` runs until `end()` lets it end; at the end of the block all do."""

    def __init__(self) -> None:
        self.app: App
        self.starts: list[tuple[str, datetime]] = []  # execution and nominal time, in the order of their starts
        self.most_at_once = 0
        self._ends: dict[str, asyncio.Future[None]] = {}

    async def hold(self, parameters: dict[str, Any], context: ExecutionContext) -> None:
        self.starts.append((context.execution_id, context.scheduled_for))
        self._ends[context.execution_id] = asyncio.get_running_loop().create_future()
        self.most_at_once = max(self.most_at_once, len(self._ends))
        try:
            await self._ends[context.execution_id]
        finally:
            del self._ends[context.execution_id]

    @property
    def running(self) -> list[str]:
        """The executions whose function runs, oldest first."""
        return list(self._ends)

    async def tick(self) -> None:
        """Let the dispatcher look and start what may start."""
        self.app.service.wake()
        await self.app.service.dispatcher.tick()
        await self.settled()

    async def settled(self) -> None:
        """Wait until what was started runs, and what has ended is on record."""
        for _ in range(5):
            await asyncio.sleep(0)
        for execution_id in set(self.app.service.job_manager.running) - set(self.running):
            await self.recorded(execution_id)

    async def pass_time(self, **time: float) -> None:
        self.app.clock.advance(**time)
        await self.tick()

    async def end(self, execution_id: str | None = None, error: Exception | None = None) -> None:
        """End a run, the oldest if none is named, and wait until that is on record."""
        execution_id = execution_id or self.running[0]
        end = self._ends[execution_id]
        if error is None:
            end.set_result(None)
        else:
            end.set_exception(error)
        await self.recorded(execution_id)

    async def recorded(self, execution_id: str) -> None:
        """Wait until an execution is no longer this process's."""
        async with asyncio.timeout(30):
            while execution_id in self.app.service.job_manager.running:
                await asyncio.sleep(0.001)

    async def states(self, task_id: str) -> list[tuple[datetime, str, str]]:
        """The executions of a task in the order of their nominal times and attempts: nominal time, kind, state."""
        rows = await self.app.history(task_id)
        rows.sort(key=lambda row: (row["scheduled_for"], row["attempt"]))
        return [(row["scheduled_for"], row["kind"], row["state"]) for row in rows]


@asynccontextmanager
async def held_app(database_url: str, **settings: Any) -> AsyncIterator[Held]:
    """An application with the function `hold`, its clock at noon."""
    held = Held()
    async with running_app(database_url, held.hold, clock=manual_clock(), **settings) as held.app:
        held.app.service.job_manager.recorder.start()
        yield held
        while held.running:
            await held.end()
        await held.app.service.job_manager.recorder.stop(5)

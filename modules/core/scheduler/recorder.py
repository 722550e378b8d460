"""Group commit: outcomes that arrive while a transaction is under way share the next one."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from dataclasses import replace

from modules.core.background import backoff_seconds, ended
from modules.core.errors import Unavailable
from modules.core.scheduler.db_ops import Finished
from modules.core.scheduler.outcomes import Outcome
from modules.core.scheduler.runtime import Runtime
from modules.core.scheduler.settlement import Settler

logger = logging.getLogger(__name__)

BATCH = 500


class Recorder:
    """Writes outcomes durably. `record` returns when its outcome is on disk, however long the database is away."""

    def __init__(self, runtime: Runtime, settler: Settler) -> None:
        self._runtime = runtime
        self._settler = settler
        self._queue: deque[tuple[Finished, asyncio.Future[bool]]] = deque()
        self._arrived = asyncio.Event()
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.failures = 0
        self.stale = 0

    @property
    def waiting(self) -> int:
        """Outcomes that are not on disk yet."""
        return len(self._queue)

    def start(self) -> None:
        if self._task is None or self._task.done():
            # New ones: a second start may be in another event loop.
            self._arrived, self._stopping = asyncio.Event(), asyncio.Event()
            self._task = asyncio.create_task(self._run(), name="core.scheduler recorder")

    async def record(self, finished: Finished) -> bool:
        """True when the outcome was recorded; False when the execution was no longer this process's to close."""
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._queue.append((finished, future))
        self._arrived.set()
        return await future

    async def stop(self, patience: float) -> None:
        """Write what is waiting, for `patience` seconds at most. What stays unwritten is recovered by its lease."""
        task, self._task = self._task, None
        if task is None:
            return
        self._stopping.set()
        self._arrived.set()
        if not await ended(task, patience):
            logger.error("%d outcomes could not be written before the stop; they will be recovered", len(self._queue))
        for _, future in self._queue:
            future.cancel()
        self._queue.clear()

    async def _run(self) -> None:
        while self._queue or not self._stopping.is_set():
            self._arrived.clear()
            if not self._queue:
                await self._arrived.wait()
                continue
            batch = [self._queue[index] for index in range(min(BATCH, len(self._queue)))]
            try:
                await self._write(batch)
            except Exception:
                self.failures += 1
                delay = backoff_seconds(self.failures)
                logger.exception("outcomes cannot be written; %d wait, next try in %.1f s", len(self._queue), delay)
                # A stop cuts one wait short, for one more try; after that the waits are real ones.
                hurry = asyncio.Event() if self._stopping.is_set() else self._stopping
                await self._runtime.clock.wait(hurry, delay)
                continue
            self.failures = 0
            for _ in batch:
                self._queue.popleft()

    async def _write(self, batch: list[tuple[Finished, asyncio.Future[bool]]]) -> None:
        outcomes = [finished for finished, _ in batch]
        try:
            mine = await self._complete(outcomes)
        except Unavailable:
            raise
        except Exception:
            logger.exception("a batch of outcomes could not be written; they are taken one by one")
            mine = await self._write_one_by_one(outcomes)
        for finished, future in batch:
            recorded = finished.execution_id in mine
            if not recorded:
                self.stale += 1
                logger.warning("the outcome of execution %s was not this process's to record", finished.execution_id)
            if not future.done():
                future.set_result(recorded)

    async def _write_one_by_one(self, outcomes: list[Finished]) -> set[str]:
        """An outcome that cannot be stored must not hold up the others: the reason stands in for its content.

        Where even that fails it is left to its lease, which runs out.
        """
        mine: set[str] = set()
        for finished in outcomes:
            reason = Outcome(
                finished.outcome.state, error="The outcome could not be stored: see the log.", error_type="storage"
            )
            for attempt in (finished, replace(finished, outcome=reason)):
                try:
                    mine |= await self._complete([attempt])
                    break
                except Unavailable:
                    raise
                except Exception:
                    logger.exception("the outcome of execution %s cannot be stored", finished.execution_id)
        return mine

    async def _complete(self, finished: list[Finished]) -> set[str]:
        return await self._runtime.db_ops.complete_executions(finished, self._settler, self._runtime.clock.now())

"""Group commit: outcomes that arrive while a transaction is under way share the next one."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from itertools import islice

from modules.core.background import backoff_seconds, ended
from modules.core.errors import Unavailable
from modules.core.scheduler.db_ops import Finished, Recorded
from modules.core.scheduler.outcomes import Outcome
from modules.core.scheduler.runtime import Runtime
from modules.core.scheduler.settlement import Settler

logger = logging.getLogger(__name__)

BATCH = 500


class Recorder:
    """Writes outcomes durably, however long the database is away.

    `recorded(finished, mine, next_due)` is called for each when it is on disk: `mine` is False when the execution was
    no longer this process's to close, `next_due` is when something that follows is due. `written(others)`
    is called after each batch: `others` says that it started other tasks, which any node may run.
    """

    def __init__(
        self,
        runtime: Runtime,
        settler: Settler,
        recorded: Callable[[Finished, bool, datetime | None], None],
        written: Callable[[bool], None] = lambda _others: None,
    ) -> None:
        self._runtime = runtime
        self._settler = settler
        self._recorded = recorded
        self._written = written
        self._queue: deque[Finished] = deque()
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

    def put(self, finished: Finished) -> None:
        """Have this outcome written with the next batch."""
        self._queue.append(finished)
        self._arrived.set()

    async def stop(self, patience: float) -> None:
        """Write what is waiting, for `patience` seconds at most. What stays unwritten is recovered by its lease."""
        task, self._task = self._task, None
        if task is None:
            return
        self._stopping.set()
        self._arrived.set()
        if not await ended(task, patience):
            logger.error("%d outcomes could not be written before the stop; they will be recovered", len(self._queue))
        self._queue.clear()

    async def _run(self) -> None:
        while self._queue or not self._stopping.is_set():
            self._arrived.clear()
            if not self._queue:
                await self._arrived.wait()
                continue
            batch = list(islice(self._queue, BATCH))
            try:
                recorded = await self._write(batch)
            except Exception as error:
                self.failures += 1
                delay = backoff_seconds(self.failures)
                what = "outcomes cannot be written (%s); %d wait, next try in %.1f s"
                logger.log(
                    logging.ERROR, what, error, len(self._queue), delay, exc_info=not isinstance(error, Unavailable)
                )
                # A stop cuts one wait short, for one more try; after that the waits are real ones.
                hurry = asyncio.Event() if self._stopping.is_set() else self._stopping
                await self._runtime.clock.wait(hurry, delay)
                continue
            self.failures = 0
            for finished in batch:
                self._queue.popleft()
                self._tell(finished, recorded)
            self._written(recorded.started_others)

    def _tell(self, finished: Finished, recorded: Recorded) -> None:
        mine = finished.execution_id in recorded.ids
        if not mine:
            self.stale += 1
            logger.warning("the outcome of execution %s was not this process's to record", finished.execution_id)
        try:
            self._recorded(finished, mine, recorded.next_due)
        except Exception:
            logger.exception("what follows from execution %s could not be noted", finished.execution_id)

    async def _write(self, batch: list[Finished]) -> Recorded:
        try:
            return await self._complete(batch)
        except Unavailable:
            raise
        except Exception:
            logger.exception("a batch of outcomes could not be written; they are taken one by one")
            return await self._write_one_by_one(batch)

    async def _write_one_by_one(self, outcomes: list[Finished]) -> Recorded:
        """An outcome that cannot be stored must not hold up the others: the reason stands in for its content.

        Where even that fails it is left to its lease, which runs out.
        """
        mine: set[str] = set()
        moments: list[datetime] = []
        others = False
        for finished in outcomes:
            reason = Outcome(
                finished.outcome.state, error="The outcome could not be stored: see the log.", error_type="storage"
            )
            for attempt in (finished, replace(finished, outcome=reason)):
                try:
                    recorded = await self._complete([attempt])
                except Unavailable:
                    raise
                except Exception:
                    logger.exception("the outcome of execution %s cannot be stored", finished.execution_id)
                else:
                    mine.update(recorded.ids)
                    moments += [recorded.next_due] if recorded.next_due else []
                    others |= recorded.started_others
                    break
        return Recorded(mine, min(moments, default=None), started_others=others)

    async def _complete(self, finished: list[Finished]) -> Recorded:
        return await self._runtime.db_ops.complete_executions(finished, self._settler, self._runtime.clock.now())

"""The loop: sleep until something is due, take on what fits, hand it to the JobManager."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from datetime import timedelta

from modules.core.background import BackgroundLoop
from modules.core.scheduler.db_ops import Claim, ClaimRequest, ClaimResult
from modules.core.scheduler.heartbeat import TRUSTED_SHARE
from modules.core.scheduler.job_manager import JobManager
from modules.core.scheduler.runtime import Runtime
from modules.core.scheduler.trigger_manager import TriggerManager

logger = logging.getLogger(__name__)


class Dispatcher:
    """Fires and claims while there are free slots. `tick` returns its own delay; `run_once` is for tests and tools."""

    def __init__(self, runtime: Runtime, job_manager: JobManager, triggers: TriggerManager) -> None:
        self._runtime = runtime
        self._job_manager = job_manager
        self._triggers = triggers
        self._running: dict[str, asyncio.Task[None]] = {}
        self._one_tick = asyncio.Lock()
        self._hurry = asyncio.Event()
        self.loop = BackgroundLoop("core.scheduler dispatcher", self.tick, runtime.clock)

    @property
    def running(self) -> int:
        """Taken slots."""
        return len(self._running)

    def start(self) -> None:
        # New ones at each start, which may be in another event loop.
        self._one_tick, self._hurry = asyncio.Lock(), asyncio.Event()
        self.loop.start()

    def wake(self) -> None:
        self.loop.wake()

    async def tick(self) -> float:
        """Take on what is due and fits; returns the seconds until there will be more."""
        async with self._one_tick:
            settings = self._runtime.settings
            free = settings.max_concurrent_tasks - len(self._running)
            if free <= 0 or self._runtime.draining:
                return settings.poll_ceiling_seconds  # a slot that falls free wakes the loop, the end of draining too
            result = await self._claim(free)
            for claim in result.claims:
                self._start(claim)
            if result.next_due is None:
                return settings.poll_ceiling_seconds
            seconds = (result.next_due - self._runtime.clock.now()).total_seconds()
            return min(max(seconds, 0.0), settings.poll_ceiling_seconds)

    async def _claim(self, limit: int) -> ClaimResult:
        """What this process may start now: claimed, and held by a lease that can be trusted."""
        runtime = self._runtime
        request = ClaimRequest(
            now=runtime.clock.now(),
            clock=runtime.clock,
            lease=timedelta(seconds=runtime.settings.lease_seconds),
            limit=limit,
            node_id=runtime.node_id,
            session_id=runtime.session_id,
            functions=list(runtime.registry.keys()),
            excluded_events={claim.event.id for claim in self._job_manager.stuck},
            decide=self._triggers.decide_firing,
        )
        asked = runtime.clock.monotonic()
        result = await runtime.db_ops.fire_and_claim(request)
        trusted = runtime.settings.lease_seconds * TRUSTED_SHARE
        while result.claims and runtime.clock.monotonic() - asked > trusted:
            # The loop or the database stood still since the lease was written: only what is still ours may start.
            asked = runtime.clock.monotonic()
            ids = [claim.execution_id for claim in result.claims]
            held = await runtime.db_ops.extend_leases(runtime.node_id, ids, runtime.lease_now(), request.lease)
            lost = [claim for claim in result.claims if claim.execution_id not in held]
            if lost:
                logger.warning("%d executions lost their lease before they could start", len(lost))
            result = replace(result, claims=[claim for claim in result.claims if claim.execution_id in held])
        return result

    async def run_once(self) -> list[str]:
        """One tick, then wait for everything that runs; returns the ids of the executions that the tick took on."""
        before = set(self._running)
        await self.tick()
        taken = [execution_id for execution_id in self._running if execution_id not in before]
        while self._running:
            await asyncio.wait(tuple(self._running.values()))
        return taken

    async def drain(self, seconds: float) -> None:
        """Wait for what runs, up to `seconds` or until `hurry()`. Stop the loop first."""
        if not self._running:
            return
        logger.info("waiting up to %.0f s for %d running tasks", seconds, len(self._running))
        hurry = asyncio.create_task(self._hurry.wait())
        everything = asyncio.create_task(asyncio.wait(tuple(self._running.values())))
        try:
            await asyncio.wait((hurry, everything), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            hurry.cancel()
            everything.cancel()
            await asyncio.wait((hurry, everything))

    def hurry(self) -> None:
        """Stop waiting for running tasks: a second signal says so."""
        self._hurry.set()

    async def settled(self, seconds: float) -> None:
        """Wait until every slot is free, up to `seconds`."""
        if self._running:
            await asyncio.wait(tuple(self._running.values()), timeout=seconds)

    def _start(self, claim: Claim) -> None:
        self._job_manager.hold(claim)
        task = asyncio.create_task(self._job_manager.run(claim), name=f"execution {claim.execution_id}")
        self._running[claim.execution_id] = task
        task.add_done_callback(lambda done: self._freed(claim, done))

    def _freed(self, claim: Claim, done: asyncio.Task[None]) -> None:
        self._running.pop(claim.execution_id, None)
        if not done.cancelled() and (error := done.exception()) is not None:
            logger.error("running execution %s failed inside the scheduler", claim.execution_id, exc_info=error)
        self.loop.wake()

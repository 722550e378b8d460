"""Heartbeats from a thread of their own: a task that blocks the event loop must not cost the others their leases."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Collection
from datetime import timedelta

from modules.core.background import finish_left_alone, within
from modules.core.clock import SystemClock
from modules.core.scheduler.db_ops import DbOps
from modules.core.scheduler.runtime import Runtime

logger = logging.getLogger(__name__)

# A lease is trusted for this share of its length, counted from before the request that extended it.
TRUSTED_SHARE = 0.8
MINIMUM_PATIENCE = 1.0
LAST_PATIENCE = 5.0


class Heartbeat:
    """Extends the leases of `executions()` every lease/4; says `lost(ids)` on the event loop for those it lost."""

    def __init__(
        self, runtime: Runtime, executions: Callable[[], Collection[str]], lost: Callable[[Collection[str]], None]
    ) -> None:
        self._runtime = runtime
        self._executions = executions
        self._lost = lost
        self._thread: threading.Thread | None = None
        self._thread_loop: asyncio.AbstractEventLoop | None = None
        self._stop = asyncio.Event()
        self._ended = asyncio.Event()
        self._beating: asyncio.Task[None] | None = None
        self.failures = 0

    def start(self) -> None:
        """Start the thread; call it on the event loop that runs the tasks."""
        if self._thread is None:
            self._stop, self._ended = asyncio.Event(), asyncio.Event()
            self._thread_loop = asyncio.new_event_loop()
            self._thread = threading.Thread(
                target=self._run,
                args=(asyncio.get_running_loop(), self._thread_loop),
                name="core.scheduler heartbeat",
                daemon=True,
            )
            self._thread.start()

    async def stop(self, patience: float) -> None:
        """End the thread and wait for it; a statement that hangs is given up after `patience` seconds. Safe to call
        twice, and before start()."""
        thread, self._thread = self._thread, None
        if thread is None or self._thread_loop is None:
            return
        for end in (self._stop.set, self._give_up):
            with contextlib.suppress(RuntimeError):  # it has ended by itself
                self._thread_loop.call_soon_threadsafe(end)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    await self._ended.wait()
                thread.join()
                return
        logger.error("the heartbeat's thread does not end; the stop goes on without it")

    def _run(self, main_loop: asyncio.AbstractEventLoop, own_loop: asyncio.AbstractEventLoop) -> None:
        try:
            with contextlib.suppress(asyncio.CancelledError), asyncio.Runner(loop_factory=lambda: own_loop) as runner:
                runner.run(self._beat_on(main_loop))
        finally:
            with contextlib.suppress(RuntimeError):  # the main loop was closed without a stop
                main_loop.call_soon_threadsafe(self._ended.set)

    def _give_up(self) -> None:
        if self._beating is not None:
            self._beating.cancel()

    async def _beat_on(self, main_loop: asyncio.AbstractEventLoop) -> None:
        self._beating = asyncio.current_task()
        # Real time even under an injected clock: a lease protects against real silence.
        clock = SystemClock()
        database = self._runtime.database.clone()
        statements = DbOps(database)
        settings = self._runtime.settings
        trusted_until = clock.monotonic() + settings.lease_seconds * TRUSTED_SHARE
        try:
            while not self._stop.is_set():
                began = clock.monotonic()
                held = set(self._executions())
                try:
                    # A statement that hangs is a heartbeat that failed: the lease does not wait for it.
                    patience = max(trusted_until - began, MINIMUM_PATIENCE)
                    gone = held - await within(patience, self._extend(statements, held))
                except Exception:
                    self.failures += 1
                    left = trusted_until - clock.monotonic()
                    logger.exception("heartbeat failed; leases are trusted for %.1f s more", max(left, 0.0))
                    gone = held if left <= 0 else set()
                else:
                    self.failures = 0
                    trusted_until = began + settings.lease_seconds * TRUSTED_SHARE
                if gone and not main_loop.is_closed():
                    main_loop.call_soon_threadsafe(self._lost, gone)
                await clock.wait(self._stop, settings.heartbeat_seconds)
        finally:
            await finish_left_alone(LAST_PATIENCE)
            await database.close()

    async def _extend(self, statements: DbOps, held: set[str]) -> set[str]:
        await statements.database.open()
        now = self._runtime.clock.now()
        lease_until = now + timedelta(seconds=self._runtime.settings.lease_seconds)
        return await statements.heartbeat(self._runtime.node_id, held, now, lease_until)

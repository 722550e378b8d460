"""A loop that survives what it runs."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

from modules.core.clock import Clock

logger = logging.getLogger(__name__)

FIRST_BACKOFF = 0.5
LAST_BACKOFF = 30.0


class BackgroundLoop:
    """Calls `tick` again and again; each call returns the seconds to wait before the next one.

    `wake()` cuts the wait short. An exception in a tick is logged and retried after 0.5 s, doubling up to 30 s;
    the loop itself ends only by `stop()`. `failures` counts the ticks that failed in a row, for health.
    """

    def __init__(self, name: str, tick: Callable[[], Awaitable[float]], clock: Clock) -> None:
        self.name = name
        self.failures = 0
        self._tick = tick
        self._clock = clock
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def running(self) -> bool:
        return self._task is not None and not self._task.done()

    def start(self) -> None:
        """Start the loop unless it runs already."""
        if not self.running:
            self._task = asyncio.create_task(self._run(), name=self.name)

    def wake(self) -> None:
        """Run the next tick now. Call it from the loop's own thread."""
        self._wake.set()

    async def stop(self) -> None:
        """End the loop and wait for it. Safe to call twice, and before start()."""
        task, self._task = self._task, None
        if task is None:
            return
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            try:
                delay = await self._tick()
                self.failures = 0
            except Exception:
                delay = min(FIRST_BACKOFF * 2**self.failures, LAST_BACKOFF)
                self.failures = min(self.failures + 1, 16)
                logger.exception("%s: a tick failed; next try in %.1f s", self.name, delay)
                # A wake-up is no reason to hammer a database that is away.
                await self._clock.wait(asyncio.Event(), delay)
                continue
            await self._clock.wait(self._wake, delay)

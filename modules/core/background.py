"""A loop that survives what it runs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from modules.core.clock import Clock
from modules.core.errors import Unavailable

T = TypeVar("T")
logger = logging.getLogger(__name__)

FIRST_BACKOFF = 0.5
LAST_BACKOFF = 30.0


def backoff_seconds(failures: int) -> float:
    """The wait after the `failures`-th failure in a row: 0.5 s, doubling up to 30 s."""
    return min(FIRST_BACKOFF * 2.0 ** min(failures - 1, 16), LAST_BACKOFF)


async def ended(task: asyncio.Task[Any], patience: float) -> bool:
    """Wait for the task to end, and cut it off after `patience` seconds: False when it had to be."""
    done, _ = await asyncio.wait((task,), timeout=patience)
    if not done:
        task.cancel()
        await asyncio.wait((task,), timeout=patience)
    return bool(done)


_left_alone: set[asyncio.Task[Any]] = set()


async def within(seconds: float, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, or TimeoutError after `seconds`; the work is then left alone, and not cut in half.

    A driver needs its own time to give up a statement on a dead connection or a locked file. It takes it without us.
    """
    task = asyncio.create_task(work)
    _left_alone.add(task)
    task.add_done_callback(_forget)
    done, _ = await asyncio.wait((task,), timeout=seconds)
    if not done:
        raise TimeoutError(f"no answer within {seconds:.1f} s")
    return task.result()


async def finish_left_alone(seconds: float) -> None:
    """Let what `within` left alone in this event loop come to its end, and after `seconds` cut it off."""
    loop = asyncio.get_running_loop()
    if mine := [task for task in _left_alone if task.get_loop() is loop]:
        _, late = await asyncio.wait(mine, timeout=seconds)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late, timeout=seconds)


def _forget(task: asyncio.Task[Any]) -> None:
    _left_alone.discard(task)
    if not task.cancelled():
        task.exception()  # seen, so that nobody complains that it was not


class SharedCall:
    """One call of `work` at a time, which everybody awaits together; a caller that is cancelled does not cut it short.

    Made for stopping: whoever asks first starts it, and whoever asks again gets the same end.
    """

    def __init__(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._work = work
        self._task: asyncio.Task[None] | None = None

    async def __call__(self) -> None:
        task = self._task
        if task is None or task.done() or task.get_loop() is not asyncio.get_running_loop():
            task = self._task = asyncio.create_task(self._work())
        await asyncio.shield(task)


class BackgroundLoop:
    """Calls `tick` again and again; each call returns the seconds to wait before the next one.

    `wake()` cuts the wait short. An exception in a tick is logged and followed by a wait that no wake-up shortens;
    the loop itself ends only by `stop()`. `failures` counts the ticks that failed in a row, for health.
    """

    def __init__(self, name: str, tick: Callable[[], Awaitable[float]], clock: Clock) -> None:
        self.name = name
        self.failures = 0
        self._tick = tick
        self._clock = clock
        self._wake = asyncio.Event()
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def running(self) -> bool:
        return self._task is not None and not self._task.done()

    def start(self) -> None:
        """Start the loop unless it runs already."""
        if not self.running:
            # New ones: an application may be started again in another event loop, and these belong to one.
            self._wake, self._stopping = asyncio.Event(), asyncio.Event()
            self._task = asyncio.create_task(self._run(), name=self.name)

    def wake(self) -> None:
        """Run the next tick now. Call it from the loop's own thread."""
        self._wake.set()

    async def stop(self, patience: float = LAST_BACKOFF) -> None:
        """End the loop after the tick under way, which is cut off only after `patience` seconds. Safe to call twice,
        and before start()."""
        task, self._task = self._task, None
        if task is None:
            return
        self._stopping.set()
        self._wake.set()
        if not await ended(task, patience):
            logger.error("%s: the tick under way did not end and was cut off", self.name)

    async def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.clear()
            try:
                delay = await self._tick()
            except Exception as error:
                self.failures += 1
                delay = backoff_seconds(self.failures)
                what = "%s: a tick failed (%s); next try in %.1f s"
                logger.log(logging.ERROR, what, self.name, error, delay, exc_info=not isinstance(error, Unavailable))
                # A wake-up is no reason to hammer a database that is away.
                await self._clock.wait(self._stopping, delay)
            else:
                self.failures = 0
                if not self._stopping.is_set():
                    await self._clock.wait(self._wake, delay)

"""The only file that reads time. Everything else is handed a Clock, or a `now`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Protocol


class Timer(Protocol):
    """Something that will happen, unless it is cancelled."""

    def cancel(self) -> object: ...


class Clock(Protocol):
    """Where time comes from."""

    def now(self) -> datetime:
        """The wall clock, aware, in UTC."""

    def monotonic(self) -> float:
        """Seconds that never go backwards; only differences mean anything."""

    async def wait(self, event: asyncio.Event, seconds: float) -> None:
        """Return when `event` is set or `seconds` have passed, whichever is first. Does not clear the event."""

    async def sleep_until(self, moment: datetime) -> None:
        """Return at `moment` or at once when it has passed."""

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        """Call `callback` on the running event loop when `seconds` have passed."""


class SystemClock:
    """The machine's clocks."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    async def wait(self, event: asyncio.Event, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, seconds)):
                await event.wait()

    async def sleep_until(self, moment: datetime) -> None:
        # Re-checked in short stretches, so that a suspended machine or a stepped clock is noticed.
        never = asyncio.Event()
        while (remaining := (moment - self.now()).total_seconds()) > 0:
            await self.wait(never, min(remaining, 30.0))

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        return asyncio.get_running_loop().call_later(seconds, callback)


def thread_cpu_seconds() -> float:
    """CPU time of the calling thread; differences are what one piece of work cost."""
    return time.thread_time()


def host_timezone_of(naive: datetime) -> datetime:
    """A naive datetime read as the host's local time, made aware: what `datetime.now()` in user code means."""
    return naive.astimezone()

"""For tests of tasks and schedules: a clock that stands still until it is moved, and the loop's work done at once.

clock = ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
async with AppContext(settings, clock=clock) as context:   # module_settings={"core.scheduler": {"enabled": False}}
    ...schedule something...
    clock.advance(hours=1)
    executions = await run_due(context)
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from modules.core.clock import Timer
from modules.core.scheduler.service import SchedulerService

if TYPE_CHECKING:
    from modules.core.app_context import AppContext


class ManualClock:
    """A Clock whose time moves only by `advance` and `set`. Loops that wait for it wake up when their time has come."""

    def __init__(self, now: datetime | None = None) -> None:
        self._now = _aware(now or datetime(2026, 1, 1, tzinfo=UTC))
        self._monotonic = 0.0
        self._sleepers: set[tuple[float, asyncio.Future[None]]] = set()

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    def advance(self, seconds: float = 0.0, *, minutes: float = 0.0, hours: float = 0.0, days: float = 0.0) -> datetime:
        """Let that much time pass, and return the new time."""
        step = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
        if step < timedelta(0):
            raise ValueError("advance() goes forwards only; use set() to put the wall clock back")
        self._now += step
        self._monotonic += step.total_seconds()
        for sleeper in [sleeper for sleeper in self._sleepers if sleeper[0] <= self._monotonic]:
            self._sleepers.discard(sleeper)
            if not sleeper[1].done():
                sleeper[1].set_result(None)
        return self._now

    def set(self, moment: datetime) -> datetime:
        """Move the wall clock to `moment`; backwards too, as a stepped clock does (the monotonic clock then stands)."""
        forwards = (_aware(moment) - self._now).total_seconds()
        if forwards >= 0:
            return self.advance(forwards)
        self._now = moment.astimezone(UTC)
        return self._now

    async def wait(self, event: asyncio.Event, seconds: float) -> None:
        """Return when `event` is set or that much manual time has passed."""
        if event.is_set() or seconds <= 0:
            await asyncio.sleep(0)
            return
        sleeper = (self._monotonic + seconds, asyncio.get_running_loop().create_future())
        self._sleepers.add(sleeper)
        signal = asyncio.create_task(event.wait())
        try:
            await asyncio.wait((signal, sleeper[1]), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._sleepers.discard(sleeper)
            signal.cancel()

    async def sleep_until(self, moment: datetime) -> None:
        """Return when the manual time has reached `moment`."""
        while self._now < moment:
            await self.wait(asyncio.Event(), (moment - self._now).total_seconds())

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        """Call `callback` when that much manual time has passed."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        sleeper = (self._monotonic + seconds, future)

        def over(done: asyncio.Future[None]) -> None:
            self._sleepers.discard(sleeper)
            if not done.cancelled():
                callback()

        future.add_done_callback(over)
        self._sleepers.add(sleeper)
        return future


async def run_due(scheduler: AppContext | SchedulerService) -> list[dict[str, Any]]:
    """Run everything that is due at the clock's present, follow-ups that fall due meanwhile included.

    Returns the executions in the order of their making, as `get_execution` shows them. Works with background
    processing switched off (the usual way in tests) and on.
    """
    service: SchedulerService = (
        scheduler if isinstance(scheduler, SchedulerService) else scheduler.get_service("core.scheduler.service")
    )
    return [(await service.get_execution(execution_id)).unwrap() for execution_id in await service.run_due()]


def _aware(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise ValueError("a clock needs an aware datetime: datetime(2026, 1, 1, tzinfo=UTC)")
    return moment.astimezone(UTC)

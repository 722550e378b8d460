"""A clock for tests of the core: time moves only when somebody waits, and each wait is remembered."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta


class WaitingClock:
    """`waits` holds the seconds of each wait(); a wait returns at once, as if they had passed."""

    def __init__(self, now: datetime | None = None) -> None:
        self.start = now or datetime(2026, 1, 1, tzinfo=UTC)
        self.passed = 0.0
        self.waits: list[float] = []

    def now(self) -> datetime:
        return self.start + timedelta(seconds=self.passed)

    def monotonic(self) -> float:
        return self.passed

    async def wait(self, event: asyncio.Event, seconds: float) -> None:
        self.waits.append(seconds)
        if not event.is_set():
            self.passed += seconds
        await asyncio.sleep(0)

    async def sleep_until(self, moment: datetime) -> None:
        await self.wait(asyncio.Event(), max(0.0, (moment - self.now()).total_seconds()))


class PatientClock(WaitingClock):
    """Waits as a real clock does, but only for the event: time never passes by itself. `waiting` is set meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting = asyncio.Event()

    async def wait(self, event: asyncio.Event, seconds: float) -> None:
        self.waits.append(seconds)
        self.waiting.set()
        await event.wait()
        self.waiting.clear()

"""One time for all nodes: the machine's clock, put right by the database's where the two disagree."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime, timedelta

from modules.core.clock import Clock, SystemClock, Timer
from modules.core.scheduler.status import apart

logger = logging.getLogger(__name__)

# Below a second the machine's own clock is better than what a network lets us know of another's.
FOLLOW_ABOVE = timedelta(seconds=1)
LEAVE_BELOW = timedelta(seconds=0.5)
# From here on somebody has to look after the machine.
WARN_ABOVE = timedelta(seconds=5)
LONGEST_STRETCH = 30.0


class ClusterClock:
    """A Clock that follows the database's while `machine` is more than a second off it.

    `offset` is the database's clock minus the machine's as last measured, None before; heartbeats measure it and tell
    it with `measured`, from any thread. `monotonic` and waiting stay the machine's.
    """

    def __init__(self, machine: Clock) -> None:
        self.machine = machine
        self.offset: timedelta | None = None
        self._correction = timedelta(0)
        self._warned = False

    def measured(self, offset: timedelta) -> None:
        """The database's clock is that far ahead of this machine's."""
        self.offset = offset
        following = bool(self._correction)
        # One assignment: another thread may ask for the time meanwhile.
        self._correction = offset if abs(offset) > (LEAVE_BELOW if following else FOLLOW_ABOVE) else timedelta(0)
        if self.off and not self._warned:
            logger.warning(
                "this machine's clock is %s the database's, which is followed instead: "
                "mend the machine's time synchronisation (NTP)",
                apart(offset),
            )
        self._warned = self.off

    @property
    def off(self) -> bool:
        """Whether the machine's clock is so wrong that somebody should look after it."""
        return self.offset is not None and abs(self.offset) > WARN_ABOVE

    @property
    def offset_ms(self) -> float | None:
        return None if self.offset is None else round(self.offset / timedelta(milliseconds=1), 1)

    def now(self) -> datetime:
        return self.machine.now() + self._correction

    def monotonic(self) -> float:
        return self.machine.monotonic()

    async def wait(self, event: asyncio.Event, seconds: float) -> None:
        await self.machine.wait(event, seconds)

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        return self.machine.call_later(seconds, callback)

    async def sleep_until(self, moment: datetime) -> None:
        never = asyncio.Event()
        while (remaining := (moment - self.now()).total_seconds()) > 0:
            await self.wait(never, min(remaining, LONGEST_STRETCH))


def cluster_clock(clock: Clock, dialect_name: str) -> Clock:
    """The clock to run by. SQLite's nodes share a machine and its clock; a test's own clock is left as it is."""
    return ClusterClock(clock) if dialect_name == "postgresql" and isinstance(clock, SystemClock) else clock

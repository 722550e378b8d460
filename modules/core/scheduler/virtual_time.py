"""An event loop on which time passes only while everybody waits for it: then it jumps to the next timer.

Everything that the loop runs is real: what waits for a database waits for it, and time stands still meanwhile.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime, timedelta
from typing import Any, TypeVar

from modules.core.clock import Timer
from modules.core.database import Database

T = TypeVar("T")

REAL_PATIENCE = 0.5  # seconds of one real wait for a thread
TICK = 1e-6  # who waits at all waits that long: a shorter wait would end before it began, for ever
GIVES_UP_AFTER = 60  # such waits in a row: what stands still for so long will not move without time


class VirtualLoop(asyncio.SelectorEventLoop):
    """`held()` around whatever waits for another thread: time stands still in it."""

    def __init__(self) -> None:
        self.passed = 0.0
        self.holds = 0
        super().__init__(_JumpingSelector(self))

    def time(self) -> float:
        return self.passed

    def jump(self, seconds: float) -> None:
        self.passed += seconds

    @contextmanager
    def held(self) -> Iterator[None]:
        self.holds += 1
        try:
            yield
        finally:
            self.holds -= 1


class _JumpingSelector(selectors.DefaultSelector):
    """Asked to wait for a timer, it lets time jump there; asked to wait for a thread, it waits."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop
        self._in_vain = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is not None and timeout <= 0:
            return super().select(0)
        for_thread = timeout is None or (self._loop.holds > 0 and self._in_vain < GIVES_UP_AFTER)
        ready = super().select(REAL_PATIENCE if for_thread else 0)
        if ready or timeout is None:
            self._in_vain = 0
        elif for_thread:
            self._in_vain += 1
        else:
            self._in_vain = 0
            self._loop.jump(timeout)
        return ready


class VirtualClock:
    """A Clock on a VirtualLoop. `step` moves the wall clock alone, as an adjustment or a suspended machine does."""

    def __init__(self, loop: VirtualLoop, start: datetime) -> None:
        self._loop = loop
        self._base = start - timedelta(seconds=self.monotonic())

    def now(self) -> datetime:
        return self._base + timedelta(microseconds=round(self.monotonic() * 1e6))

    def monotonic(self) -> float:
        return self._loop.passed

    def step(self, seconds: float) -> None:
        self._base += timedelta(seconds=seconds)

    async def wait(self, event: asyncio.Event, seconds: float) -> None:
        try:
            async with asyncio.timeout(max(TICK, seconds) if seconds > 0 else 0.0):
                await event.wait()
        except TimeoutError:
            return

    async def sleep_until(self, moment: datetime) -> None:
        never = asyncio.Event()
        while (remaining := (moment - self.now()).total_seconds()) > 0:
            await self.wait(never, remaining)

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        return self._loop.call_later(max(TICK, seconds), callback)


class HeldDatabase(Database):
    """A database that time stands still for."""

    loop: VirtualLoop

    async def open(self) -> None:
        with self.loop.held():
            await super().open()

    async def close(self) -> None:
        with self.loop.held():
            await super().close()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Any]:
        with self.loop.held():
            async with super().transaction() as connection:
                yield connection

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Any]:
        with self.loop.held():
            async with super().read() as connection:
                yield connection

    async def run(self, work: Callable[[Any], Awaitable[T]], *, lane: str | None = None) -> T:
        with self.loop.held():
            return await super().run(work, lane=lane)


def run_on_virtual_time(work: Callable[[VirtualLoop], Awaitable[T]]) -> T:
    """The result of `work(loop)`, run on a loop of its own. Call it where no event loop runs."""
    loop = VirtualLoop()

    async def main() -> T:
        return await work(loop)

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(main())


def virtual_database(loop: VirtualLoop, url: str, clock: VirtualClock, **options: Any) -> HeldDatabase:
    database = HeldDatabase(url, clock=clock, **options)
    database.loop = loop
    return database

"""The loop that survives what it runs."""

from __future__ import annotations

import asyncio
import logging

import pytest

from modules.core.background import BackgroundLoop, SharedCall, backoff_seconds, finish_left_alone, within
from tests.support.clock import PatientClock, WaitingClock


class Ticks:
    """A tick that ends in what it is told to, one thing a call, and then says `done`."""

    def __init__(self, *ends: float | Exception) -> None:
        self.ends = list(ends)
        self.count = 0
        self.done = asyncio.Event()

    async def __call__(self) -> float:
        self.count += 1
        end = self.ends.pop(0) if self.ends else 60.0
        if not self.ends:
            self.done.set()
        if isinstance(end, Exception):
            raise end
        return end


async def run_to_the_end(ticks: Ticks, clock: WaitingClock) -> BackgroundLoop:
    loop = BackgroundLoop("test", ticks, clock)
    loop.start()
    await ticks.done.wait()
    await loop.stop()
    return loop


async def test_a_tick_says_how_long_to_wait() -> None:
    """The loop waits just that long before the next one."""
    clock = WaitingClock()

    await run_to_the_end(Ticks(5.0, 0.0, 2.5, 1.0), clock)

    assert clock.waits[:3] == [5.0, 0.0, 2.5]


async def test_an_exception_does_not_end_the_loop(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged with its traceback, and the next tick comes."""
    ticks = Ticks(RuntimeError("the database is away"), 1.0, 1.0)

    with caplog.at_level(logging.ERROR, logger="modules.core.background"):
        loop = await run_to_the_end(ticks, WaitingClock())

    assert ticks.count >= 3
    assert loop.failures == 0
    assert "test: a tick failed" in caplog.text
    assert caplog.records[0].exc_info is not None


async def test_failures_in_a_row_back_off() -> None:
    """The waits double; a success starts them anew."""
    clock = WaitingClock()
    bad = RuntimeError("no")

    await run_to_the_end(Ticks(bad, bad, bad, 7.0, bad, 1.0), clock)

    assert clock.waits[:5] == [0.5, 1.0, 2.0, 7.0, 0.5]


async def test_failures_are_counted_for_health() -> None:
    """The count says how many ticks in a row have failed."""
    clock = PatientClock()
    loop = BackgroundLoop("test", Ticks(RuntimeError("no")), clock)
    loop.start()
    await clock.waiting.wait()

    assert loop.failures == 1
    await loop.stop()


def test_the_back_off_has_an_end() -> None:
    """Half a second, doubling up to 30."""
    assert [backoff_seconds(failures) for failures in (1, 2, 3, 6, 7, 8, 1_000_000)] == [0.5, 1, 2, 16, 30, 30, 30]


async def test_a_wake_up_cuts_the_wait_short() -> None:
    """Work that arrives is looked at now."""
    clock, ticks = PatientClock(), Ticks(3600.0, 3600.0)
    loop = BackgroundLoop("test", ticks, clock)
    loop.start()
    await clock.waiting.wait()
    assert ticks.count == 1

    loop.wake()
    await ticks.done.wait()

    assert ticks.count == 2
    await loop.stop()


async def test_a_wake_up_during_a_tick_is_not_lost() -> None:
    """What arrived after the tick had looked is found by the next one."""
    ticked: list[int] = []
    second = asyncio.Event()

    async def tick() -> float:
        ticked.append(1)
        if len(ticked) == 1:
            loop.wake()
        else:
            second.set()
        return 3600.0

    loop = BackgroundLoop("test", tick, PatientClock())
    loop.start()
    await second.wait()
    await loop.stop()

    assert len(ticked) == 2


async def test_a_wake_up_does_not_shorten_a_back_off() -> None:
    """A database that is away is not hammered."""
    clock, ticks = PatientClock(), Ticks(RuntimeError("no"))
    loop = BackgroundLoop("test", ticks, clock)
    loop.start()
    await clock.waiting.wait()

    for _ in range(5):
        loop.wake()
        await asyncio.sleep(0)

    assert ticks.count == 1
    await loop.stop()
    assert ticks.count == 1


async def test_stop_waits_for_the_tick_under_way() -> None:
    """No tick is cut in half."""
    started, go_on, finished = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def tick() -> float:
        started.set()
        await go_on.wait()
        finished.set()
        return 3600.0

    loop = BackgroundLoop("test", tick, PatientClock())
    loop.start()
    await started.wait()
    stopping = asyncio.create_task(loop.stop())
    await asyncio.sleep(0)
    assert not stopping.done()

    go_on.set()
    await stopping

    assert finished.is_set()
    assert not loop.running


async def test_stop_is_safe_before_start_and_twice() -> None:
    """Whoever cleans up need not know how far things went."""
    loop = BackgroundLoop("test", Ticks(1.0), PatientClock())
    await loop.stop()
    loop.start()
    assert loop.running
    await loop.stop()
    await loop.stop()
    assert not loop.running


async def test_a_stopped_loop_starts_again() -> None:
    """Start and stop are a pair that may be repeated; a second start changes nothing."""
    clock, ticks = PatientClock(), Ticks(3600.0, 3600.0)
    loop = BackgroundLoop("test", ticks, clock)
    loop.start()
    loop.start()
    await clock.waiting.wait()
    await loop.stop()
    assert ticks.count == 1

    loop.start()
    await ticks.done.wait()
    await loop.stop()
    assert ticks.count == 2


async def test_work_that_hangs_is_left_alone_and_cut_off_at_the_end() -> None:
    """The caller goes on in time; what the work does later harms nobody."""
    ends: list[str] = []

    async def hangs(name: str, release: asyncio.Event) -> None:
        try:
            await release.wait()
            raise ValueError("too late to matter")
        finally:
            ends.append(name)

    first, second = asyncio.Event(), asyncio.Event()
    for name, release in (("first", first), ("second", second)):
        with pytest.raises(TimeoutError):
            await within(0.01, hangs(name, release))
    assert ends == []
    first.set()
    await finish_left_alone(0.05)
    assert ends == ["first", "second"]
    assert await within(10, asyncio.sleep(0, "done")) == "done"


async def test_one_call_is_shared_and_outlives_whoever_waits() -> None:
    calls: list[int] = []
    release = asyncio.Event()

    async def work() -> None:
        calls.append(len(calls))
        await release.wait()
        calls.append(100)

    shared = SharedCall(work)
    waiting = [asyncio.create_task(shared()) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    release.set()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert calls == [0, 100]
    await shared()
    assert calls == [0, 100, 2, 100]

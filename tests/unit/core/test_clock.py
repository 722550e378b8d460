"""The machine's clocks, as the rest of the code may rely on them."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from modules.core.clock import SystemClock, host_timezone_of, thread_cpu_seconds


def test_now_is_aware_and_in_utc() -> None:
    """No naive time enters the system."""
    assert SystemClock().now().tzinfo is UTC


def test_monotonic_never_goes_back() -> None:
    """Only differences mean anything."""
    clock = SystemClock()
    assert clock.monotonic() <= clock.monotonic()


async def test_a_wait_ends_with_the_event() -> None:
    """Long before the seconds have passed, and the event stays set."""
    event = asyncio.Event()
    event.set()
    async with asyncio.timeout(5):
        await SystemClock().wait(event, 3600)
    assert event.is_set()


async def test_a_wait_ends_with_its_time() -> None:
    """Also when it is nothing or less."""
    event = asyncio.Event()
    async with asyncio.timeout(5):
        for seconds in (0.001, 0.0, -1.0):
            await SystemClock().wait(event, seconds)
    assert not event.is_set()


class NotedWaits(SystemClock):
    """The machine's clocks; `waits` holds the seconds of each wait()."""

    def __init__(self) -> None:
        self.waits: list[float] = []

    async def wait(self, event: asyncio.Event, seconds: float) -> None:
        self.waits.append(seconds)
        await super().wait(event, seconds)


async def test_a_moment_that_has_passed_needs_no_sleep() -> None:
    """sleep_until returns at once."""
    clock = NotedWaits()
    await clock.sleep_until(clock.now() - timedelta(days=1))
    await clock.sleep_until(clock.now())
    assert clock.waits == []


async def test_a_sleep_ends_at_its_moment_and_not_before() -> None:
    """By the wall clock, whatever the waits in between were worth."""
    clock = NotedWaits()
    moment = clock.now() + timedelta(milliseconds=5)
    await clock.sleep_until(moment)
    assert clock.now() >= moment
    assert clock.waits[0] <= 0.005


async def test_a_long_sleep_looks_at_the_clock_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that was suspended, or whose clock was set, is noticed within half a minute."""
    clock, begun = NotedWaits(), SystemClock().now()
    times = iter([begun, begun + timedelta(seconds=30), begun + timedelta(days=1)])
    monkeypatch.setattr(clock, "now", lambda: next(times))

    async def noted(_event: asyncio.Event, seconds: float) -> None:
        clock.waits.append(seconds)

    monkeypatch.setattr(clock, "wait", noted)
    await clock.sleep_until(begun + timedelta(hours=1))
    assert clock.waits == [30.0, 30.0]


def test_cpu_time_of_the_thread_grows() -> None:
    """Work costs something."""
    before = thread_cpu_seconds()
    while thread_cpu_seconds() == before:  # its steps are coarse on some machines
        sum(range(10_000))
    assert thread_cpu_seconds() > before


def test_a_naive_time_is_read_as_the_hosts() -> None:
    """The wall time stays what was written."""
    naive = datetime(2026, 6, 1, 12, 0)  # what user code writes
    aware = host_timezone_of(naive)
    assert aware.tzinfo is not None
    assert aware.replace(tzinfo=None) == naive

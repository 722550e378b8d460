"""How often a node's heart beats, in time that passes only while it waits."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Collection
from typing import Any

import pytest

from modules.core.scheduler import heartbeat as heartbeat_file
from modules.core.scheduler.db_ops import Heard
from modules.core.scheduler.db_ops.nodes import NodeStatements
from modules.core.scheduler.errors import DatabaseUnavailable
from modules.core.scheduler.heartbeat import Heartbeat
from modules.core.scheduler.loop_watch import LoopWatch
from tests.integration.scheduler.test_nodes import report
from tests.support.app import running_app
from tests.support.clock import WaitingClock


class Beats:
    """A heart that beats through ten minutes; `at` holds the moments of its statements, in seconds."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, held: Callable[[float], set[str]]) -> None:
        self.clock = WaitingClock()
        self.at: list[float] = []
        self.lost: list[tuple[float, str]] = []
        self.fails_from = float("inf")
        self.draining: Callable[[float], bool] = lambda _now: False
        self._held = held
        self._over = threading.Event()
        monkeypatch.setattr("modules.core.scheduler.heartbeat.SystemClock", lambda: self.clock)
        beats = self

        async def heartbeat(_self: Any, said: Any, ids: Any, *_arguments: Any) -> Heard:
            beats.at.append(beats.clock.passed)
            if beats.clock.passed >= beats.fails_from:
                raise DatabaseUnavailable("away")
            return Heard(set(ids), set(), False, None)

        monkeypatch.setattr(NodeStatements, "heartbeat", heartbeat)
        tell = heartbeat_file._tell

        def tell_at_once(loop: Any, what: Any, *arguments: Any) -> None:
            """What is lost is noted in the thread, whose time goes on before the test's event loop hears of it."""
            if what == self._note_lost:
                what(*arguments)
            else:
                tell(loop, what, *arguments)

        monkeypatch.setattr(heartbeat_file, "_tell", tell_at_once)

    def _note_lost(self, ids: Collection[str]) -> None:
        self.lost.extend((self.clock.passed, name) for name in ids)

    def executions(self) -> set[str]:
        if self.clock.passed >= 600:
            self._over.set()
        self._runtime.draining = self.draining(self.clock.passed)
        return self._held(self.clock.passed)

    async def through_ten_minutes(self, sqlite_url: str, lease: float) -> None:
        async with running_app(sqlite_url, lease_seconds=lease) as app:
            self._runtime = app.runtime
            heart = Heartbeat(
                app.runtime,
                LoopWatch(app.runtime.stepping, busy=lambda: False),
                self.executions,
                lost=self._note_lost,
                told=lambda heard: None,
            )
            heart.start(report(app.runtime.node_id))
            async with asyncio.timeout(60):
                while not self._over.is_set():
                    await asyncio.sleep(0.001)
            await heart.stop(10)
        self.at = [moment for moment in self.at if moment < 600]


@pytest.mark.parametrize("lease", [1, 30, 3600])
async def test_a_node_that_holds_nothing_beats_twice_a_minute(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch, lease: float
) -> None:
    beats = Beats(monkeypatch, lambda _now: set())
    await beats.through_ten_minutes(sqlite_url, lease)
    assert len(beats.at) in (19, 20)
    assert beats.lost == []


@pytest.mark.parametrize(("lease", "apart"), [(8, 2), (30, 7.5), (3600, 30)])
async def test_a_node_that_holds_something_beats_every_quarter_of_a_lease(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch, lease: float, apart: float
) -> None:
    beats = Beats(monkeypatch, lambda _now: {"an execution"})
    await beats.through_ten_minutes(sqlite_url, lease)
    assert {later - sooner for sooner, later in zip(beats.at, beats.at[1:], strict=False)} == {apart}


async def test_what_is_taken_on_after_a_rest_is_extended_in_time(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within a quarter of its lease, though the last heartbeat was long before."""
    beats = Beats(monkeypatch, lambda now: {"an execution"} if 100 <= now < 110 else set())
    await beats.through_ten_minutes(sqlite_url, 30)
    assert any(100 <= moment <= 107.5 for moment in beats.at)
    assert beats.lost == []


async def test_a_node_that_drains_says_soon_how_much_it_still_runs(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    beats = Beats(monkeypatch, lambda _now: set())
    beats.draining = lambda _now: True
    await beats.through_ten_minutes(sqlite_url, 30)
    assert len(beats.at) in (79, 80)


async def test_leases_are_trusted_from_when_they_were_given_not_from_the_last_heartbeat(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An idle node's last heartbeat says nothing about a claim that came after it: it keeps four fifths of its lease
    while the database is away, and no more."""
    beats = Beats(monkeypatch, lambda now: {"an execution"} if 100 <= now < 160 else set())
    beats.fails_from = 95
    await beats.through_ten_minutes(sqlite_url, 30)
    assert beats.lost[0] == (127.5, "an execution"), "seen first at 105, so it may be of 97.5, and 24 s are trusted"

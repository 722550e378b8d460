"""A task that blocks the event loop costs nobody a lease, and is named: in the log, in health, to the other nodes."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from modules.core.scheduler.cpu_meter import Metered, Stepping
from modules.core.scheduler.loop_watch import LoopWatch
from tests.support.app import MODULE, App, running_app
from tests.support.http import app_for, served

LEASE = 1


def sleep_on_the_loop(seconds: float) -> None:
    time.sleep(seconds)


def count_on_the_loop(seconds: float) -> None:
    until, number = time.monotonic() + seconds, 0
    while time.monotonic() < until:
        number += 1


async def blocks(parameters: dict[str, Any]) -> str:
    await asyncio.sleep(0.01)
    {"sleep": sleep_on_the_loop, "count": count_on_the_loop}[parameters["how"]](parameters["seconds"])
    return "done"


async def stands_by(parameters: dict[str, Any]) -> str:
    await asyncio.sleep(parameters["seconds"])
    return "done"


class Neighbour:
    """Another node, on an event loop of its own, where nobody blocks."""

    def __init__(self, app: App, loop: asyncio.AbstractEventLoop) -> None:
        self.app = app
        self._loop = loop

    def nodes(self) -> list[dict[str, Any]]:
        asked = asyncio.run_coroutine_threadsafe(self.app.service.list_nodes(), self._loop)
        return list(asked.result(20).unwrap()["nodes"])


@contextmanager
def neighbour(database_url: str) -> Iterator[Neighbour]:
    started: concurrent.futures.Future[Neighbour] = concurrent.futures.Future()
    over = threading.Event()

    async def live() -> None:
        async with running_app(database_url, enabled=True, lease_seconds=LEASE) as app:
            started.set_result(Neighbour(app, asyncio.get_running_loop()))
            while not over.is_set():
                await asyncio.sleep(0.01)

    thread = threading.Thread(target=lambda: asyncio.run(live()))
    thread.start()
    try:
        yield started.result(30)
    finally:
        over.set()
        thread.join(30)


@pytest.mark.parametrize("how", ["sleep", "count"])
async def test_who_blocks_the_loop_loses_no_lease_and_is_named(
    database_url: str, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    """For several leases, with a node beside it that recovers whatever it may."""
    seen: list[dict[str, Any]] = []
    with neighbour(database_url) as other:
        async with running_app(database_url, blocks, stands_by, enabled=True, lease_seconds=LEASE) as app:
            node_id = app.runtime.node_id

            def look() -> None:
                """What the other node shows while this one cannot answer."""
                until = time.monotonic() + 20
                while not seen and time.monotonic() < until:
                    [node] = [node for node in other.nodes() if node["id"] == node_id]
                    if node["loop_block"] and not node["loop_block"]["over"]:
                        seen.append(node)

            looking = threading.Thread(target=look)
            looking.start()
            waiting = await app.schedule("stands_by", parameters={"seconds": 5.5})
            blocking = await app.schedule("blocks", parameters={"how": how, "seconds": 5})
            for task_id in (waiting, blocking):
                async with asyncio.timeout(40):
                    while (await app.task(task_id))["status"] != "completed":
                        await asyncio.sleep(0.01)
                assert [(row["attempt"], row["state"]) for row in await app.history(task_id)] == [(1, "succeeded")]
            assert app.service.recovery.recovered == other.app.service.recovery.recovered == 0
            looking.join(20)

            status = (await app.service.status()).unwrap()
            assert status["status"] == "degraded"
            [reason] = status["reasons"]
            place = f"in {'sleep' if how == 'sleep' else 'count'}_on_the_loop"
            assert f"{MODULE}.blocks (task {blocking}, execution " in reason
            assert place in reason
            block = status["loop_block"]
            assert (block["function"], block["task_id"], block["over"]) == (f"{MODULE}.blocks", blocking, True)
            assert 4000 <= block["ms"] <= 8000
            async with asyncio.timeout(20):
                while True:
                    [node] = [node for node in (await app.service.list_nodes()).unwrap()["nodes"] if node["is_self"]]
                    if node["loop_block"] == block:
                        break
                    await asyncio.sleep(0.01)
    assert seen[0]["state"] == "running", "its heart beats"
    assert seen[0]["loop_block"]["task_id"] == blocking
    told = [record.getMessage() for record in caplog.records if record.name.endswith("loop_watch")]
    assert len(told) == 2, told
    assert "has been blocked for 1." in told[0]
    assert "is free again after" in told[1]
    for message in told:
        assert f"{MODULE}.blocks (task {blocking}, execution " in message
        assert "test_loop_watch.py:" in message
        assert place in message


async def test_the_api_tells_who_blocked(database_url: str) -> None:
    body = {
        "name": "blocks",
        "module_id": MODULE,
        "function_name": "blocks",
        "parameters": {"how": "sleep", "seconds": 1.6},
        "schedule_time": "2026-01-01T00:00:00Z",
        "allow_past": True,
    }
    async with served(app_for(database_url, blocks)) as api:
        assert (await api.get("/health")).json() == {"status": "ok"}
        task_id = (await api.post("/tasks", json=body)).json()["task_id"]
        async with asyncio.timeout(40):
            while not (status := (await api.get("/status")).json())["reasons"]:
                await asyncio.sleep(0.01)
            while (node := (await api.get("/nodes")).json()["nodes"][0])["loop_block"] is None:
                await asyncio.sleep(0.01)
        assert (await api.get("/health")).json() == {"status": "degraded"}
    assert "The event loop was blocked for 1." in status["reasons"][0]
    for block in (status["loop_block"], node["loop_block"]):
        assert (block["function"], block["task_id"]) == (f"{MODULE}.blocks", task_id)
        assert "test_loop_watch.py:" in block["where"]


class Watched:
    """A watch by itself; `busy` says whether anything is held."""

    def __init__(self) -> None:
        self.stepping = Stepping()
        self.busy = True
        self.watch = LoopWatch(self.stepping, lambda: self.busy)

    async def while_blocked(self, block: Any) -> None:
        """Call `block` on this event loop, watched from a thread."""
        main, ident, stop = asyncio.get_running_loop(), threading.get_ident(), threading.Event()

        async def watch() -> None:
            watching = asyncio.create_task(self.watch.run(main, ident, lambda: None))
            while not stop.is_set():
                await asyncio.sleep(0.01)
            watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watching

        thread = threading.Thread(target=lambda: asyncio.run(watch()))
        thread.start()
        try:
            await block()
        finally:
            stop.set()
            while thread.is_alive():
                await asyncio.sleep(0.01)
            thread.join()


async def test_what_blocks_outside_of_all_tasks_is_named_by_its_place(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The application around the scheduler has the same event loop."""
    watched = Watched()

    async def block() -> None:
        await asyncio.sleep(0.3)
        sleep_on_the_loop(1.6)
        while not watched.watch.block or not watched.watch.block.over:
            await asyncio.sleep(0.01)

    await watched.while_blocked(block)
    assert "code outside of all task functions at scheduler/test_loop_watch.py:" in caplog.text
    assert "in sleep_on_the_loop" in caplog.text
    assert watched.watch.block is not None
    assert watched.watch.block.execution_id is None


async def test_who_is_not_blocked_or_holds_nothing_hears_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """Short steps are nobody's business, and an idle node is not watched."""
    watched = Watched()

    async def short_steps() -> None:
        for _ in range(15):
            sleep_on_the_loop(0.1)
            await asyncio.sleep(0)

    await watched.while_blocked(short_steps)
    watched.busy = False

    async def one_long() -> None:
        await asyncio.sleep(0.3)
        sleep_on_the_loop(1.5)

    await watched.while_blocked(one_long)
    assert watched.watch.block is None
    assert caplog.records == []


async def test_a_watch_that_rests_is_woken_by_the_first_that_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is looked at while there is nothing to see."""
    monkeypatch.setattr("modules.core.scheduler.loop_watch.RESTS_AFTER", 0.1)
    watched = Watched()
    watched.busy = False

    async def rest_then_block() -> None:
        while not watched.stepping.resting:
            await asyncio.sleep(0.01)
        watched.busy = True
        watched.stepping.wake()
        await asyncio.sleep(0.5)
        sleep_on_the_loop(1.5)
        while watched.watch.block is None:
            await asyncio.sleep(0.01)

    async with asyncio.timeout(20):
        await watched.while_blocked(rest_then_block)


async def test_holding_something_wakes_the_watch(sqlite_url: str) -> None:
    async with running_app(sqlite_url, stands_by) as app:
        woken: list[bool] = []
        app.runtime.stepping.wake = lambda: woken.append(True)
        await app.schedule("stands_by", parameters={"seconds": 0})
        await app.service.run_due()
        assert woken == [], "it looks anyway"
        app.runtime.stepping.resting = True
        await app.schedule("stands_by", parameters={"seconds": 0})
        await app.service.run_due()
        assert woken == [True]


async def test_only_the_step_under_way_is_noted() -> None:
    stepping = Stepping()
    noted: list[object] = []

    async def steps() -> None:
        for _ in range(2):
            noted.append(stepping.current)
            await asyncio.sleep(0)
        raise ValueError("its end")

    with pytest.raises(ValueError, match="its end"):
        await Metered(steps(), stepping, "me")
    assert noted == ["me", "me"]
    assert stepping.current is None

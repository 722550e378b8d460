"""Nodes among each other, with real clocks: drained and resumed, with clocks that differ, set up differently."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Any

import pytest

from modules.core.clock import SystemClock
from modules.core.scheduler.cluster_clock import ClusterClock
from tests.support.app import App, running_app

MOMENT = timedelta(milliseconds=50)


class Shifted(SystemClock):
    """The clock of a machine whose time is wrong."""

    def __init__(self, seconds: float) -> None:
        self._shift = timedelta(seconds=seconds)

    def now(self) -> datetime:
        return super().now() + self._shift


class Runs:
    """A task function for each node that notes who ran it and when, by the right time."""

    def __init__(self) -> None:
        self.by: list[tuple[str, str, datetime]] = []
        self.release = asyncio.Event()

    def of(self, node: str) -> Any:
        async def work(parameters: dict[str, Any], context: Any) -> None:
            self.by.append((node, context.task_id, SystemClock().now()))
            if parameters.get("wait"):
                await self.release.wait()

        work.__name__ = node
        return work

    async def number(self, wanted: int) -> list[tuple[str, str, datetime]]:
        async with asyncio.timeout(30):
            while len(self.by) < wanted:
                await asyncio.sleep(0.01)
        return self.by


async def node_of(app: App, seen_by: App | None = None) -> dict[str, Any]:
    nodes = (await (seen_by or app).service.list_nodes()).unwrap()["nodes"]
    [node] = [node for node in nodes if node["id"] == app.runtime.node_id]
    return node


async def until(app: App, field: str, value: Any, seen_by: App) -> None:
    async with asyncio.timeout(20):
        while (await node_of(app, seen_by))[field] != value:
            await asyncio.sleep(0.01)


async def test_a_drained_node_takes_on_nothing_and_lets_what_runs_end(database_url: str) -> None:
    """At once, though an idle node's next heartbeat is half a minute away: nodes tell each other."""
    runs = Runs()
    async with (
        running_app(database_url, runs.of("first"), enabled=True) as first,
        running_app(database_url, enabled=True) as second,
    ):
        async with asyncio.timeout(20):
            while not (first.service.cluster.wakeups.listening and second.service.cluster.wakeups.listening):
                await asyncio.sleep(0.01)
        assert [node["is_self"] for node in (await first.service.list_nodes()).unwrap()["nodes"]] == [True, False]
        running = await first.schedule("first", parameters={"wait": True})
        await runs.number(1)

        answer = (await second.service.drain_node(first.runtime.node_id)).unwrap()
        assert answer == {"node_id": first.runtime.node_id, "status": "draining"}
        await until(first, "state", "draining", second)
        assert (await node_of(first, second))["running"] == 1
        waiting = await first.schedule("first")
        assert (await first.service.status()).unwrap()["draining"] is True
        runs.release.set()
        async with asyncio.timeout(20):
            while (await first.task(running))["status"] != "completed":
                await asyncio.sleep(0.01)
        await until(first, "running", 0, second)
        assert (await first.task(waiting))["status"] == "pending"
        assert len(runs.by) == 1
        assert (await first.service.vitals()).health() == "ok", "it does as it was told"

        assert (await second.service.resume_node(first.runtime.node_id)).unwrap()["status"] == "running"
        await runs.number(2)
        assert runs.by[1][1] == waiting
        await until(first, "state", "running", second)


async def test_a_node_drains_itself_when_it_is_asked(sqlite_url: str) -> None:
    runs = Runs()
    async with running_app(sqlite_url, runs.of("only"), enabled=True) as app:
        await app.service.drain_node(app.runtime.node_id)
        await until(app, "state", "draining", app)
        await app.schedule("only")
        await app.service.stop()
        assert runs.by == []
        await app.service.start_background_processing()
        await runs.number(1)
        assert not app.runtime.draining, "a new start is a new node"


@pytest.mark.parametrize("node_id", ["0199c0de-0000-7000-8000-000000000000", "nonsense", ""])
async def test_only_a_node_on_the_list_can_be_drained(sqlite_url: str, node_id: str) -> None:
    async with running_app(sqlite_url) as app:
        for result in (await app.service.drain_node(node_id), await app.service.resume_node(node_id)):
            assert result.error is not None
            assert result.error["code"] == "NODE_NOT_FOUND"


async def test_a_stop_is_not_undone_by_a_heartbeat(sqlite_url: str) -> None:
    """It says of itself that it drains until it is gone."""
    runs = Runs()
    async with running_app(sqlite_url, runs.of("only"), enabled=True, lease_seconds=1) as app:
        await app.schedule("only", parameters={"wait": True})
        await runs.number(1)
        stopping = asyncio.create_task(app.service.stop())
        await until(app, "state", "draining", app)
        before = (await node_of(app))["heartbeat_at"]
        while (await node_of(app))["heartbeat_at"] == before:
            assert not stopping.done()
            await asyncio.sleep(0.01)
        assert (await node_of(app))["state"] == "draining"
        runs.release.set()
        await stopping


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
@pytest.mark.parametrize("shift", [600.0, -600.0])
async def test_clocks_ten_minutes_apart_start_nothing_early_and_break_no_lease(
    postgres_url: str, driver: str, shift: float, caplog: pytest.LogCaptureFixture
) -> None:
    """The wrong one follows the database's, and says so until somebody mends it."""
    url = postgres_url.replace("psycopg", driver)
    runs = Runs()
    async with (
        running_app(url, runs.of("right"), enabled=True, lease_seconds=1) as right,
        running_app(url, runs.of("wrong"), enabled=True, lease_seconds=1, clock=Shifted(shift)) as wrong,
    ):
        assert abs(wrong.runtime.clock.now() - SystemClock().now()) < MOMENT
        now = SystemClock().now()
        both = (("right", right), ("wrong", wrong))
        held = [await app.schedule(node, schedule_time=now, parameters={"wait": True}) for node, app in both]
        later = [await app.schedule(node, schedule_time=now + timedelta(minutes=5)) for node, app in both]
        soon = [await app.schedule(node, schedule_time=now + timedelta(seconds=3.5)) for node, app in both]
        await runs.number(2)
        # Three leases long, both are held by heartbeats of nodes whose clocks do not agree.
        async with asyncio.timeout(30):
            while SystemClock().now() < now + timedelta(seconds=3):
                await asyncio.sleep(0.05)
        assert right.service.recovery.recovered == wrong.service.recovery.recovered == 0
        runs.release.set()
        for _, task_id, at in (await runs.number(4))[2:]:
            assert task_id in soon
            assert now + timedelta(seconds=3.5) - MOMENT <= at < now + timedelta(seconds=10)
        for task_id in held:
            async with asyncio.timeout(20):
                while (await right.task(task_id))["status"] != "completed":
                    await asyncio.sleep(0.01)
            assert [row["attempt"] for row in await right.history(task_id)] == [1]
        assert [(await right.task(task_id))["execution_count"] for task_id in later] == [0, 0]

        assert (await right.service.vitals()).health() == "ok"
        status = (await wrong.service.status()).unwrap()
        assert status["status"] == "degraded"
        [reason] = status["reasons"]
        assert f"600.0 s {'ahead of' if shift > 0 else 'behind'} the database's" in reason
        assert "NTP" in reason
        assert (await node_of(wrong, right))["clock_offset_ms"] == pytest.approx(-shift * 1000, abs=50)
    assert sum("NTP" in message for message in caplog.messages) == 1


async def test_a_clock_is_measured_again_with_each_heartbeat(postgres_url: str) -> None:
    """A machine that is put right, or goes wrong, is noticed without a restart."""
    machine = Shifted(0)
    runs = Runs()
    async with running_app(postgres_url, runs.of("only"), enabled=True, lease_seconds=1, clock=machine) as app:
        clock = app.runtime.clock
        assert isinstance(clock, ClusterClock)
        await app.schedule("only", schedule_time=SystemClock().now(), parameters={"wait": True})
        await runs.number(1)
        for seconds in (-600, 0):
            machine._shift = timedelta(seconds=seconds)
            async with asyncio.timeout(20):
                while clock.off is (seconds == 0):
                    await asyncio.sleep(0.01)
            assert abs(clock.now() - SystemClock().now()) < timedelta(seconds=1)
        runs.release.set()


async def test_who_does_not_dispatch_goes_by_the_right_time_too(postgres_url: str) -> None:
    """It says what is in the past, and where intervals begin."""
    async with running_app(postgres_url, clock=Shifted(600)) as app:
        assert abs(app.runtime.clock.now() - SystemClock().now()) < MOMENT


async def test_a_node_with_another_lease_works_and_is_pointed_out(
    database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    runs = Runs()
    async with running_app(database_url, runs.of("first"), enabled=True, lease_seconds=30) as first:
        assert (await first.service.vitals()).health() == "ok"
        assert "CORE_SCHEDULER_LEASE_SECONDS" not in caplog.text
        async with running_app(database_url, runs.of("second"), enabled=True, lease_seconds=7.5) as second:
            assert "other nodes have leases of 30 s, this one of 7.5 s" in caplog.text
            for app, others, own in ((first, "7.5", "30"), (second, "30", "7.5")):
                status = (await app.service.status()).unwrap()
                assert status["status"] == "degraded"
                [reason] = status["reasons"]
                assert f"Other nodes have leases of {others} s, this one of {own} s" in reason
            await second.schedule("second")
            await runs.number(1)
        assert (await first.service.vitals()).health() == "ok", "it is gone"

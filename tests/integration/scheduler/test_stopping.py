"""A stop comes to its end: when it is asked for twice, given up on, in another event loop, with the database away."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
from typing import Any

import pytest

from modules.app import create_app
from modules.core.app_context import AppContext
from modules.core.background import backoff_seconds
from modules.core.scheduler import service
from modules.core.scheduler.db_ops.base import NODES
from modules.core.scheduler.db_ops.nodes import NodeStatements
from modules.core.scheduler.errors import DatabaseUnavailable
from modules.core.settings import AppSettings
from tests.integration.scheduler.conftest import work
from tests.integration.scheduler.test_recovery import _claim_and_die, finished
from tests.support.app import App, running_app


async def endless(parameters: dict[str, Any]) -> None:
    await asyncio.Event().wait()


def test_an_application_may_be_started_again_in_another_event_loop(sqlite_url: str) -> None:
    """As test clients do with an application that is made once, at the top of a module."""
    app = create_app(AppSettings.load(database_url=sqlite_url))
    context: AppContext = app.state.context
    context.get_service("core.scheduler.tasks").register("again", work)

    async def once() -> None:
        async with app.router.lifespan_context(app):
            scheduler = context.get_service("core.scheduler.service")
            task = {"name": "n", "module_id": "again", "function_name": "work", "schedule_time": context.clock.now()}
            task_id = (await scheduler.schedule_task(task)).unwrap()["task_id"]
            async with asyncio.timeout(20):
                while (await scheduler.get_task(task_id)).unwrap()["status"] != "completed":
                    await asyncio.sleep(0.01)
            assert (await scheduler.vitals()).health() == "ok"

    for _ in range(3):
        asyncio.run(once())
    with contextlib.closing(sqlite3.connect(context.database.url.database or "")) as database:
        assert database.execute("SELECT count(*) FROM scheduler_nodes").fetchone() == (0,)


async def test_whoever_asks_twice_gets_the_same_stop(sqlite_url: str) -> None:
    async with running_app(sqlite_url, endless, enabled=True, drain_timeout_seconds=0.1) as app:
        task_id = await app.schedule("endless")
        while not app.service.job_manager.running:
            await asyncio.sleep(0.01)
        await asyncio.gather(*(app.service.stop() for _ in range(3)), app.service.stop())
        assert [row["state"] for row in await app.history(task_id)] == ["interrupted", "ready"]
        await asyncio.gather(*(app.context.stop() for _ in range(3)))


async def test_a_caller_that_gives_up_cuts_no_stop_short(sqlite_url: str) -> None:
    async with running_app(sqlite_url, endless, enabled=True, drain_timeout_seconds=0.3) as app:
        await app.schedule("endless")
        while not app.service.job_manager.running:
            await asyncio.sleep(0.01)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(app.context.stop(), 0.05)
        await app.context.stop()
        names = {task.get_name() for task in asyncio.all_tasks()}
        assert not [name for name in names if name.startswith(("core.scheduler", "execution"))]
        assert not [thread for thread in threading.enumerate() if thread.name == "core.scheduler heartbeat"]


async def test_a_stop_during_a_start_lets_it_finish_first(sqlite_url: str) -> None:
    context = AppContext(AppSettings.load(database_url=sqlite_url))
    starting = asyncio.create_task(context.start())
    await asyncio.sleep(0)
    await context.stop()
    await starting
    assert not context.get_service("core.scheduler.service").is_running


async def test_a_stop_cuts_one_wait_for_the_database_short_and_waits_between_further_tries(app: App) -> None:
    """It is tried again at once, in case the database is back; after that it is not hammered."""
    recorder = app.service.job_manager.recorder
    recorder.start()
    task_id = await app.schedule()
    [claim] = await _claim_and_die(app)
    complete = app.runtime.db_ops.complete_executions

    async def refuse(*_arguments: Any) -> Any:
        raise DatabaseUnavailable("away")

    app.runtime.db_ops.complete_executions = refuse  # type: ignore[method-assign]
    app.service.job_manager.jobs.hold(claim)
    recorder.put(finished(claim, app.clock.now()))
    await _turns(50)
    assert recorder.failures == 1, "this clock stands still, so the wait has no end"
    stopping = asyncio.create_task(recorder.stop(60))
    await _turns(50)
    assert recorder.failures == 2
    assert not stopping.done()
    app.runtime.db_ops.complete_executions = complete  # type: ignore[method-assign]
    app.clock.advance(backoff_seconds(2))
    await stopping
    assert app.service.job_manager.running == set()
    assert [row["state"] for row in await app.history(task_id)] == ["succeeded"]


async def _turns(number: int) -> None:
    """Let everything that can go on go on; nothing here waits for anything outside."""
    for _ in range(number):
        await asyncio.sleep(0)


async def test_a_heartbeat_that_hangs_costs_the_runs_their_trust(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that died without a word: another node takes over when the lease is out."""
    stopped = asyncio.Event()

    async def until_cancelled(parameters: dict[str, Any]) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    async def hangs(*_arguments: Any) -> set[str]:
        while True:  # a driver that does not let go
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(5)
                return set()

    monkeypatch.setattr(NodeStatements, "heartbeat", hangs)
    async with running_app(sqlite_url, until_cancelled, enabled=True, lease_seconds=1, drain_timeout_seconds=0) as app:
        await app.schedule("until_cancelled")
        async with asyncio.timeout(20):
            await stopped.wait()


async def test_a_stop_ends_while_somebody_else_holds_the_database(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "STEP_PATIENCE", 0.2)
    monkeypatch.setattr(service, "RECORDER_PATIENCE", 0.2)
    monkeypatch.setattr("modules.core.database.BUSY_TIMEOUT_MS", 1000)
    async with running_app(sqlite_url, work, enabled=True) as app:
        other = sqlite3.connect(app.context.database.url.database or "", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        try:
            async with asyncio.timeout(60):
                await app.service.stop()
        finally:
            other.execute("ROLLBACK")
            other.close()
        async with app.context.database.transaction() as connection:
            await connection.execute(NODES.delete())

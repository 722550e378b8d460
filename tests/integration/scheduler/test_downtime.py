"""A start after a downtime: how long it was, what it left overdue, and that this is what then happens."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest

from modules.core.ids import new_id
from modules.core.scheduler import coming_back
from modules.core.scheduler.db_ops import NodeReport
from modules.core.scheduler.testing import ManualClock
from tests.integration.scheduler.conftest import work
from tests.support.app import NOON, App, manual_clock, running_app

HOUR = timedelta(hours=1)


@pytest.fixture
def clock() -> ManualClock:
    return manual_clock()


@pytest.fixture
def a_process(database_url: str, clock: ManualClock) -> Callable[[], AbstractAsyncContextManager[App]]:
    """One after the other on the same database; what they do in the background the tests let them do."""
    return partial(running_app, database_url, work, clock=clock)


async def start(app: App) -> None:
    """What a start does before anything fires, without the loops."""
    app.runtime.node_id = new_id()
    downtime = await app.runtime.db_ops.join_node(_report(app.runtime.node_id), app.runtime.lease_now())
    await coming_back.come_back(app.runtime, app.service.trigger_manager, downtime)


async def leave(app: App) -> None:
    await app.runtime.db_ops.leave_node(app.runtime.node_id, app.runtime.lease_now())


def _report(node_id: str) -> NodeReport:
    return NodeReport(id=node_id, version="1", host="here", pid=1, slots=10, lease_seconds=30)


async def told(app: App) -> dict[str, Any] | None:
    status = (await app.service.status()).unwrap()
    downtime: dict[str, Any] | None = status["downtime"]
    return downtime


@pytest.mark.parametrize("in_order", [True, False])
async def test_it_lasts_from_the_last_sign_of_life_to_the_start(app: App, in_order: bool) -> None:
    await start(app)
    assert await told(app) is None
    app.clock.advance(hours=1)
    if in_order:
        await leave(app)
        began = NOON + HOUR
    else:
        began = NOON  # where no heartbeat came since
    app.clock.set(NOON + HOUR + timedelta(hours=2, minutes=14))
    await start(app)
    downtime = await told(app)
    assert downtime is not None
    assert (downtime["from"], downtime["until"]) == (began, app.clock.now())
    assert downtime["summary"].endswith("no fire time fell into it")
    assert app.runtime.back_since == app.clock.now()


async def test_a_short_restart_is_none(app: App) -> None:
    for restart in (leave, None):
        await start(app)
        if restart is not None:
            await restart(app)
        app.clock.advance(seconds=60)
        await start(app)
        assert await told(app) is None
        assert app.runtime.back_since is None
        app.clock.advance(seconds=1)


async def test_while_another_node_lives_there_is_none(app: App) -> None:
    await app.runtime.db_ops.join_node(_report("another"), app.clock.now())
    await start(app)
    await leave(app)
    app.clock.advance(hours=1)
    await app.runtime.db_ops.heartbeat(
        _report("another"), (), app.runtime.lease_now(), timedelta(seconds=30), app.runtime.clock
    )
    app.clock.advance(seconds=30)
    await start(app)
    assert await told(app) is None


async def test_the_nodes_that_start_next_spread_their_work_too(app: App) -> None:
    await start(app)
    app.clock.advance(hours=1)
    await start(app)
    ended = app.clock.now()
    app.clock.advance(seconds=20)
    app.runtime.back_since = None
    await start(app)
    assert app.runtime.back_since == ended
    [first] = [(await told(app))]
    assert first is not None
    assert first["until"] == ended, "a second node found the same downtime again"


async def test_it_tells_what_then_happens(app: App, caplog: pytest.LogCaptureFixture) -> None:
    await start(app)
    tasks = {
        "hourly": await app.schedule(interval="1 hour"),
        "ten minutes": await app.schedule(interval="10 minutes", catch_up="all", catch_up_limit=3),
        "none": await app.schedule(interval="30 minutes", catch_up="none"),
        "limited": await app.schedule(interval="15 minutes", catch_up="all", max_executions=2),
        "once": await app.schedule(schedule_time=NOON + HOUR, priority=7),
        "expired": await app.schedule(schedule_time=NOON + HOUR, expires_at=NOON + 2 * HOUR, priority=-3),
        "later": await app.schedule(schedule_time=NOON + 9 * HOUR),
        "delay": await app.schedule(interval="20 minutes", mode="fixed_delay"),
        "paused": await app.schedule(interval="20 minutes"),
        "elsewhere": await app.schedule(interval="20 minutes"),
        "broken": await app.schedule(interval="20 minutes"),
    }
    (await app.service.pause_task(tasks["paused"])).unwrap()
    await app.sql("UPDATE scheduler_events SET function_name = 'other' WHERE id = :id", id=tasks["elsewhere"])
    await app.sql("UPDATE scheduler_events SET interval_type = 'eons' WHERE id = :id", id=tasks["broken"])
    app.clock.advance(hours=3, minutes=7)
    with caplog.at_level(logging.WARNING, logger="modules.core.scheduler.coming_back"):
        await start(app)
    came = {"hourly": 3, "ten minutes": 18, "none": 6, "limited": 12, "once": 1, "expired": 1, "delay": 1}
    ran = {"hourly": 1, "ten minutes": 3, "limited": 2, "once": 1, "delay": 1}
    downtime = await told(app)
    assert downtime is not None
    assert {name: downtime[name] for name in ("tasks", "fire_times", "to_run", "missed", "complete")} == {
        "tasks": len(came),
        "fire_times": sum(came.values()),
        "to_run": sum(ran.values()),
        "missed": sum(came.values()) - sum(ran.values()),
        "complete": True,
    }
    sentence = "down 3 h 7 min: 42 fire times of 7 tasks; 8 will run, 34 recorded as missed"
    assert downtime["summary"] == sentence
    assert [record.getMessage() for record in caplog.records] == [sentence]
    executions = await app.run_due()
    app.clock.advance(seconds=60)
    executions += await app.run_due()
    runs = {name: sum(row["task_id"] == tasks[name] for row in executions) for name in tasks}
    assert {name: number for name, number in runs.items() if number} == ran
    missed = {name: sum(span[2] for span in await app.missed(tasks[name])) for name in came}
    assert missed == {name: came[name] - ran.get(name, 0) for name in came}


async def test_it_counts_the_first_tasks_only(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coming_back, "MOST_TASKS", 3)
    await start(app)
    for priority in (0, 5, 0, -5):
        await app.schedule(interval="1 hour", priority=priority)
    app.clock.advance(hours=2)
    await start(app)
    downtime = await told(app)
    assert downtime is not None
    assert (downtime["tasks"], downtime["fire_times"], downtime["complete"]) == (3, 6, False)
    assert "at least 6 fire times of at least 3 tasks" in downtime["summary"]


async def test_a_year_of_every_second_costs_one_row(app: App) -> None:
    await start(app)
    task_id = await app.schedule(interval="1 second")
    app.clock.advance(days=365)
    await start(app)
    seconds = 365 * 86_400
    downtime = await told(app)
    assert downtime is not None
    assert (downtime["fire_times"], downtime["to_run"], downtime["missed"]) == (seconds, 1, seconds - 1)
    app.clock.advance(seconds=1)
    [execution] = await app.run_due()
    assert execution["scheduled_for"] == app.clock.now()
    [span] = await app.missed(task_id)
    assert span[2:] == (seconds, "coalesced")


async def test_a_century_of_every_second_stops_nothing(app: App) -> None:
    task_id = await app.schedule(interval="1 second")
    app.clock.set(datetime(2126, 3, 2, 12, tzinfo=NOON.tzinfo))
    [execution] = await app.run_due()
    assert execution["success"]
    [span] = await app.missed(task_id)
    assert span[2] == 2**31 - 1
    app.clock.advance(seconds=1)
    assert len(await app.run_due()) == 1


async def test_the_background_processing_begins_with_it(
    a_process: Callable[..., AbstractAsyncContextManager[App]], clock: ManualClock
) -> None:
    """Over a stop in order, by the processes themselves."""
    async with a_process(enabled=True) as app:
        task_id = await app.schedule(interval="1 hour")
    clock.advance(hours=5)
    async with a_process(enabled=True) as app:
        downtime = await told(app)
        assert downtime is not None
        assert downtime["summary"] == "down 5 h: 5 fire times of 1 task; 1 will run, 4 recorded as missed"
        assert app.runtime.back_since == clock.now()
        assert (await app.task(task_id))["next_execution"] is not None

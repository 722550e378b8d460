"""Who may write what: an execution is closed by its holder only, and the numbers that say so grow."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from modules.core.scheduler.db_ops import completion, queues
from modules.core.scheduler.db_ops.base import EVENTS, EXECUTIONS
from tests.integration.scheduler.conftest import work
from tests.integration.scheduler.test_recovery import LEASE, _claim_and_die, finished
from tests.support.app import App, manual_clock, running_app


async def _rows(app: App) -> list[Any]:
    """Every event and every execution with all their columns."""
    async with app.context.database.read() as connection:
        return [
            *(await connection.execute(EVENTS.select().order_by(EVENTS.c.id))).all(),
            *(await connection.execute(EXECUTIONS.select().order_by(EXECUTIONS.c.id))).all(),
        ]


@pytest.mark.parametrize("difference", [-1, 1])
async def test_an_outcome_under_another_fence_changes_nothing(app: App, difference: int) -> None:
    """The execution is running and the id is right; the holder is not."""
    task_id = await app.schedule()
    [claim] = await _claim_and_die(app)
    before = await _rows(app)
    settler, now = app.service.job_manager.settler, app.clock.now()
    theirs = finished(claim, now, fence=claim.fence + difference)
    assert (await app.runtime.db_ops.complete_executions([theirs], settler, now)).ids == set()
    assert await _rows(app) == before
    mine = finished(claim, now)
    assert (await app.runtime.db_ops.complete_executions([mine], settler, now)).ids == {claim.execution_id}
    assert [row["state"] for row in await app.history(task_id)] == ["succeeded"]


async def test_in_a_batch_only_those_of_the_right_fence_are_recorded(app: App) -> None:
    mine, theirs = await app.schedule(), await app.schedule()
    claims = {claim.event.id: claim for claim in await _claim_and_die(app)}
    now = app.clock.now()
    batch = [finished(claims[mine], now, fence=1), finished(claims[theirs], now, fence=2)]
    recorded = await app.runtime.db_ops.complete_executions(batch, app.service.job_manager.settler, app.clock.now())
    assert recorded.ids == {claims[mine].execution_id}
    assert [row["state"] for row in await app.history(theirs)] == ["running"]
    assert (await app.task(theirs))["execution_count"] == 0


async def test_the_closing_statement_itself_asks_for_the_fence(app: App) -> None:
    """Beside the comparison before it: whoever calls it with what it read too long ago closes nothing."""
    await app.schedule()
    [claim] = await _claim_and_die(app)
    before = await _rows(app)
    stale = completion._closed_row(finished(claim, app.clock.now(), fence=claim.fence - 1))
    async with app.context.database.transaction() as connection:
        assert await completion._CLOSE(connection, [stale]) == 0
    assert await _rows(app) == before


async def test_each_occurrence_and_each_run_by_hand_has_a_higher_fence(app: App) -> None:
    task_id = await app.schedule(interval="1 hour")
    for _ in range(2):
        app.clock.advance(hours=1)
        await app.run_due()
    await app.service.execute_task(task_id)
    await app.run_due()
    async with app.context.database.read() as connection:
        fences = (await connection.execute(EXECUTIONS.select().order_by(EXECUTIONS.c.id))).all()
    numbers = [row.fence for row in fences]
    assert numbers == sorted(set(numbers))
    assert len(numbers) == 3


async def test_a_heartbeat_revives_nothing_that_was_closed_and_takes_nothing_of_another_node(app: App) -> None:
    await app.schedule()
    [claim] = await _claim_and_die(app)
    now, lease = app.clock.now(), timedelta(seconds=LEASE)
    assert await app.runtime.db_ops.extend_leases("another node", {claim.execution_id}, now, lease) == set()
    app.clock.advance(LEASE + 1)
    await app.service.recovery.tick()
    assert await app.runtime.db_ops.extend_leases(app.runtime.node_id, {claim.execution_id}, now, lease) == set()
    async with app.context.database.read() as connection:
        rows = (await connection.execute(EXECUTIONS.select().order_by(EXECUTIONS.c.id))).all()
    assert [(row.state, row.lease_expires_at) for row in rows] == [("abandoned", None), ("ready", None)]


async def test_a_pause_between_the_look_and_the_claim_is_kept(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On SQLite the write transaction keeps everybody else out; on PostgreSQL they get in between."""
    take = queues.take
    paused: list[bool] = []

    async def take_then_pause(*arguments: Any) -> Any:
        found = await take(*arguments)
        if "ready" in arguments and not paused:
            paused.append((await app.service.pause_task(task_id)).success)
        return found

    monkeypatch.setattr(queues, "take", take_then_pause)
    async with running_app(postgres_url, work, clock=manual_clock()) as app:
        task_id = await app.schedule(delivery="at_least_once")
        await _claim_and_die(app)
        app.clock.advance(LEASE + 1)
        await app.service.recovery.tick()
        assert await app.run_due() == []
        assert paused == [True]
        assert [row["state"] for row in await app.history(task_id)] == ["abandoned", "ready"]
        await app.service.resume_task(task_id)
        assert [row["success"] for row in await app.run_due()] == [True]


async def test_a_change_under_way_puts_the_start_off(postgres_url: str) -> None:
    """Nobody waits for the lock: the task gets the next turn, and the others theirs."""
    async with running_app(postgres_url, work, clock=manual_clock()) as app:
        changing, other = await app.schedule(interval="1 hour"), await app.schedule(interval="1 hour")
        for task_id in (changing, other):
            (await app.service.execute_task(task_id)).unwrap()
        async with app.context.database.transaction() as connection:
            await connection.execute(EVENTS.select().where(EVENTS.c.id == changing).with_for_update())
            async with asyncio.timeout(5):
                assert [claim.event.id for claim in await _claim_and_die(app)] == [other]
        assert [claim.event.id for claim in await _claim_and_die(app)] == [changing]

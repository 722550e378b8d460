"""The list of nodes: who is there, what each said last, and what an operator asked of it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from modules.core.clock import SystemClock
from modules.core.database import Database
from modules.core.scheduler.db_ops import DbOps, NodeReport
from modules.core.scheduler.db_ops.base import EXECUTIONS
from modules.core.scheduler.db_ops.lease_clock import lease_now, lease_until
from modules.core.scheduler.errors import NodeNotFound
from modules.core.scheduler.nodes import is_silent, node_view
from tests.integration.scheduler.test_recovery import _claim_and_die
from tests.support.app import NOON, App

LEASE = timedelta(seconds=30)


def report(node_id: str = "a node", **values: Any) -> NodeReport:
    return NodeReport(
        **{"id": node_id, "version": "1", "host": "h", "pid": 7, "slots": 10, "lease_seconds": 30, **values}
    )


async def test_a_heartbeat_says_how_the_node_is(app: App) -> None:
    db_ops = app.runtime.db_ops
    await db_ops.join_node(report(), app.clock.now())
    app.clock.advance(5)
    block = {"ms": 1500.0, "function": "m.f"}
    said = report(running=3, state="draining", clock_offset_ms=12.5, loop_block=block)
    heard = await db_ops.heartbeat(said, (), app.clock.now(), LEASE, app.clock)
    assert (heard.held, heard.drain_requested, heard.clock_offset) == (set(), False, None)
    [row] = (await db_ops.list_nodes(app.clock.now())).rows
    assert (row.started_at, row.heartbeat_at) == (NOON, NOON + timedelta(seconds=5))
    assert (row.running, row.state, row.clock_offset_ms, row.loop_block) == (3, "draining", 12.5, block)
    assert (row.host, row.pid, row.slots, row.lease_seconds) == ("h", 7, 10, 30)


async def test_a_heartbeat_extends_what_the_node_still_holds(app: App) -> None:
    await app.schedule()
    [claim] = await _claim_and_die(app)
    db_ops, node_id = app.runtime.db_ops, app.runtime.node_id
    await db_ops.join_node(report(node_id), app.clock.now())
    app.clock.advance(20)
    ids = {claim.execution_id, "gone"}
    heard = await db_ops.heartbeat(report(node_id), ids, app.clock.now(), LEASE, app.clock)
    assert heard.held == {claim.execution_id}
    async with app.context.database.read() as connection:
        row = (await connection.execute(EXECUTIONS.select())).one()
    assert row.lease_expires_at == NOON + timedelta(seconds=50)


async def test_a_node_that_was_taken_off_the_list_comes_back_with_its_next_heartbeat(app: App) -> None:
    db_ops = app.runtime.db_ops
    await db_ops.heartbeat(report(running=2), (), app.clock.now(), LEASE, app.clock)
    assert [(row.id, row.running) for row in (await db_ops.list_nodes(app.clock.now())).rows] == [("a node", 2)]


async def test_nodes_that_were_silent_for_a_day_leave_the_list_when_another_joins_or_leaves(app: App) -> None:
    db_ops = app.runtime.db_ops

    async def ids() -> list[str]:
        return [row.id for row in (await db_ops.list_nodes(app.clock.now())).rows]

    await db_ops.join_node(report("dead"), app.clock.now())
    app.clock.advance(days=1)
    await db_ops.join_node(report("new"), app.clock.now())
    assert await ids() == ["dead", "new"]
    app.clock.advance(1)
    await db_ops.join_node(report("newer"), app.clock.now())
    assert await ids() == ["new", "newer"]
    app.clock.advance(days=1)
    await db_ops.heartbeat(report("newer"), (), app.clock.now(), LEASE, app.clock)
    await db_ops.leave_node("some other", app.clock.now())
    assert await ids() == ["newer"]


async def test_what_an_operator_asks_reaches_the_node_with_its_heartbeat(app: App) -> None:
    db_ops = app.runtime.db_ops
    await db_ops.join_node(report(), app.clock.now())
    for wanted in (True, False):
        await db_ops.request_drain("a node", wanted)
        assert (await db_ops.heartbeat(report(), (), app.clock.now(), LEASE, app.clock)).drain_requested is wanted
    with pytest.raises(NodeNotFound, match="There is no node 'nobody'"):
        await db_ops.request_drain("nobody", True)


@pytest.mark.parametrize(
    ("values", "patience"),
    [({}, 90), ({"running": 1}, 22.5), ({"state": "draining"}, 22.5), ({"running": 1, "lease_seconds": 3600}, 90)],
)
async def test_a_node_is_silent_after_three_heartbeats_that_did_not_come(
    app: App, values: dict[str, Any], patience: float
) -> None:
    """One that holds nothing need not beat often."""
    db_ops = app.runtime.db_ops
    await db_ops.heartbeat(report(**values), (), app.clock.now(), LEASE, app.clock)
    app.clock.advance(patience)
    found = await db_ops.list_nodes(app.clock.now())
    assert not is_silent(found.rows[0], found.now)
    app.clock.advance(0.1)
    found = await db_ops.list_nodes(app.clock.now())
    assert is_silent(found.rows[0], found.now)
    assert node_view(found.rows[0], found.now, "a node")["state"] == "silent"


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
async def test_leases_go_by_the_clock_of_postgresql_unless_a_moment_is_given(postgres_url: str, driver: str) -> None:
    database = Database(postgres_url.replace("psycopg", driver))
    await database.open()
    try:
        async with database.transaction() as connection:
            assert (await connection.execute(select(lease_until(connection, NOON, LEASE)))).scalar_one() == NOON + LEASE
            before = SystemClock().now()
            first = (await connection.execute(select(lease_now(connection, None)))).scalar_one()
            second = (await connection.execute(select(lease_now(connection, None)))).scalar_one()
            until = (await connection.execute(select(lease_until(connection, None, LEASE)))).scalar_one()
        assert before < first < second < until - LEASE < SystemClock().now(), "it stands still in a transaction"
    finally:
        await database.close()


async def test_sqlite_is_told_the_moment(sqlite_url: str) -> None:
    database = Database(sqlite_url)
    await database.open()
    try:
        async with database.read() as connection:
            assert (await connection.execute(select(lease_until(connection, NOON, LEASE)))).scalar_one() == NOON + LEASE
            with pytest.raises(ValueError, match=r"pass runtime\.lease_now"):
                lease_now(connection, None)
    finally:
        await database.close()


async def test_ten_thousand_leases_are_extended_at_once(app: App) -> None:
    ids = [f"{number:036d}" for number in range(10_000)]
    assert await DbOps(app.context.database).extend_leases("a node", ids, app.clock.now(), LEASE) == set()

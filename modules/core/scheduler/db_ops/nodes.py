"""Nodes: the processes that dispatch, their heartbeats and the leases that these extend."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, cast

from sqlalchemy import ARRAY, ColumnElement, String, any_, delete, func, insert, literal, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from modules.core.clock import Clock
from modules.core.scheduler.db_models import SchedulerDowntime, SchedulerNode
from modules.core.scheduler.db_ops.base import EXECUTIONS, NODES, Statements, read, write, write_in_lane
from modules.core.scheduler.db_ops.downtimes import come_back, go_away
from modules.core.scheduler.db_ops.lease_clock import lease_now, lease_until
from modules.core.scheduler.db_ops.salvage import readable_rows
from modules.core.scheduler.errors import NodeNotFound

SILENT_NODES_KEPT = timedelta(days=1)
# An answer that took longer says little about the moment that it names.
SLOW_ANSWER = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class NodeReport:
    """What a process says about itself, as stored with it; made anew for each heartbeat."""

    id: str
    version: str
    host: str
    pid: int
    slots: int
    lease_seconds: float
    doorbell_port: int | None = None
    state: str = "running"
    running: int = 0
    clock_offset_ms: float | None = None
    loop_block: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Heard:
    """What a heartbeat brings back. `clock_offset` is the database's clock minus this machine's, where it was told."""

    held: set[str]
    drain_requested: bool
    clock_offset: timedelta | None


@dataclass(frozen=True, slots=True)
class Nodes:
    """The rows of all nodes, and the moment by which they are silent or not."""

    rows: list[SchedulerNode]
    now: datetime


class NodeStatements(Statements):
    @write
    async def join_node(
        self, connection: AsyncConnection, report: NodeReport, now: datetime | None
    ) -> SchedulerDowntime | None:
        """Put this process on the list of those that dispatch, and take those off that were silent for long. Returns
        the downtime that it ends, or that another node has ended a moment ago."""
        downtime = await come_back(connection, report.id, now)
        await connection.execute(delete(NODES).where(_long_silent(connection, now)))
        await _put(connection, report, now)
        return downtime

    @write_in_lane("heartbeat")
    async def heartbeat(
        self,
        connection: AsyncConnection,
        report: NodeReport,
        execution_ids: Collection[str],
        now: datetime | None,
        lease: timedelta,
        clock: Clock,
    ) -> Heard:
        """Say that this node lives, and extend the leases of these executions; `held` are those that it still holds.

        One statement for a node that holds nothing. A node whose row was taken away is put on the list again.
        """
        said = asdict(report)
        values = {name: said[name] for name in ("state", "running", "clock_offset_ms", "loop_block")}
        statement = (
            update(NODES)
            .where(NODES.c.id == report.id)
            .values(heartbeat_at=lease_now(connection, now), **values)
            .returning(NODES.c.drain_requested, NODES.c.heartbeat_at)
        )
        asked = clock.now()
        row = (await connection.execute(statement)).one_or_none()
        offset = _offset(asked, row.heartbeat_at, clock.now()) if row is not None and now is None else None
        if row is None:
            await _put(connection, report, now)
        held = await _extend(connection, report.id, execution_ids, now, lease)
        return Heard(held, row is not None and row.drain_requested, offset)

    @write
    async def extend_leases(
        self,
        connection: AsyncConnection,
        node_id: str,
        execution_ids: Collection[str],
        now: datetime | None,
        lease: timedelta,
    ) -> set[str]:
        """Extend the leases of these executions; returns those that this node still holds."""
        return await _extend(connection, node_id, execution_ids, now, lease)

    @write
    async def drain_node(self, connection: AsyncConnection, node_id: str) -> None:
        """Show that this process takes on nothing more, since it stops."""
        await connection.execute(update(NODES).where(NODES.c.id == node_id).values(state="draining"))

    @write
    async def request_drain(self, connection: AsyncConnection, node_id: str, requested: bool) -> None:
        """Ask a node to take on nothing more, or to go on. Raises NodeNotFound."""
        statement = update(NODES).where(NODES.c.id == node_id).values(drain_requested=requested).returning(NODES.c.id)
        if (await connection.execute(statement)).one_or_none() is None:
            raise NodeNotFound(
                f"There is no node {node_id!r}: each start of a process has an id of its own; GET /nodes lists them."
            )

    @write
    async def leave_node(self, connection: AsyncConnection, node_id: str, now: datetime | None) -> None:
        """Take this process off the list, and those that have been silent for long."""
        await connection.execute(delete(NODES).where((NODES.c.id == node_id) | _long_silent(connection, now)))
        await go_away(connection, now)

    @read
    async def list_nodes(self, connection: AsyncConnection, now: datetime | None) -> Nodes:
        """Every node on the list, oldest first."""
        rows = await readable_rows(connection, select(NODES).order_by(NODES.c.id), NODES)
        if now is None:
            now = (await connection.execute(select(lease_now(connection, now)))).scalar_one()
        return Nodes(cast(list[SchedulerNode], rows), now)

    @read
    async def clock_offset(self, connection: AsyncConnection, clock: Clock) -> timedelta | None:
        """The database's clock minus this machine's; None where the answer took too long to tell."""
        await connection.execute(select(literal(1)))  # the way there is known before it is measured
        asked = clock.now()
        moment = (await connection.execute(select(lease_now(connection, None)))).scalar_one()
        return _offset(asked, moment, clock.now())


async def _put(connection: AsyncConnection, report: NodeReport, now: datetime | None) -> None:
    moment = lease_now(connection, now)
    await connection.execute(
        insert(NODES).values(**asdict(report), started_at=moment, heartbeat_at=moment, drain_requested=False)
    )


async def _extend(
    connection: AsyncConnection, node_id: str, execution_ids: Collection[str], now: datetime | None, lease: timedelta
) -> set[str]:
    if not execution_ids:
        return set()
    # Locked in the order of their ids, as whoever records outcomes does.
    mine = (
        select(EXECUTIONS.c.id)
        .where(_among(connection, execution_ids), EXECUTIONS.c.node_id == node_id, EXECUTIONS.c.state == "running")
        .order_by(EXECUTIONS.c.id)
        .with_for_update()
    )
    statement = (
        update(EXECUTIONS)
        .where(EXECUTIONS.c.id.in_(mine), EXECUTIONS.c.node_id == node_id, EXECUTIONS.c.state == "running")
        .values(lease_expires_at=lease_until(connection, now, lease))
        .returning(EXECUTIONS.c.id)
    )
    return set((await connection.execute(statement)).scalars())


def _among(connection: AsyncConnection, execution_ids: Collection[str]) -> ColumnElement[bool]:
    # One parameter, however many they are: the statement stays the same and stays prepared.
    ids = sorted(execution_ids)
    if connection.dialect.name == "sqlite":
        given = func.json_each(func.json(json.dumps(ids))).table_valued("value")
        return EXECUTIONS.c.id.in_(select(given.c.value))
    return EXECUTIONS.c.id == any_(literal(ids, ARRAY(String)))


def _offset(asked: datetime, moment: datetime, answered: datetime) -> timedelta | None:
    """How far a clock is ahead of ours that named `moment` somewhere between these two of ours."""
    took = answered - asked
    offset = moment - (asked + took / 2)
    return offset if took <= SLOW_ANSWER or abs(offset) > took else None


def _long_silent(connection: AsyncConnection, now: datetime | None) -> ColumnElement[bool]:
    return NODES.c.heartbeat_at < lease_until(connection, now, -SILENT_NODES_KEPT)

"""Recover: close executions whose lease ran out, and make their next attempts. Only leases decide."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import cast

from sqlalchemy import literal_column, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from modules.core.errors import Unavailable
from modules.core.scheduler.db_models import EventExecution
from modules.core.scheduler.db_ops import lease_clock
from modules.core.scheduler.db_ops.base import EXECUTIONS, Statements, write
from modules.core.scheduler.db_ops.changes import Finished, Look, Settle
from modules.core.scheduler.db_ops.closing import close_unreadable
from modules.core.scheduler.db_ops.completion import EXECUTION_COLUMNS, close
from modules.core.scheduler.db_ops.salvage import is_unreadable
from modules.core.scheduler.outcomes import Outcome

logger = logging.getLogger(__name__)

RECOVERED_AT_ONCE = 100


class RecoveryStatements(Statements):
    async def recover(
        self, node_id: str, alive: Collection[str], settle: Settle, now: datetime, lease_now: datetime | None = None
    ) -> tuple[list[str], Look]:
        """Close executions whose lease ran out, at most 100 at once, and insert their next attempts; returns their ids,
        and when the next lease runs out. Leases are judged by `lease_now`, or on PostgreSQL by the database's clock.

        `alive` are the executions that this very node still runs: they are its own to close. One that cannot be read
        holds up no other: it is closed without a next attempt.
        """
        try:
            return await self._recover(node_id, alive, settle, now, lease_now)
        except Unavailable:
            raise
        except Exception:
            logger.exception("a batch of executions could not be recovered; they are taken one by one")
            return await self._recover_one_by_one(node_id, alive, settle, now, lease_now)

    @write
    async def _recover(
        self,
        connection: AsyncConnection,
        node_id: str,
        alive: Collection[str],
        settle: Settle,
        now: datetime,
        lease_now: datetime | None,
    ) -> tuple[list[str], Look]:
        moment = await _lease_moment(connection, lease_now)
        lost = await _lost_ids(connection, node_id, alive, moment)
        await _abandon(connection, lost, settle, now)
        return lost, await _next_lease(connection, moment)

    @write
    async def _recover_one_by_one(
        self,
        connection: AsyncConnection,
        node_id: str,
        alive: Collection[str],
        settle: Settle,
        now: datetime,
        lease_now: datetime | None,
    ) -> tuple[list[str], Look]:
        moment = await _lease_moment(connection, lease_now)
        lost = await _lost_ids(connection, node_id, alive, moment)
        for execution_id in lost:
            try:
                async with connection.begin_nested():
                    await _abandon(connection, [execution_id], settle, now)
            except Exception as error:
                # An IntegrityError: its next attempt is on record already, which nothing here can have written.
                if not isinstance(error, IntegrityError) and not is_unreadable(error):
                    raise
                logger.exception("execution %s cannot be recovered and is closed as abandoned", execution_id)
                await close_unreadable(connection, execution_id, "abandoned", now)
        return lost, await _next_lease(connection, moment)


async def _lease_moment(connection: AsyncConnection, lease_now: datetime | None) -> datetime:
    if lease_now is not None:
        return lease_now
    moment: datetime = (await connection.execute(select(lease_clock.lease_now(connection, None)))).scalar_one()
    return moment


async def _next_lease(connection: AsyncConnection, now: datetime) -> Look:
    query = (
        select(EXECUTIONS.c.lease_expires_at)
        .where(EXECUTIONS.c.state == literal_column("'running'"))
        .order_by(EXECUTIONS.c.lease_expires_at)
        .limit(1)
    )
    return Look([], (await connection.execute(query)).scalar(), now)


async def _lost_ids(connection: AsyncConnection, node_id: str, alive: Collection[str], now: datetime) -> list[str]:
    query = (
        select(EXECUTIONS.c.id, EXECUTIONS.c.node_id)
        .where(EXECUTIONS.c.state == "running", EXECUTIONS.c.lease_expires_at < now)
        .order_by(EXECUTIONS.c.lease_expires_at)
        .limit(RECOVERED_AT_ONCE + len(alive))
        .with_for_update(skip_locked=True)
    )
    rows = await connection.execute(query)
    return sorted(row.id for row in rows if not (row.node_id == node_id and row.id in alive))


async def _abandon(connection: AsyncConnection, execution_ids: Sequence[str], settle: Settle, now: datetime) -> None:
    if not execution_ids:
        return
    query = select(*EXECUTION_COLUMNS).where(EXECUTIONS.c.id.in_(execution_ids)).order_by(EXECUTIONS.c.id)
    rows = cast(list[EventExecution], (await connection.execute(query)).all())
    await close(connection, [(row, _abandoned(row, now)) for row in rows], settle, now)


def _abandoned(row: EventExecution, now: datetime) -> Finished:
    return Finished(
        execution_id=row.id,
        event_id=row.event_id,
        fence=row.fence,
        outcome=Outcome(
            "abandoned",
            error="The process that ran this ended without a word; its lease ran out.",
            error_type="abandoned",
        ),
        start_time=row.start_time,
        end_time=max(now, row.start_time),
        duration_ms=max(0.0, (now - row.start_time) / timedelta(milliseconds=1)),
        cpu_ms=None,
        lateness_ms=row.lateness_ms,
    )

"""Cancel one execution: at once where it has not started, else by asking whoever runs it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import cast

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from modules.core.scheduler.db_models import EventExecution
from modules.core.scheduler.db_ops.base import EXECUTIONS, Statements, write
from modules.core.scheduler.db_ops.changes import Finished, Settle
from modules.core.scheduler.db_ops.completion import EXECUTION_COLUMNS, close
from modules.core.scheduler.db_ops.lanes import ask_to_end
from modules.core.scheduler.errors import ExecutionNotFound, InvalidState
from modules.core.scheduler.outcomes import Outcome

CANCELLED = Outcome("cancelled", error="The execution was cancelled before it started.", error_type="cancelled")


@dataclass(frozen=True, slots=True)
class CancelAsked:
    """Whose execution it was, whether it has ended with that, and when what follows is due."""

    event_id: str
    ended: bool
    next_due: datetime | None = None


class CancelStatements(Statements):
    @write
    async def cancel_execution(
        self, connection: AsyncConnection, execution_id: str, settle: Settle, now: datetime
    ) -> CancelAsked:
        """End an execution that has not started as cancelled, or ask for the end of one that runs. Asking again is
        harmless. Raises ExecutionNotFound, and InvalidState for one that has ended in another way."""
        query = select(*EXECUTION_COLUMNS).where(EXECUTIONS.c.id == execution_id).with_for_update()
        row = cast(EventExecution | None, (await connection.execute(query)).one_or_none())
        if row is None:
            raise ExecutionNotFound(
                f"There is no execution {execution_id!r}: it may be older than the history that is kept."
            )
        if row.state == "running":
            await ask_to_end(connection, [execution_id])
            return CancelAsked(row.event_id, ended=False)
        if row.state == "ready":
            closed = await close(connection, [(row, _unstarted(row, now))], settle, now)
            return CancelAsked(row.event_id, True, closed.next_due)
        if row.state == "cancelled":
            return CancelAsked(row.event_id, ended=True)
        raise InvalidState(
            f"Execution {execution_id} has ended ({row.state.replace('_', ' ')}): only an open one can be cancelled.",
            details={"state": row.state},
        )


def _unstarted(row: EventExecution, now: datetime) -> Finished:
    return Finished(
        execution_id=row.id,
        event_id=row.event_id,
        fence=row.fence,
        outcome=CANCELLED,
        start_time=min(now, row.start_time),
        end_time=now,
        duration_ms=None,
        cpu_ms=None,
    )

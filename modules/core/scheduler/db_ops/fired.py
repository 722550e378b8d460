"""The executions that firing makes: those that this node starts, and those that are not to start yet."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from modules.core.scheduler.db_ops.base import EXECUTIONS
from modules.core.scheduler.db_ops.changes import Claim, ClaimRequest
from modules.core.scheduler.db_ops.many_rows import InsertRows

_PUT_OFF_COLUMNS = (
    "id", "event_id", "start_time", "trace_session_id", "scheduled_for", "kind", "attempt", "failures", "abandonments",
    "state", "run_at", "priority", "fence", "cancel_requested",
)  # fmt: skip
_PUT_OFF = InsertRows(EXECUTIONS, _PUT_OFF_COLUMNS)
_RUNNING = InsertRows(EXECUTIONS, (*_PUT_OFF_COLUMNS, "node_id", "lease_expires_at", "lateness_ms"))


async def insert_fired(
    connection: AsyncConnection,
    request: ClaimRequest,
    lease: datetime,
    claims: Sequence[Claim],
    put_off: Sequence[Claim],
) -> None:
    """`claims` are this node's until `lease`; what is `put_off` is anybody's to take on, when it is due."""
    await _RUNNING(
        connection,
        [
            (
                *_row(claim, "running", max(claim.due, request.now)),
                request.node_id,
                lease,
                claim.lateness_ms(request.now),
            )
            for claim in claims
        ],
    )
    await _PUT_OFF(connection, [_row(claim, "ready", claim.due) for claim in put_off])


def _row(claim: Claim, state: str, start: datetime) -> tuple[Any, ...]:
    return (
        claim.execution_id,
        claim.event.id,
        start,
        claim.trace_session_id,
        claim.scheduled_for,
        claim.kind,
        claim.attempt,
        0,
        0,
        state,
        start,
        claim.event.priority,
        claim.fence,
        False,
    )

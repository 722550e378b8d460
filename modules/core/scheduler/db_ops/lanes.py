"""The open executions that exclude each other: who waits behind whom, and what stands in a fire time's way.

They find each other by their overlap key; a plain task's have none, and cost nothing here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import literal_column, null, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from modules.core.scheduler.db_models import ScheduledEvent
from modules.core.scheduler.db_ops.base import EVENTS, EXECUTIONS
from modules.core.scheduler.db_ops.many_rows import UpdateRows
from modules.core.scheduler.overlap import WAITS, lane_of

# Called up: it waits no longer, and holds a fence of its own time.
CALL_UP: Final = UpdateRows(
    EXECUTIONS,
    {"run_at": "run_at", "start_time": "start", "fence": "fence"},
    where=lambda _: [EXECUTIONS.c.state == literal_column("'ready'")],
)
_OPEN = [EXECUTIONS.c.success.is_(None), EXECUTIONS.c.overlap_key.is_not(None)]
_NAMES = ("id", "event_id", "scheduled_for", "state", "run_at", "overlap_key")
SUPERSEDED: Final = "A newer run took its place before this started (overlap is cancel_running)."
GIVEN_UP: Final = "The task's next run took its place before this started (overlap is cancel_running)."


@dataclass(frozen=True, slots=True)
class Waiting:
    """A run that waits behind another one of its event."""

    id: str
    scheduled_for: datetime


@dataclass(frozen=True, slots=True)
class Obstacle:
    """What stands in the way of an event that is due: `holder` is the execution that its next run waits for, `others`
    are open besides. `locked`: another transaction is about to change it; who asks has to come again."""

    holder: str | None
    others: int
    locked: bool = False


async def lock_lanes(connection: AsyncConnection, event_ids: Collection[str]) -> None:
    """Lock the open runs of these events, which must not be locked yet: executions come before events, or else two
    transactions may wait for each other."""
    if connection.dialect.name == "postgresql":
        lanes = sorted(lane_of(event_id) for event_id in event_ids)
        query = select(EXECUTIONS.c.id).where(*_OPEN, EXECUTIONS.c.overlap_key.in_(lanes)).order_by(EXECUTIONS.c.id)
        await connection.execute(query.with_for_update())


async def waiting_behind(connection: AsyncConnection, event_ids: Collection[str]) -> dict[str, list[Waiting]]:
    """The runs that wait behind open ones of these events, in the order in which they will run."""
    found: dict[str, list[Waiting]] = defaultdict(list)
    if event_ids:
        lanes = sorted(lane_of(event_id) for event_id in event_ids)
        query = (
            select(EXECUTIONS.c.id, EXECUTIONS.c.event_id, EXECUTIONS.c.scheduled_for)
            .where(*_OPEN, EXECUTIONS.c.overlap_key.in_(lanes), EXECUTIONS.c.run_at == WAITS)
            .order_by(EXECUTIONS.c.scheduled_for, EXECUTIONS.c.id)
        )
        for row in await connection.execute(query):
            found[row.event_id].append(Waiting(row.id, row.scheduled_for))
    return found


async def obstacles(
    connection: AsyncConnection, due: Iterable[ScheduledEvent], asked: set[str], now: datetime
) -> dict[str, Obstacle]:
    """What stands in the way of those of these events that have open runs and let none run beside them.

    Under cancel_running what has not started ends as cancelled here, and what runs is asked to; its ids are added to
    `asked`.
    """
    events = {lane_of(event.id): event for event in due if event.others_open and event.overlap != "allow"}
    if not events:
        return {}
    query = select(*(EXECUTIONS.c[name] for name in _NAMES)).where(*_OPEN, EXECUTIONS.c.overlap_key.in_(sorted(events)))
    seen = (await connection.execute(query.order_by(EXECUTIONS.c.id))).all()
    # Their events are locked already. Whoever settles locks in the other order: so nothing is waited for here.
    locks = query.order_by(EXECUTIONS.c.id).with_for_update(skip_locked=True)
    mine = {row.id for row in (await connection.execute(locks)).all()}
    found = {}
    for lane, event in events.items():
        rows = [row for row in seen if row.overlap_key == lane]
        if any(row.id not in mine for row in rows):
            found[event.id] = Obstacle(None, 0, locked=True)
        else:
            cancels = event.overlap == "cancel_running"
            found[event.id] = await _obstacle(connection, rows, asked if cancels else None, now)
    return found


async def _obstacle(
    connection: AsyncConnection, rows: Sequence[Any], asked: set[str] | None, now: datetime
) -> Obstacle:
    running = [row.id for row in rows if row.state == "running"]
    if asked is not None:
        gone = [row.id for row in rows if row.state == "ready" and (row.run_at != WAITS or not running)]
        await close_unstarted(connection, gone, GIVEN_UP, now)
        await ask_to_end(connection, running)
        asked.update(running)
        rows = [row for row in rows if row.id not in set(gone)]
    if not rows:
        return Obstacle(None, 0)
    first = min(rows, key=lambda row: (row.state != "running", row.run_at == WAITS, row.id))
    if first.run_at == WAITS:  # behind nothing: it is called up
        await connection.execute(update(EXECUTIONS).where(EXECUTIONS.c.id == first.id).values(run_at=now))
    return Obstacle(first.id, len(rows) - 1)


async def ask_to_end(connection: AsyncConnection, execution_ids: Collection[str]) -> list[str]:
    """Ask those of these executions that run to end as cancelled; returns them."""
    if not execution_ids:
        return []
    statement = (
        update(EXECUTIONS)
        .where(EXECUTIONS.c.id.in_(sorted(execution_ids)), EXECUTIONS.c.state == "running")
        .values(cancel_requested=True)
        .returning(EXECUTIONS.c.id)
    )
    return list((await connection.execute(statement)).scalars())


async def close_unstarted(
    connection: AsyncConnection, execution_ids: Collection[str], error: str, now: datetime
) -> list[str]:
    """End those of these executions that have not started as cancelled; returns them."""
    if not execution_ids:
        return []
    statement = (
        update(EXECUTIONS)
        .where(EXECUTIONS.c.id.in_(sorted(execution_ids)), EXECUTIONS.c.state == "ready")
        .values(state="cancelled", success=False, end_time=now, error=error, error_type="cancelled")
        .returning(EXECUTIONS.c.id)
    )
    return list((await connection.execute(statement)).scalars())


async def open_in_lane(connection: AsyncConnection, event_id: str) -> Sequence[Any]:
    """The open executions of an event that have its key, oldest first: id, state and run_at."""
    query = select(EXECUTIONS.c.id, EXECUTIONS.c.state, EXECUTIONS.c.run_at).where(
        *_OPEN, EXECUTIONS.c.overlap_key == lane_of(event_id)
    )
    return (await connection.execute(query.order_by(EXECUTIONS.c.id))).all()


async def end_unstarted(
    connection: AsyncConnection, event: ScheduledEvent, error: str, now: datetime
) -> dict[str, Any]:
    """End every execution of an event that has not started as cancelled; returns the event's columns that change.

    By their ids, so that a long history is not walked.
    """
    candidates = {row.id for row in await open_in_lane(connection, event.id)} if event.others_open else set()
    if event.active_execution_id is not None:
        candidates.add(event.active_execution_id)
    closed = set(await close_unstarted(connection, candidates, error, now))
    values: dict[str, Any] = {}
    if event.active_execution_id in closed:
        values["active_execution_id"] = None
    if others := len(closed - {event.active_execution_id}):
        values["others_open"] = max(0, event.others_open - others)
    return values


async def forget_one(connection: AsyncConnection, event_id: str, execution_id: str) -> None:
    """An execution of this event has ended outside of settling."""
    active = EVENTS.c.active_execution_id == execution_id
    mine = update(EVENTS).where(EVENTS.c.id == event_id)
    freed = await connection.execute(mine.where(active).values(active_execution_id=null()))
    if not freed.rowcount:
        await connection.execute(mine.where(EVENTS.c.others_open > 0).values(others_open=EVENTS.c.others_open - 1))


async def go_on_without(connection: AsyncConnection, event_id: str, now: datetime, *, was_active: bool) -> None:
    """An execution of this event was ended without reading it: who waits behind it may start."""
    mine = update(EVENTS).where(EVENTS.c.id == event_id)
    if not was_active:
        await connection.execute(mine.where(EVENTS.c.others_open > 0).values(others_open=EVENTS.c.others_open - 1))
    left = await open_in_lane(connection, event_id)
    if left and all(row.run_at == WAITS for row in left):
        await connection.execute(update(EXECUTIONS).where(EXECUTIONS.c.id == left[0].id).values(run_at=now))
        await connection.execute(mine.values(active_execution_id=left[0].id, others_open=len(left) - 1))

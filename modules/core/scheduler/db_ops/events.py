"""Tasks as rows: create, read, list, change."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, cast

from sqlalchemy import ColumnElement, func, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from modules.core.errors import ModuleError
from modules.core.scheduler.db_models import ScheduledEvent
from modules.core.scheduler.db_ops.base import EVENTS, EXECUTIONS, Statements, read, write, write_in_lane
from modules.core.scheduler.db_ops.changes import EventChange, NewExecution
from modules.core.scheduler.db_ops.closing import close_waiting
from modules.core.scheduler.db_ops.many_rows import InsertRows
from modules.core.scheduler.db_ops.missed import insert_missed
from modules.core.scheduler.db_ops.salvage import readable_rows
from modules.core.scheduler.errors import DuplicateTask, TaskNotFound, VersionConflict
from modules.core.scheduler.firing import Firing

# What a new event has in the columns that its maker does not give.
_NEW: Final = {
    **dict.fromkeys(column.name for column in EVENTS.columns if column.nullable),
    "execution_count": 0,
    "fired_count": 0,
    "fence": 0,
    "overlap": "skip",
    "catch_up": "latest",
    "version": 1,
}
_LATER: Final = {
    "last_execution", "last_error", "active_execution_id", "pause_reason", "pause_actor", "paused_at", "paused_until",
    "watched",
}  # fmt: skip
# Usually there is one at most; there are more only after a clock was set back.
CLAIMED_AHEAD: Final = 10
_COLUMNS: Final = [column.name for column in EVENTS.columns if column.name not in _LATER]
_INSERT = InsertRows(EVENTS, _COLUMNS)


@dataclass(frozen=True, slots=True)
class TaskFilter:
    """Which tasks a list shows. `status` may be "running", which is not stored: it means an execution is under way."""

    status: str | None = None
    module_id: str | None = None
    recurring: bool | None = None
    name: str | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        conditions: list[ColumnElement[bool]] = []
        if self.status == "running":
            conditions.append(EVENTS.c.active_execution_id.is_not(None))
        elif self.status == "pending":
            conditions += [EVENTS.c.status == "pending", EVENTS.c.active_execution_id.is_(None)]
        elif self.status is not None:
            # Said twice: the index holds only what is not pending.
            conditions += [EVENTS.c.status == self.status, EVENTS.c.status != "pending"]
        if self.module_id is not None:
            conditions.append(EVENTS.c.module_id == self.module_id)
        if self.recurring is not None:
            conditions.append(EVENTS.c.recurring == self.recurring)
        if self.name is not None:
            conditions.append(EVENTS.c.name.icontains(self.name, autoescape=True))
        return conditions


class EventStatements(Statements):
    async def create_tasks(
        self, rows: Sequence[Mapping[str, Any]], *, all_or_none: bool = False
    ) -> list[ModuleError | None]:
        """Insert events in one transaction. Answers for each: None, or the DuplicateTask that it is.

        With `all_or_none` one that is refused keeps out the others too.
        """
        try:
            await self._insert_events(rows)
        except IntegrityError:
            return await self._insert_each(rows, all_or_none)
        return [None] * len(rows)

    @write_in_lane("schedule")
    async def _insert_events(self, connection: AsyncConnection, rows: Sequence[Mapping[str, Any]]) -> None:
        await _INSERT(connection, [_new_row(row) for row in rows])

    async def _insert_each(self, rows: Sequence[Mapping[str, Any]], all_or_none: bool) -> list[ModuleError | None]:
        try:
            return await self._insert_one_by_one(rows, all_or_none)
        except _Refused as refused:
            return refused.answers

    @write
    async def _insert_one_by_one(
        self, connection: AsyncConnection, rows: Sequence[Mapping[str, Any]], all_or_none: bool
    ) -> list[ModuleError | None]:
        answers: list[ModuleError | None] = []
        for row in rows:
            try:
                async with connection.begin_nested():
                    await _INSERT(connection, [_new_row(row)])
            except IntegrityError as error:
                answers.append(await _why_refused(connection, row, error))
            else:
                answers.append(None)
        if all_or_none and any(answers):
            raise _Refused(answers)
        return answers

    @read
    async def get_task(self, connection: AsyncConnection, event_id: str) -> ScheduledEvent:
        """The event of that id. Raises TaskNotFound."""
        return await _event(connection, event_id)

    @read
    async def list_tasks(
        self, connection: AsyncConnection, which: TaskFilter, after: str | None, limit: int
    ) -> list[ScheduledEvent]:
        """Up to `limit` events in the order of their ids, which is that of their making, after the id `after`."""
        query = select(EVENTS).where(*which.conditions()).order_by(EVENTS.c.id).limit(limit)
        if after is not None:
            query = query.where(EVENTS.c.id > after)
        return await readable_rows(connection, query, EVENTS)

    @read
    async def count_by_status(self, connection: AsyncConnection) -> dict[str, int]:
        """How many events there are in each stored status."""
        query = select(EVENTS.c.status, func.count().label("number")).group_by(EVENTS.c.status)
        return {row.status: row.number for row in await connection.execute(query)}

    @read
    async def functions_in_use(self, connection: AsyncConnection) -> dict[tuple[str, str], int]:
        """How many live events (pending or paused) name each function."""
        query = (
            select(EVENTS.c.module_id, EVENTS.c.function_name, func.count())
            .where(EVENTS.c.status.in_(("pending", "paused")))
            .group_by(EVENTS.c.module_id, EVENTS.c.function_name)
        )
        return {(module, function): number for module, function, number in await connection.execute(query)}

    @read
    async def try_change(
        self,
        connection: AsyncConnection,
        event_id: str,
        change: Callable[[ScheduledEvent], EventChange],
        *,
        version: int | None = None,
    ) -> tuple[ScheduledEvent, EventChange]:
        """The event as it is, and what change_task would do to it; nothing is done. Raises what change_task raises."""
        event = await _event(connection, event_id)
        return event, await _decided(connection, event, change, version)

    @write
    async def change_task(
        self,
        connection: AsyncConnection,
        event_id: str,
        change: Callable[[ScheduledEvent], EventChange],
        now: datetime,
        *,
        version: int | None = None,
    ) -> EventChange:
        """Decide with `change` what happens to the event as it is now, and do it, in one transaction.

        `change` may run twice when the database asks for a retry, so it must not have effects of its own. Each change
        of the event's own columns adds one to its version. Raises TaskNotFound, and VersionConflict when `version`
        is given and no longer current.
        """
        event = await _event(connection, event_id, for_update=True)
        decided = await _decided(connection, event, change, version)
        values: dict[str, Any] = dict(decided.values)
        if values:
            values |= {"version": event.version + 1, "updated_at": now}
        # The active execution is the only one that can be open; by its id, so that a long history is not walked.
        active = event.active_execution_id if decided.cancel_waiting else None
        if active is not None and await close_waiting(connection, active, now):
            values["active_execution_id"] = None
        if decided.execution is not None and await _is_on_record(connection, event_id, decided.execution):
            decided = replace(decided, execution=None)
            values.pop("fired_count", None)
        if decided.execution is not None:
            new = decided.execution
            fence = event.fence + 1
            values |= {"fence": fence, "active_execution_id": new.id}
            await connection.execute(
                insert(EXECUTIONS).values(
                    id=new.id,
                    event_id=event_id,
                    start_time=new.run_at,
                    trace_session_id=new.trace_session_id,
                    scheduled_for=new.scheduled_for,
                    kind=new.kind,
                    attempt=new.attempt,
                    failures=new.failures,
                    abandonments=new.abandonments,
                    state="ready",
                    run_at=new.run_at,
                    priority=event.priority,
                    fence=fence,
                    parameters=new.parameters,
                    actor=new.actor,
                )
            )
        if values:
            await connection.execute(update(EVENTS).where(EVENTS.c.id == event_id).values(**values))
        await insert_missed(connection, [(event_id, Firing(None, None, decided.missed))], now)
        return decided


async def _decided(
    connection: AsyncConnection,
    event: ScheduledEvent,
    change: Callable[[ScheduledEvent], EventChange],
    version: int | None,
) -> EventChange:
    if version is not None and version != event.version:
        raise VersionConflict(
            f"Task {event.id} is at version {event.version}, not {version}: read it again and repeat the change.",
            details={"version": event.version},
        )
    return await _not_again(connection, event.id, change(event))


async def _is_on_record(connection: AsyncConnection, event_id: str, new: NewExecution) -> bool:
    """Whether a fire time has its execution already: it was claimed ahead, or a clock was set back."""
    if new.kind != "schedule":
        return False
    query = select(EXECUTIONS.c.id).where(
        EXECUTIONS.c.event_id == event_id,
        EXECUTIONS.c.scheduled_for == new.scheduled_for,
        EXECUTIONS.c.kind == new.kind,
    )
    return (await connection.execute(query.limit(1))).first() is not None


async def _not_again(connection: AsyncConnection, event_id: str, decided: EventChange) -> EventChange:
    """The change, with a next fire time that has no execution yet. Firing would notice too, but a pause or an end may
    come before it, and would record as missed what ran."""
    for _ in range(CLAIMED_AHEAD):
        following = decided.values.get("next_execution")
        if following is None or decided.otherwise is None:
            break
        claimed = select(EXECUTIONS.c.id).where(
            EXECUTIONS.c.event_id == event_id, EXECUTIONS.c.scheduled_for == following, EXECUTIONS.c.kind == "schedule"
        )
        if (await connection.execute(claimed.limit(1))).first() is None:
            break
        decided = decided.otherwise(following)
    return decided


def _new_row(given: Mapping[str, Any]) -> tuple[Any, ...]:
    row = {**_NEW, **given}
    return tuple(row[name] for name in _COLUMNS)


class _Refused(Exception):
    """Rolls back what was inserted beside a refused row."""

    def __init__(self, answers: list[ModuleError | None]) -> None:
        super().__init__()
        self.answers = answers


async def _why_refused(
    connection: AsyncConnection, row: Mapping[str, Any], error: IntegrityError
) -> ModuleError | None:
    there = (await connection.execute(select(EVENTS.c.id).where(EVENTS.c.id == row["id"]))).first()
    if there is not None:
        return None  # a first try whose commit was not answered has stored it
    if row.get("unique_key") is None or "unique_key" not in str(error.orig):
        raise error
    return DuplicateTask(
        f"A task with the unique key {row['unique_key']!r} exists: change or cancel that one, or choose another key."
    )


async def _event(connection: AsyncConnection, event_id: str, *, for_update: bool = False) -> ScheduledEvent:
    query = select(EVENTS).where(EVENTS.c.id == event_id)
    rows = await readable_rows(connection, query.with_for_update() if for_update else query, EVENTS)
    if not rows:
        raise TaskNotFound(f"There is no task {event_id!r}: list the tasks to find its id.")
    return cast(ScheduledEvent, rows[0])

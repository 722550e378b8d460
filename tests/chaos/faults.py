"""Faults put into the scheduler on purpose, to see that the checker finds what they break.

Each is a patch of the process that applies it. Their own statements are ordinary SQL on the public tables, so that they
say what goes wrong and not how the engine is built.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Connection, MetaData, UniqueConstraint, bindparam, delete, insert, select, update
from sqlalchemy.schema import CreateIndex, CreateTable, DropTable

from modules.core.scheduler.db_ops import ClaimResult, DbOps, Finished, Recorded
from modules.core.scheduler.db_ops.base import EVENTS, EXECUTIONS
from modules.core.scheduler.service import SchedulerService

VARIABLE = "CHAOS_FAULT"
CLOSED = ("succeeded", "failed", "timed_out", "cancelled", "interrupted", "abandoned")

Replace = Callable[[Any, str, Any], None]
_rng = random.Random()


def apply(name: str | None, replace: Replace = setattr) -> None:
    """Put this fault into the process; `replace` is how a method is replaced (a test takes monkeypatch.setattr)."""
    if name:
        FAULTS[name](replace)


def die() -> None:
    """The crash that a fault brings about itself, at the moment that matters."""
    os.kill(os.getpid(), signal.SIGKILL)


def no_fence_check(replace: Replace) -> None:
    """A worker records its outcome, whatever has become of the execution meanwhile."""

    def wrapped(original: Any) -> Any:
        async def complete_executions(self: DbOps, finished: Sequence[Finished], *others: Any) -> Recorded:
            # As if the statement that closes asked neither for the state nor for the fence.
            reopen = (
                update(EXECUTIONS)
                .where(EXECUTIONS.c.id == bindparam("of"), EXECUTIONS.c.state.in_(CLOSED))
                .values(state="running", success=None, end_time=None, lease_expires_at=EXECUTIONS.c.start_time)
            )
            async with self.database.transaction() as connection:
                for item in finished:
                    await connection.execute(reopen, {"of": item.execution_id})
            recorded: Recorded = await original(self, finished, *others)
            return recorded

        return complete_executions

    replace(DbOps, "complete_executions", wrapped(DbOps.complete_executions))


def fire_in_two_transactions(replace: Replace) -> None:
    """The event moves on in one transaction, its execution is inserted in a second one. Now and then the process dies
    in between."""

    def wrapped(original: Any) -> Any:
        async def fire_and_claim(self: DbOps, *arguments: Any) -> ClaimResult:
            result: ClaimResult = await original(self, *arguments)
            ids = [claim.execution_id for claim in result.claims if claim.kind == "schedule" and claim.attempt == 1]
            if not ids:
                return result
            async with self.database.transaction() as connection:
                rows = (await connection.execute(select(EXECUTIONS).where(EXECUTIONS.c.id.in_(ids)))).mappings().all()
                await connection.execute(delete(EXECUTIONS).where(EXECUTIONS.c.id.in_(ids)))
            if _rng.random() < 0.1:
                die()
            async with self.database.transaction() as connection:
                await connection.execute(insert(EXECUTIONS), [dict(row) for row in rows])
            return result

        return fire_and_claim

    replace(DbOps, "fire_and_claim", wrapped(DbOps.fire_and_claim))


def no_unique_key(replace: Replace) -> None:
    """Somebody whose clock was behind has set a task back to a fire time that it has had. The table of executions is
    made without its unique key (`drop_unique_key`), which would have refused that."""

    def wrapped(original: Any) -> Any:
        async def fire_and_claim(self: DbOps, *arguments: Any) -> ClaimResult:
            result: ClaimResult = await original(self, *arguments)
            for claim in result.claims:
                if claim.kind == "schedule" and claim.attempt == 1 and claim.event.recurring and _rng.random() < 0.2:
                    set_back = (
                        update(EVENTS)
                        .where(EVENTS.c.id == claim.event.id, EVENTS.c.status == "pending")
                        .values(next_execution=claim.scheduled_for, version=EVENTS.c.version + 1)
                    )
                    async with self.database.transaction() as connection:
                        await connection.execute(set_back)
            return result

        return fire_and_claim

    replace(DbOps, "fire_and_claim", wrapped(DbOps.fire_and_claim))


def completion_frees_unchecked(replace: Replace) -> None:
    """Whoever ends an execution frees its event, also when that waits for another one by now."""

    def wrapped(original: Any) -> Any:
        async def complete_executions(self: DbOps, finished: Sequence[Finished], *others: Any) -> Recorded:
            recorded: Recorded = await original(self, finished, *others)
            ids = sorted({item.event_id for item in finished})
            async with self.database.transaction() as connection:
                await connection.execute(update(EVENTS).where(EVENTS.c.id.in_(ids)).values(active_execution_id=None))
            return recorded

        return complete_executions

    replace(DbOps, "complete_executions", wrapped(DbOps.complete_executions))


def status_written_blindly(replace: Replace) -> None:
    """Whoever ends an execution writes the status that the event had when it was claimed."""
    claimed: dict[str, str] = {}

    def claiming(original: Any) -> Any:
        async def fire_and_claim(self: DbOps, *arguments: Any) -> ClaimResult:
            result: ClaimResult = await original(self, *arguments)
            claimed.update((claim.execution_id, claim.event.status) for claim in result.claims)
            return result

        return fire_and_claim

    def completing(original: Any) -> Any:
        async def complete_executions(self: DbOps, finished: Sequence[Finished], *others: Any) -> Recorded:
            recorded: Recorded = await original(self, finished, *others)
            async with self.database.transaction() as connection:
                for item in finished:
                    seen = claimed.get(item.execution_id)
                    paused = EVENTS.c.status == "paused", EVENTS.c.id == item.event_id
                    if seen is not None:
                        await connection.execute(update(EVENTS).where(*paused).values(status=seen))
            return recorded

        return complete_executions

    replace(DbOps, "fire_and_claim", claiming(DbOps.fire_and_claim))
    replace(DbOps, "complete_executions", completing(DbOps.complete_executions))


def start_abandons_everything(replace: Replace) -> None:
    """A process that starts takes it that whatever is running was left behind by the one before it."""

    def wrapped(original: Any) -> Any:
        async def start_background_processing(self: SchedulerService) -> None:
            running = EXECUTIONS.c.state == "running"
            of_them = EVENTS.c.active_execution_id.in_(select(EXECUTIONS.c.id).where(running))
            async with self.db_ops.database.transaction() as connection:
                await connection.execute(update(EVENTS).where(of_them).values(active_execution_id=None))
                await connection.execute(
                    update(EXECUTIONS)
                    .where(running)
                    .values(state="abandoned", success=False, end_time=EXECUTIONS.c.start_time, lease_expires_at=None)
                )
            await original(self)

        return start_background_processing

    replace(SchedulerService, "start_background_processing", wrapped(SchedulerService.start_background_processing))


def answers_before_it_is_durable(replace: Replace) -> None:
    """A task is answered as scheduled a moment before it is stored."""

    def wrapped(original: Any) -> Any:
        async def create_tasks(self: DbOps, rows: Sequence[Any], **others: Any) -> list[None]:
            async def soon() -> None:
                await asyncio.sleep(0.2)
                await original(self, rows, **others)

            writing.append(asyncio.create_task(soon()))
            return [None] * len(rows)

        return create_tasks

    writing: list[asyncio.Task[None]] = []
    replace(DbOps, "create_tasks", wrapped(DbOps.create_tasks))


FAULTS: dict[str, Callable[[Replace], None]] = {
    fault.__name__: fault
    for fault in (
        no_fence_check,
        fire_in_two_transactions,
        no_unique_key,
        completion_frees_unchecked,
        status_written_blindly,
        start_abandons_everything,
        answers_before_it_is_durable,
    )
}


def drop_unique_key(connection: Connection) -> None:
    """Make the table of executions again without its unique key. It must be empty."""
    table = EXECUTIONS.to_metadata(MetaData())
    EVENTS.to_metadata(table.metadata)
    table.constraints = {one for one in table.constraints if not isinstance(one, UniqueConstraint)}
    connection.execute(DropTable(EXECUTIONS))
    connection.execute(CreateTable(table))
    for index in sorted(table.indexes, key=lambda index: str(index.name)):
        connection.execute(CreateIndex(index))

"""Several nodes in one process on a virtual clock: they claim, finish, die, recover and stop when they are told to.

What a node holds and does not finish is what a process held that died or stood still. Functions take no time; between
a claim and its end anything may happen.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine
from sqlalchemy.event import listen

from modules.core.app_context import AppContext
from modules.core.ids import new_id
from modules.core.scheduler import ExecutionContext, SchedulerService
from modules.core.scheduler.db_ops import Claim
from modules.core.scheduler.runtime import Runtime
from modules.core.scheduler.testing import ManualClock
from modules.core.settings import AppSettings
from tests.chaos.client import Client
from tests.chaos.evidence import Evidence, Rules, Trouble
from tests.chaos.log import CallLog, InMemory, calls_of, lines_of
from tests.chaos.tables import is_busy, keep_journal, read_tables, set_journal_clock, sync_url
from tests.chaos.work import MODULE, Workshop

LEASE = 30.0
LOOK_AHEAD = 1.0
RULES = Rules(
    lease=timedelta(seconds=LEASE),
    recovery=timedelta(seconds=LEASE / 2),
    look_ahead=timedelta(seconds=LOOK_AHEAD),
    patience=timedelta(days=3650),  # here recovery comes when it is told to
    clock_step=timedelta(0),
)
TABLES = ("chaos_journal", "scheduler_missed_runs", "scheduler_executions", "scheduler_events")
LONGEST_SETTLING = 20


async def _at_once(_seconds: float) -> None:
    """A task function here takes no time."""


class VirtualNode:
    """A node that does only what it is told. `held` is what it has claimed and not finished."""

    def __init__(self, world: World, context: AppContext) -> None:
        self._world = world
        self._context = context
        self.service: SchedulerService = context.get_service("core.scheduler.service")
        self.runtime = Runtime.of(context)
        self.process = world.next_process()
        self.held: list[tuple[datetime, Claim]] = []
        self._workshop = Workshop(
            world.lines,
            process=lambda: self.process,
            node_id=lambda: self.runtime.node_id,
            now=world.clock.now,
            sleep=_at_once,
        )
        context.get_service("core.scheduler.tasks").register(MODULE, self._workshop.work)

    async def claim(self) -> list[Claim]:
        """Fire and claim what is due within the look-ahead, and hold it."""
        claims: list[Claim] = []
        dispatcher = self.service.dispatcher
        dispatcher._accept = claims.extend  # type: ignore[method-assign,assignment]
        try:
            dispatcher.wake()
            await dispatcher.tick()
        finally:
            del dispatcher._accept
        now = self._world.clock.now()
        self.held += [(now, claim) for claim in claims]
        return claims

    async def finish(self) -> None:
        """Run the functions of all that it holds and is due, and record how they ended; leases may be long gone."""
        now, jobs = self._world.clock.now(), self.service.job_manager.jobs
        due = [one for one in self.held if one[1].due <= now]
        self.held = [one for one in self.held if one[1].due > now]
        jobs.recorder.start()
        for since, claim in due:
            if now > since + timedelta(seconds=LEASE):
                self._world.troubles.append(Trouble("suspended", since, now, self.process))
            jobs.hold(claim)
            jobs.start(claim)
        await jobs.quiet()

    async def run_due(self) -> None:
        """Run all that is due, with all that follows from it now."""
        await self.service.run_due()

    def crash(self, *, started: bool) -> None:
        """Die, before or after the start of the functions that it holds, and come back as another node."""
        now = self._world.clock.now()
        for _, claim in self.held if started else ():
            if claim.due <= now:
                self._workshop.write("start", _context_of(claim))
        self._world.troubles.append(Trouble("killed", now, now, self.process))
        self.reborn()

    async def stop(self) -> None:
        """Give back what has not begun, and come back as another node."""
        held = [claim for _, claim in self.held]
        if held:
            await self.runtime.db_ops.release(held, self._world.clock.now())
        self.reborn()

    async def recover(self) -> None:
        """Take care of what others left behind."""
        while await self.service.recovery.tick() == 0:
            pass

    def reborn(self) -> None:
        """Forget everything; a new process has a new id."""
        self.held = []
        self.runtime.node_id = new_id()
        self.process = self._world.next_process()


class World:
    """The nodes, their clock, their database, and what is known about all that happened."""

    def __init__(self, engine: Engine) -> None:
        self.clock = ManualClock()
        self.nodes: list[VirtualNode] = []
        self.lines, self.calls = InMemory(), InMemory()
        self.troubles: list[Trouble] = []
        self._engine = engine
        self._processes = 0
        self._edits = itertools.count(1)

    @property
    def client(self) -> Client:
        """Somebody who asks the first node."""
        return self.client_of(self.nodes[0])

    def client_of(self, node: VirtualNode) -> Client:
        return Client(node.service, CallLog(self.calls, f"call {len(self.calls)}"), self.clock.now, self._edits)

    def next_process(self) -> int:
        self._processes += 1
        return self._processes

    def advance(self, seconds: float) -> None:
        """Let time pass, for the nodes and for the journal."""
        self.set_clock(self.clock.now() + timedelta(seconds=seconds))

    def set_clock(self, moment: datetime) -> None:
        self.clock.set(moment)
        with self._engine.begin() as connection:
            set_journal_clock(connection, self.clock.now())

    def start_over(self) -> None:
        """Empty tables, new nodes; the clock goes on from where it is."""
        with self._engine.begin() as connection:
            for table in TABLES:
                connection.exec_driver_sql(f"DELETE FROM {table}")
        for log in (self.lines, self.calls, self.troubles):
            log.clear()
        for node in self.nodes:
            node.reborn()
        self.advance(LEASE)

    async def settle(self) -> None:
        """Let everything come to its end: nobody holds anything, nothing is paused, nothing recurs any more."""
        for node in self.nodes:
            node.crash(started=False)
        for task in (await self._tasks("pending")) + (await self._tasks("paused")) + (await self._tasks("running")):
            if task["recurring"]:
                await self.client.cancel(task["id"])
            elif task["status"] == "paused":
                await self.client.resume(task["id"])
        for _ in range(LONGEST_SETTLING):  # attempts wait for their turn, and may be abandoned again and again
            if not self._busy():
                break
            self.advance(2 * LEASE)
            for node in self.nodes:
                await node.recover()
                await node.run_due()

    def _busy(self) -> bool:
        with self._engine.begin() as connection:
            return is_busy(connection)

    async def _tasks(self, status: str) -> list[dict[str, Any]]:
        page = (await self.nodes[0].service.list_tasks(status=status, limit=200)).unwrap()
        tasks: list[dict[str, Any]] = page["tasks"]
        return tasks

    def evidence(self, *, settled: bool = False) -> Evidence:
        """All that is known now."""
        with self._engine.begin() as connection:
            tables = read_tables(connection)
        return Evidence(
            rules=RULES,
            **tables,
            lines=lines_of(self.lines),
            calls=calls_of(self.calls),
            troubles=list(self.troubles),
            settled_at=self.clock.now() if settled else None,
        )


@asynccontextmanager
async def virtual_world(database_url: str, folder: Path, nodes: int = 2) -> AsyncIterator[World]:
    """Nodes on a new database. They do nothing by themselves."""
    engine = _hasty(create_engine(sync_url(database_url)))
    world = World(engine)
    own = {"enabled": False, "housekeeping": False, "lease_seconds": LEASE, "look_ahead_seconds": LOOK_AHEAD}
    try:
        async with AsyncExitStack() as stack:
            for _ in range(nodes):
                settings = AppSettings.load(
                    database_url=database_url, data_dir=folder, module_settings={"core.scheduler": own}
                )
                context = AppContext(settings, clock=world.clock)
                context.register_modules()
                world.nodes.append(VirtualNode(world, context))
                await stack.enter_async_context(context)
            await asyncio.to_thread(keep_journal, database_url)
            world.set_clock(world.clock.now())
            yield world
            for node in world.nodes:
                await node.service.job_manager.recorder.stop(5)
    finally:
        engine.dispose()


def _hasty(engine: Engine) -> Engine:
    """What is written on it need not survive a crash of the machine."""
    if engine.dialect.name == "sqlite":
        listen(engine, "connect", lambda connection, _record: connection.execute("PRAGMA synchronous = OFF"))
    return engine


def _context_of(claim: Claim) -> ExecutionContext:
    return ExecutionContext(
        task_id=claim.event.id,
        execution_id=claim.execution_id,
        scheduled_for=claim.scheduled_for,
        attempt=claim.attempt,
        fence=claim.fence,
        trace_session_id=claim.trace_session_id,
    )

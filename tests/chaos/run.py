"""One chaos run: nodes that work and die, somebody at the controls, then peace, and the evidence of it all."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from modules.core.app_context import AppContext
from modules.core.settings import AppSettings
from tests.chaos import faults
from tests.chaos.client import Client
from tests.chaos.cluster import Cluster
from tests.chaos.driver import Driver
from tests.chaos.evidence import Evidence, Rules, Trouble
from tests.chaos.log import CALLS, RUNS, AppendOnly, CallLog, InMemory, calls_of, contents, lines_of
from tests.chaos.node import PEACE, NodePlan, up
from tests.chaos.tables import connected, is_busy, keep_journal, read_tables
from tests.chaos.work import MODULE, Workshop
from tests.support import postgres

LEASE = 2
# Longest sleep of a dispatcher: other processes schedule too, and not every database can tell them.
POLL = 0.5
AT_WORK = 0.8  # how many of the processes that something is done to
NODE_SETTINGS = {
    "lease_seconds": LEASE,
    "poll_ceiling_seconds": POLL,
    "drain_timeout_seconds": 1,
    "cancel_grace_seconds": 0.5,
    "housekeeping": False,
}


@dataclass(frozen=True)
class Plan:
    """What is to be done to whom. `pace` is the mean number of seconds from one trouble to the next."""

    database: str
    kills: int
    seed: int
    nodes: int = 4
    pace: float = 0.5
    longest: float = 60.0
    fault: str | None = None
    calls_per_second: float = 16.0


@dataclass(frozen=True)
class Place:
    """Where a run happens: a folder for its logs, its database, and the folder of its own server where it has one."""

    folder: Path
    url: str
    server: Path | None = None


@contextmanager
def place_for(database: str, folder: Path) -> Iterator[Place]:
    """A new SQLite file in `folder`, or a database on a PostgreSQL server that is there for this run alone."""
    if database == "sqlite":
        yield Place(folder, f"sqlite+aiosqlite:///{(folder / 'chaos.sqlite3').as_posix()}")
        return
    server = postgres.make_run_folder()
    try:
        # An answer must be on disk: this server is crashed on purpose.
        address = postgres.server_url(server, {**postgres.SETTINGS, "synchronous_commit": "on"})
        name = postgres.create_database(address)
        yield Place(folder, f"{address}/{name}".replace("postgresql://", "postgresql+psycopg://"), server)
    finally:
        postgres.stop(server)


async def run(plan: Plan, place: Place) -> Evidence:
    """Do it, and return what it left behind. Takes at most `plan.longest` seconds of trouble and some 20 of peace."""
    context = _controls(place)
    async with context:
        await asyncio.to_thread(_prepare, plan, place)
        calls = AppendOnly(place.folder / CALLS)
        client = Client(
            context.get_service("core.scheduler.service"), CallLog(calls, "driver"), lambda: datetime.now(UTC)
        )
        driver = Driver(client, plan.seed, plan.calls_per_second / 2)
        await driver.set_up()
        cluster = Cluster(plan.nodes, lambda number: _node_plan(plan, place, number))
        over = asyncio.Event()
        try:
            cluster.fill()
            working = asyncio.create_task(driver.work(over))
            await _make_trouble(plan, place, cluster)
            over.set()
            await working
            cluster.fill()
            (place.folder / PEACE).touch()
            await driver.finish()
            await _peace(place.url)
            settled_at = datetime.now(UTC)
        finally:
            over.set()
            await cluster.stop_all()
        calls.close()
    return _evidence(place, cluster.troubles, settled_at)


def _prepare(plan: Plan, place: Place) -> None:
    if plan.fault == faults.no_unique_key.__name__:
        with connected(place.url) as connection:
            faults.drop_unique_key(connection)
    keep_journal(place.url)


def summary(evidence: Evidence) -> str:
    """What happened, in a line or two."""
    troubles = Counter(trouble.what for trouble in evidence.troubles)
    states = Counter(execution.state for execution in evidence.executions)
    calls = Counter({True: "done", False: "refused", None: "unknown"}[call.answer] for call in evidence.calls)
    return (
        f"troubles: {_counted(troubles)}\ntasks: {len(evidence.events)}, calls: {_counted(calls)}\n"
        f"executions: {_counted(states)}, functions started: {len(evidence.starts)}, "
        f"fire times recorded as missed: {sum(span.count for span in evidence.missed)}"
    )


def _counted(counter: Counter[str]) -> str:
    return ", ".join(f"{number} {what}" for what, number in sorted(counter.items())) or "none"


def _controls(place: Place) -> AppContext:
    settings = AppSettings.load(
        database_url=place.url,
        data_dir=place.folder,
        module_settings={"core.scheduler": {**NODE_SETTINGS, "enabled": False}},
    )
    context = AppContext(settings)
    context.register_modules()
    # It runs nothing here; it is registered because only what is known may be scheduled.
    unused = Workshop(InMemory(), process=lambda: 0, node_id=lambda: "", now=lambda: datetime.now(UTC))
    context.get_service("core.scheduler.tasks").register(MODULE, unused.work)
    return context


def _node_plan(plan: Plan, place: Place, number: int) -> NodePlan:
    return NodePlan(
        number=number,
        database_url=place.url,
        folder=place.folder,
        seed=plan.seed * 10_000 + number,
        lifetime=int(plan.longest) + 120,
        calls_per_second=plan.calls_per_second / 2 / plan.nodes,
        fault=plan.fault,
        settings=NODE_SETTINGS,
    )


async def _make_trouble(plan: Plan, place: Place, cluster: Cluster) -> None:
    rng = random.Random(plan.seed)
    kills, outages = 0, 0
    under_way: set[asyncio.Task[None]] = set()
    give_up = asyncio.get_running_loop().time() + plan.longest
    while kills < plan.kills and asyncio.get_running_loop().time() < give_up:
        await asyncio.sleep(rng.uniform(0.5, 1.5) * plan.pace)
        chance = rng.random()
        if place.server is not None and (chance < 0.04 or (kills == plan.kills // 2 and not outages)):
            outages += 1
            cluster.troubles.append(await _outage(place.server, rng.uniform(0.2, 2.0)))
        elif targets := cluster.targets:
            # Mostly those that are at work: who is killed while it starts leaves little behind.
            at_work = [target for target in targets if up(place.folder, target).exists()]
            number = rng.choice(at_work if at_work and rng.random() < AT_WORK else targets)
            if chance > 0.15:
                kills += 1
                await asyncio.to_thread(cluster.kill, number)
            else:
                work = cluster.suspend(number, LEASE * rng.uniform(1.2, 2)) if chance > 0.06 else cluster.stop(number)
                task = asyncio.create_task(work)
                under_way.add(task)
                task.add_done_callback(under_way.discard)
        cluster.fill()
    await asyncio.gather(*under_way)


async def _outage(server: Path, seconds: float) -> Trouble:
    begin = datetime.now(UTC)
    await asyncio.to_thread(postgres.crash, server)
    await asyncio.sleep(seconds)
    await asyncio.to_thread(postgres.start_again, server)
    return Trouble("outage", begin, datetime.now(UTC))


async def _peace(url: str) -> None:
    """Wait until nothing is open or due any more; what still is when the time is over speaks against the scheduler."""
    longest = 3 * LEASE + 3 * LEASE / 2 + Rules(timedelta(), timedelta()).patience.total_seconds()
    give_up = asyncio.get_running_loop().time() + longest
    while asyncio.get_running_loop().time() < give_up and await asyncio.to_thread(_busy, url):
        await asyncio.sleep(0.2)


def _busy(url: str) -> bool:
    with connected(url) as connection:
        return is_busy(connection)


def _evidence(place: Place, troubles: list[Trouble], settled_at: datetime) -> Evidence:
    with connected(place.url) as connection:
        tables = read_tables(connection)
    return Evidence(
        rules=Rules(lease=timedelta(seconds=LEASE), recovery=timedelta(seconds=LEASE / 2)),
        **tables,
        lines=lines_of(contents(place.folder / RUNS)),
        calls=calls_of(contents(place.folder / CALLS)),
        troubles=troubles,
        settled_at=settled_at,
    )


@contextmanager
def quiet_logs() -> Iterator[None]:
    """Outages are made on purpose here: what the controls' own process logs about them is no news."""
    ours = logging.getLogger("modules")
    before = ours.level
    ours.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        ours.setLevel(before)

"""The table of what is compared: each row is a figure of one of our runs over the same figure of another run.

`must` and `stretch` are the limits that this project set itself; a row without them is there for the reader.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.benchmarks.catalogue import PEERS

DATABASES = ("sqlite", "postgresql")
WORKLOADS = {
    "W1": "drain: due no-op tasks, from the start of dispatch to the last completion on disk",
    "W2": "latency: start minus due of tasks spread over some seconds",
    "W3": "schedule: tasks of tomorrow are made",
    "W4": "scale: W1 beside many tasks of tomorrow, against an empty table; then idle",
    "W5": "idle: beside 1,000 tasks of tomorrow; CPU, statements and transactions per minute",
    "W6": "recurring: hundreds of tasks, each of them every second",
    "W7": "history: W1 beside many old executions, against an empty table",
}


@dataclass(frozen=True)
class Template:
    """What is in the tables before a run: tasks of tomorrow, and old executions."""

    pending: int = 0
    history: int = 0


EMPTY = Template()


@dataclass(frozen=True)
class Run:
    """One start of a contestant's script. `options` are its arguments."""

    who: str
    workload: str
    database: str
    options: tuple[tuple[str, Any], ...] = ()
    template: Template = EMPTY

    @property
    def is_ours(self) -> bool:
        return self.who in ("ours", "floor")

    def __str__(self) -> str:
        before = [f"{name}={value:,}" for name, value in vars(self.template).items() if value]
        return " ".join([self.who, self.workload, *(f"{name}={value}" for name, value in self.options), *before])


@dataclass(frozen=True)
class Row:
    """`figure` is a key of FIGURES. Without `other`, the limits are for the figure itself and not for a ratio."""

    workload: str
    name: str
    figure: str
    ours: Run
    other: Run | None = None
    must: float | None = None
    stretch: float | None = None
    note: str = ""

    @property
    def key(self) -> str:
        """Names the row among all rows; the same from one bench to the next."""
        return f"{self.workload} {self.ours.database}: {self.name} ({self.figure})"

    @property
    def together(self) -> bool:
        """Idle contestants do not disturb each other: they are watched at the same time."""
        return self.ours.workload == "idle"


@dataclass(frozen=True)
class Sizes:
    """How much of everything."""

    drain: int = 20_000
    small: int = 2_000
    latency: int = 1_000
    latency_seconds: float = 20.0
    schedule: int = 2_000
    bulk: int = 10_000
    due: int = 1_000
    pending: tuple[int, ...] = (1_000, 10_000, 100_000, 1_000_000)
    watch: float = 20.0
    idle: int = 1_000
    idle_seconds: float = 60.0
    recurring: int = 500
    recurring_seconds: float = 30.0
    old_drain: int = 20_000
    history: int = 500_000


QUICK = Sizes(
    drain=500,
    small=100,
    latency=50,
    latency_seconds=2.0,
    schedule=100,
    bulk=500,
    due=100,
    pending=(10_000,),
    watch=1.0,
    idle=100,
    idle_seconds=5.0,
    recurring=20,
    recurring_seconds=3.0,
    old_drain=200,
    history=10_000,
)


@dataclass(frozen=True)
class Table:
    """All rows for one database."""

    database: str
    sizes: Sizes
    driver: str = "psycopg"
    workloads: frozenset[str] = field(default_factory=lambda: frozenset(WORKLOADS))

    def rows(self) -> Iterator[Row]:
        makers = (self._drain, self._latency, self._schedule, self._scale, self._idle, self._recurring, self._history)
        for name, maker in zip(WORKLOADS, makers, strict=True):
            if name in self.workloads:
                yield from maker()

    def _ours(self, workload: str, template: Template = EMPTY, **options: Any) -> Run:
        more = {"driver": self.driver} if self.database == "postgresql" else {}
        return Run("ours", workload, self.database, tuple((more | options).items()), template)

    def _peer(self, name: str, workload: str, **options: Any) -> Run:
        return Run(name, workload, self.database, tuple(options.items()))

    def _peers(self) -> list[str]:
        return [name for name, peer in PEERS.items() if self.database in peer.databases]

    def _drain(self) -> Iterator[Row]:
        number = self.sizes.drain
        tuned = self._ours("drain", number=number)
        durable = {"synchronous": "FULL"} if self.database == "sqlite" else {}
        full = self._ours("drain", number=number, **durable)
        floor = Run("floor", "drain", self.database, (("number", number),))

        def best(name: str) -> Run:
            return self._peer(name, "drain", number=number)

        if self.database == "sqlite":
            yield Row("W1", "tinyjobs, best settings", "rate", tuned, best("tinyjobs"), 5, 8)
            yield Row("W1", "tinyjobs, best settings", "CPU each", tuned, best("tinyjobs"), 0.25, 0.15)
            huey = self._peer("huey", "drain", number=number, settings="default")
            yield Row("W1", "huey, both at FULL", "rate", full, huey, 4, 6)
            note = "one write for each task against our four, and no history: 4x would be beyond the floor"
            yield Row("W1", "huey, best settings, both at NORMAL", "rate", tuned, best("huey"), 4, 6, note)
            yield Row("W1", "floor, both at NORMAL", "rate", tuned, floor, 0.3, 0.5)
            yield Row("W1", "FULL against our NORMAL", "rate", full, tuned, 0.7, 0.9)
        else:
            yield Row("W1", "PGQueuer, best settings", "rate", tuned, best("pgqueuer"), 1.2, 1.6)
            yield Row("W1", "PGQueuer, best settings", "CPU each", tuned, best("pgqueuer"), 0.6, 0.4)
            yield Row("W1", "procrastinate, best settings", "rate", tuned, best("procrastinate"), 15, 30)
            yield Row("W1", "chancy, best settings", "rate", tuned, best("chancy"))
            yield Row("W1", "floor", "rate", tuned, floor, 0.5, 0.8)
            ours = {"who": "ours", "workload": "drain", "database": self.database}
            asyncpg, psycopg = (
                Run(**ours, options=(("number", number), ("driver", driver))) for driver in ("asyncpg", "psycopg")
            )
            yield Row("W1", "our asyncpg against our psycopg", "rate", asyncpg, psycopg)
        few = self._ours("drain", number=number, slots=10, **durable)
        yield Row("W1", "10 slots, the default, against our 500", "rate", few, full, 0.8, 0.9)
        everything = self._ours("drain", number=number, everything=1)
        yield Row("W1", "every option on against the bare path", "rate", everything, tuned, 0.6, 0.8)
        yield from self._drain_small()

    def _drain_small(self) -> Iterator[Row]:
        number = self.sizes.small
        tuned = self._ours("drain", number=number)
        shipped = self._ours("drain", number=number, settings="default")
        for name in self._peers():
            if name == "apscheduler4":
                continue  # W6 only: an alpha
            title = PEERS[name].title
            best = self._peer(name, "drain", number=number)
            yield Row("W1", f"{title}, best settings, {number:,} tasks", "rate", tuned, best)
            if name != "chancy":  # its default drains ten tasks in twenty seconds
                default = self._peer(name, "drain", number=number, settings="default")
                yield Row("W1", f"{title}, both as they come, {number:,} tasks", "rate", shipped, default)

    def _latency(self) -> Iterator[Row]:
        size = {"number": self.sizes.latency, "seconds": self.sizes.latency_seconds}
        ours = self._ours("latency", **size, settings="default")
        yield Row("W2", "ours alone", "p50", ours)
        yield Row("W2", "ours alone", "p99", ours)
        peers = ["apscheduler3", "tinyjobs"] if self.database == "sqlite" else ["apscheduler3", "pg_scheduler"]
        for name in peers:
            other = self._peer(name, "latency", **size)
            demanded = {"p50": (0.5, 0.3), "p99": (1.0, 0.5)} if name == "apscheduler3" else {}
            for figure in ("p50", "p99"):
                yield Row("W2", PEERS[name].title, figure, ours, other, *demanded.get(figure, ()))
        if self.database == "postgresql":
            yield Row("W2", PEERS["pgqueuer"].title, "p50", ours, self._peer("pgqueuer", "latency", **size))

    def _schedule(self) -> Iterator[Row]:
        peers = ["tinyjobs", "huey"] if self.database == "sqlite" else ["pg_scheduler", "pgqueuer"]
        limits = {("tinyjobs", 100): (4, 6), ("pg_scheduler", 100): (5, 7), ("pg_scheduler", 0): (1, 1.5)}
        mine = {}
        for callers, title in ((1, "one caller"), (100, "100 callers"), (0, "in bulk")):
            number = self.sizes.schedule if callers else self.sizes.bulk
            mine[callers] = self._ours("schedule", number=number, callers=callers)
            yield Row("W3", f"ours alone, {title}", "rate", mine[callers])
            for name in peers:
                if callers or self.database == "postgresql":  # the peers on SQLite have no bulk call
                    other = self._peer(name, "schedule", number=number, callers=callers)
                    demanded = limits.get((name, callers), ())
                    yield Row("W3", f"{PEERS[name].title}, {title}", "rate", mine[callers], other, *demanded)
        yield Row("W3", "our bulk call against our 100 callers", "rate", mine[0], mine[100])

    def _scale(self) -> Iterator[Row]:
        options = {"number": self.sizes.due, "watch": 1, "seconds": self.sizes.watch, "settings": "default"}
        empty = self._ours("drain", **options)
        most = max(self.sizes.pending)
        for pending in self.sizes.pending:
            ours = self._ours("drain", Template(pending=pending), **options)
            name = f"{pending:,} tasks of tomorrow"
            demanded = pending == most
            yield Row("W4", name, "rate", ours, empty, *((0.6, 0.9) if demanded else ()))
            yield Row("W4", name, "idle CPU", ours, empty, *((1.5, 1.1) if demanded else ()))
            yield Row("W4", name, "memory", ours, empty, *((1.1, 1.02) if demanded else ()))

    def _idle(self) -> Iterator[Row]:
        size = {"number": self.sizes.idle, "seconds": self.sizes.idle_seconds}
        ours = self._ours("idle", **size, settings="default")
        yield Row("W5", "one node", "statements", ours, None, 6, 2)
        yield Row("W5", "one node", "idle CPU", ours, None, 0.05, 0.02)
        if self.database == "postgresql":
            yield Row("W5", "one node", "transactions", ours)
            two = self._ours("idle", **size, settings="default", nodes=2)
            yield Row("W5", "each of two nodes", "statements", two, None, 12, 6)
        for name in self._peers():
            if name == "apscheduler4":
                continue
            for settings in ("best", "default"):
                other = self._peer(name, "idle", **size, settings=settings)
                title = f"{PEERS[name].title}, {'as it comes' if settings == 'default' else 'best settings'}"
                yield Row("W5", title, "idle CPU", ours, other)
                if self.database == "postgresql":
                    yield Row("W5", title, "transactions", ours, other)

    def _recurring(self) -> Iterator[Row]:
        size = {"number": self.sizes.recurring, "seconds": self.sizes.recurring_seconds}
        ours = self._ours("recurring", **size)
        yield Row("W6", "fire times that ran", "done", ours, None, 1)
        yield Row("W6", "ours alone", "p50", ours)
        yield Row("W6", "ours alone", "p99", ours)
        for name in ("apscheduler3", "apscheduler4"):
            other, title = self._peer(name, "recurring", **size), PEERS[name].title
            limits = (0.2, 0.1) if name == "apscheduler3" else ()
            yield Row("W6", title, "CPU each", ours, other, *limits)
            yield Row("W6", title, "p50", ours, other)
            yield Row("W6", title, "p99", ours, other)
            yield Row("W6", title, "done", ours, other)

    def _history(self) -> Iterator[Row]:
        number, history = self.sizes.old_drain, self.sizes.history
        old = self._ours("drain", Template(history=history), number=number)
        name = f"{history:,} old executions"
        yield Row("W7", name, "rate", old, self._ours("drain", number=number), 0.6, 0.9)

"""Days of a scheduler in seconds: the real engine, a real database, and a clock that jumps to what comes next.

simulated = simulate(
    {"name": "Report", "cron_expression": "0 2 * * *"},
    datetime(2026, 3, 1, tzinfo=UTC),
    datetime(2026, 3, 8, tzinfo=UTC),
    runtimes={"Report": 600},
    downtimes=[Downtime(datetime(2026, 3, 3, tzinfo=UTC), datetime(2026, 3, 5, tzinfo=UTC))],
)
simulated.ledger("Report")
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from modules.core.app_context import AppContext
from modules.core.scheduler.errors import InvalidTask
from modules.core.scheduler.execution import ExecutionContext
from modules.core.scheduler.runtime import Runtime
from modules.core.scheduler.service import SchedulerService
from modules.core.scheduler.virtual_heartbeat import VirtualHeartbeat
from modules.core.scheduler.virtual_time import VirtualClock, VirtualLoop, run_on_virtual_time, virtual_database
from modules.core.settings import AppSettings

MODULE: Final = "simulated"
LONGEST: Final = timedelta(days=3660)
A_MOMENT: Final = 0.05  # in which what is due at one time is done, where that takes no time
SEED: Final = 20260302


@dataclass(frozen=True, slots=True)
class Work:
    """What a simulated function does: it takes `seconds` (the n-th run takes the n-th of a list, the last one for ever;
    or a function of the fire time), and fails at the fire times of `fails_at`, or at all of them."""

    seconds: float | Sequence[float] | Callable[[datetime], float] = 0.0
    fails_at: bool | Collection[datetime] | Callable[[datetime], bool] = False

    def seconds_of(self, scheduled_for: datetime, run: int) -> float:
        if callable(self.seconds):
            return self.seconds(scheduled_for)
        if isinstance(self.seconds, Sequence):
            return self.seconds[min(run, len(self.seconds) - 1)]
        return self.seconds

    def fails(self, scheduled_for: datetime) -> bool:
        if isinstance(self.fails_at, bool):
            return self.fails_at
        return self.fails_at(scheduled_for) if callable(self.fails_at) else scheduled_for in self.fails_at


@dataclass(frozen=True, slots=True)
class Downtime:
    """No process from `from_` to `until`. It was killed, or with `crash=False` stopped in order."""

    from_: datetime
    until: datetime
    crash: bool = True


@dataclass(frozen=True, slots=True)
class ClockStep:
    """At `at` the wall clock is put forward by so many seconds, or back; nothing else notices."""

    at: datetime
    seconds: float


@dataclass(frozen=True, slots=True)
class Suspend:
    """At `at` the machine is suspended for so many seconds: then everything goes on where it stood."""

    at: datetime
    seconds: float


@dataclass(frozen=True, slots=True)
class Action:
    """At `at` somebody does something with the service; `tasks` are the ids by name."""

    at: datetime
    do: Callable[[SchedulerService, Mapping[str, str]], Awaitable[Any]]


Step = Downtime | ClockStep | Suspend | Action


class SimulatedFailure(Exception):
    """What a simulated function raises where it was told to fail."""


@dataclass(frozen=True, slots=True)
class Simulation:
    """What became of it: `ledgers` by the tasks' names, entries as `occurrences` answers them, oldest first."""

    ledgers: dict[str, list[dict[str, Any]]]
    tasks: dict[str, dict[str, Any]]

    def ledger(self, name: str) -> list[dict[str, Any]]:
        return self.ledgers[name]


@dataclass(slots=True)
class _World:
    loop: VirtualLoop
    clock: VirtualClock
    folder: Path
    works: Mapping[str, Work]
    settings: dict[str, Any]
    runs: dict[str, int] = field(default_factory=dict)


def simulate(
    tasks: Mapping[str, Any] | Sequence[Mapping[str, Any]],
    from_: datetime,
    until: datetime,
    *,
    runtimes: Mapping[str, Work | float] | None = None,
    downtimes: Sequence[Downtime] = (),
    clock_steps: Sequence[ClockStep] = (),
    suspends: Sequence[Suspend] = (),
    actions: Sequence[Action] = (),
    settings: Mapping[str, Any] | None = None,
    expand: bool = False,
) -> Simulation:
    """Run these tasks from `from_` to `until` (aware) on a virtual clock, and return their ledgers.

    A task is a configuration as `schedule_task` takes it; `module_id` and `function_name` may be left out. Its function
    does what `runtimes` says under the task's name: nothing, or something that takes so many seconds. `settings` are
    those of `core.scheduler`. Steps happen in the order of their times, by the wall clock; `expand` shows spans as
    single fire times. Call it where no event loop runs. Raises InvalidTask for what makes no sense.
    """
    configs = [tasks] if isinstance(tasks, Mapping) else list(tasks)
    names = _names_of(configs)
    works = _works_of(runtimes or {}, names)
    steps: list[Step] = [*downtimes, *clock_steps, *suspends, *actions]
    _check_times(from_, until, steps)
    if _in_a_loop():
        raise InvalidTask(
            "simulate() runs an event loop of its own: in async code, await asyncio.to_thread(simulate, ...)."
        )

    async def work(loop: VirtualLoop) -> Simulation:
        with tempfile.TemporaryDirectory(prefix="simulation-") as folder:
            # A look now and then heals what a changed clock hides; where none changes, it finds nothing.
            own: dict[str, Any] = {} if clock_steps or suspends else {"poll_ceiling_seconds": 3600.0}
            own |= {"housekeeping": False, **(settings or {}), "enabled": True}
            world = _World(loop, VirtualClock(loop, from_.astimezone(UTC)), Path(folder), works, own)
            return await _run(world, configs, names, from_, until, sorted(steps, key=_time_of), expand=expand)

    return run_on_virtual_time(work)


async def _run(
    world: _World,
    configs: Sequence[Mapping[str, Any]],
    names: Sequence[str],
    from_: datetime,
    until: datetime,
    steps: Sequence[Step],
    *,
    expand: bool,
) -> Simulation:
    process = await _Process.start(world)
    try:
        given = [
            {"name": name, "module_id": MODULE, "function_name": name, **config}
            for name, config in zip(names, configs, strict=True)
        ]
        scheduled = (await process.service.schedule_tasks(given)).unwrap()["tasks"]
        ids = {name: task["task_id"] for name, task in zip(names, scheduled, strict=True)}
        for step in steps:
            await world.clock.sleep_until(_time_of(step))
            if isinstance(step, Downtime):
                await process.end(crash=step.crash)
                await world.clock.sleep_until(step.until)
                process = await _Process.start(world)
            elif isinstance(step, Action):
                await step.do(process.service, ids)
            else:
                world.clock.step(step.seconds)
        await world.clock.sleep_until(until)
        await asyncio.sleep(A_MOMENT)
        service = process.service
        return Simulation(
            {name: await _ledger(service, ids[name], from_, until, expand=expand) for name in names},
            {name: (await service.get_task(ids[name])).unwrap() for name in names},
        )
    finally:
        await process.end(crash=True)


async def _ledger(
    service: SchedulerService, task_id: str, from_: datetime, until: datetime, *, expand: bool
) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = []
    cursor = None
    while True:
        page = (
            await service.occurrences(
                task_id, from_, until, limit=200, cursor=cursor, newest_first=False, expand=expand
            )
        ).unwrap()
        entries += page["occurrences"]
        cursor = page["next_cursor"]
        if cursor is None:
            return entries


class _Process:
    """One life of the application: from its start to its stop, or to its death."""

    def __init__(self, world: _World, context: AppContext) -> None:
        self._world = world
        self._context = context
        self.service: SchedulerService = context.get_service("core.scheduler.service")

    @classmethod
    async def start(cls, world: _World) -> _Process:
        settings = AppSettings.load(
            database_url="",
            data_dir=world.folder,
            modules=(),
            sqlite_synchronous="NORMAL",
            module_settings={"core.scheduler": world.settings},
        )
        context = AppContext(settings, clock=world.clock)
        context.database = virtual_database(
            world.loop, settings.effective_database_url, world.clock, sqlite_synchronous="NORMAL"
        )
        context.register_modules()
        runtime = Runtime.of(context)
        runtime.rng.seed(SEED)
        process = cls(world, context)
        for name, work in world.works.items():
            runtime.registry.register(MODULE, _function(world, name, work), name=name)
        process.service.cluster.heartbeat = VirtualHeartbeat(runtime, process.service.cluster)
        await context.start()
        return process

    async def end(self, *, crash: bool) -> None:
        if crash:
            await self.service.abandon()
        await self._context.stop()


def _function(world: _World, name: str, work: Work) -> Callable[..., Awaitable[None]]:
    async def simulated(_parameters: Any, context: ExecutionContext) -> None:
        run = world.runs.get(name, 0)
        world.runs[name] = run + 1
        if (seconds := work.seconds_of(context.scheduled_for, run)) > 0:
            await asyncio.sleep(seconds)
        if work.fails(context.scheduled_for):
            raise SimulatedFailure(f"{name} fails at {context.scheduled_for.isoformat()}, as it was told to")

    return simulated


def _names_of(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    if not configs:
        raise InvalidTask("There is nothing to simulate: give at least one task.")
    names = [str(config.get("name", f"task {number}")) for number, config in enumerate(configs, 1)]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InvalidTask(f"Two tasks are called {twice[0]!r}: give each a name of its own.")
    return names


def _works_of(runtimes: Mapping[str, Work | float], names: Collection[str]) -> dict[str, Work]:
    for name in runtimes:
        if name not in names:
            raise InvalidTask(f"runtimes: there is no task {name!r}; the tasks are {', '.join(sorted(names))}.")
    given = {name: runtimes.get(name, Work()) for name in names}
    return {name: work if isinstance(work, Work) else Work(work) for name, work in given.items()}


def _check_times(from_: datetime, until: datetime, steps: Sequence[Step]) -> None:
    moments = [from_, until, *map(_time_of, steps)]
    moments += [step.until for step in steps if isinstance(step, Downtime)]
    if any(moment.tzinfo is None for moment in moments):
        raise InvalidTask("A simulation needs aware times, for example datetime(2026, 3, 1, tzinfo=UTC).")
    if not from_ < until <= from_ + LONGEST:
        raise InvalidTask("until must lie after from, and at most ten years.")
    if any(not from_ <= moment <= until for moment in moments):
        raise InvalidTask("Downtimes, clock steps, suspends and actions must lie between from and until.")
    ends = from_
    for step in sorted((step for step in steps if isinstance(step, Downtime)), key=_time_of):
        if not ends <= step.from_ < step.until:
            raise InvalidTask("A downtime must end after it began, and before the next one begins.")
        ends = step.until


def _time_of(step: Step) -> datetime:
    return step.from_ if isinstance(step, Downtime) else step.at


def _in_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True

"""One process of a chaos run: an application with a scheduler in it, which also schedules tasks of its own."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import signal
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from modules.core.app_context import AppContext
from modules.core.scheduler.runtime import Runtime
from modules.core.settings import AppSettings
from tests.chaos import faults
from tests.chaos.client import Client
from tests.chaos.log import CALLS, RUNS, AppendOnly, CallLog
from tests.chaos.work import MODULE, Workshop

NODES_LOG = "nodes.log"
PEACE = "peace"  # a file: from now on nobody schedules any more


@dataclass(frozen=True)
class NodePlan:
    """What a process is told. `number` is new at each start; after `lifetime` seconds it ends by itself."""

    number: int
    database_url: str
    folder: Path
    seed: int
    lifetime: int
    calls_per_second: float
    fault: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)


def up(folder: Path, number: int) -> Path:
    """A file that is there once that process works."""
    return folder / f"up.{number}"


def main(plan: NodePlan) -> None:
    """Run until SIGTERM, or until somebody kills it."""
    signal.alarm(plan.lifetime)
    output = os.open(plan.folder / NODES_LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.dup2(output, 1)
    os.dup2(output, 2)
    logging.basicConfig(
        level=logging.WARNING, format=f"%(asctime)s process {plan.number} %(name)s: %(message)s", force=True
    )
    faults.apply(plan.fault)
    asyncio.run(_serve(plan))


async def _serve(plan: NodePlan) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    settings = AppSettings.load(
        database_url=plan.database_url,
        data_dir=plan.folder,
        auto_migrate=False,
        module_settings={"core.scheduler": plan.settings},
    )
    context = AppContext(settings)
    context.register_modules()
    runtime = Runtime.of(context)
    runs, calls = AppendOnly(plan.folder / RUNS), AppendOnly(plan.folder / CALLS)
    workshop = Workshop(
        runs, process=lambda: plan.number, node_id=lambda: runtime.node_id, now=lambda: datetime.now(UTC)
    )
    context.get_service("core.scheduler.tasks").register(MODULE, workshop.work)
    log = CallLog(calls, f"process {plan.number}")
    async with context:
        up(plan.folder, plan.number).touch()
        client = Client(context.get_service("core.scheduler.service"), log, lambda: datetime.now(UTC))
        calling = asyncio.create_task(_schedule_now_and_then(client, plan, random.Random(plan.seed)))
        await stop.wait()
        calling.cancel()
        with suppress(asyncio.CancelledError):
            await calling
    runs.close()
    calls.close()


async def _schedule_now_and_then(client: Client, plan: NodePlan, rng: random.Random) -> None:
    mine: list[str] = []
    while plan.calls_per_second and not (plan.folder / PEACE).exists():
        await asyncio.sleep(rng.expovariate(plan.calls_per_second))
        if mine and rng.random() < 0.2:
            await client.execute(rng.choice(mine[-5:]))
        elif task_id := await client.schedule(**one_time(rng)):
            mine.append(task_id)


def one_time(rng: random.Random) -> dict[str, Any]:
    """Fields of a one-time task that is due soon: short or not, failing at first or not, of either delivery."""
    failing = rng.choice((0, 0, 0, 1, 2, 9))
    retry = {"max_attempts": 3, "backoff": "fixed", "delay_seconds": 0.2, "jitter": False}
    return {
        "schedule_time": datetime.now(UTC) + timedelta(seconds=rng.uniform(0, 1.5)),
        "parameters": {"seconds": round(rng.choice((0.0, 0.02, rng.uniform(0, 0.6))), 3), "failing": failing},
        "delivery": rng.choice(("at_least_once", "at_least_once", "at_least_once", "at_most_once")),
        "retry": retry if failing else None,
    }

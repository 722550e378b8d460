"""Somebody at the controls: schedules, edits, pauses, resumes, cancels and runs tasks by hand while nodes die."""

from __future__ import annotations

import asyncio
import random
from typing import Any

from tests.chaos.client import Client
from tests.chaos.node import one_time

OWNERS = 4
RECURRING_EACH = 3
REMEMBERED = 8
RETRY = {"max_attempts": 3, "backoff": "fixed", "delay_seconds": 0.1, "jitter": False}


class Driver:
    """Several owners of tasks at work side by side. Each waits for its answer before it asks again about its tasks."""

    def __init__(self, client: Client, seed: int, calls_per_second: float) -> None:
        self._client = client
        self._pace = calls_per_second / OWNERS
        self._owners = [_Owner(client, random.Random(f"{seed} owner {number}")) for number in range(OWNERS)]

    async def set_up(self) -> None:
        """The recurring tasks that are there from the beginning."""
        for owner in self._owners:
            for _ in range(RECURRING_EACH):
                await owner.schedule_recurring()

    async def work(self, until: asyncio.Event) -> None:
        await asyncio.gather(*(owner.work(self._pace, until) for owner in self._owners))

    async def finish(self) -> None:
        """Cancel what recurs and resume the rest, so that everything can come to its end."""
        await asyncio.gather(*(owner.finish() for owner in self._owners))
        for task_id in await self._client.recurring():  # whose making nobody had an answer to
            await _answered(lambda task_id=task_id: self._client.cancel(task_id))


class _Owner:
    def __init__(self, client: Client, rng: random.Random) -> None:
        self._client = client
        self._rng = rng
        self._recurring: list[str] = []
        self._one_time: list[str] = []

    async def schedule_recurring(self) -> None:
        if task_id := await self._client.schedule(**self._recurring_fields()):
            self._recurring.append(task_id)

    async def work(self, pace: float, until: asyncio.Event) -> None:
        rng = self._rng
        actions = (self._schedule, self._execute, self._edit, self._pause, self._resume, self._cancel)
        while not until.is_set():
            await asyncio.sleep(rng.expovariate(pace))
            [action] = rng.choices(actions, weights=(30, 15, 15, 15, 20, 5))
            await action()

    async def finish(self) -> None:
        for task_id in self._recurring:
            await _answered(lambda task_id=task_id: self._client.cancel(task_id))
        for task_id in self._one_time:
            await _answered(lambda task_id=task_id: self._client.resume(task_id))

    async def _schedule(self) -> None:
        if task_id := await self._client.schedule(**one_time(self._rng)):
            self._one_time.append(task_id)

    async def _execute(self) -> None:
        await self._client.execute(self._any())

    async def _edit(self) -> None:
        rng = self._rng
        if rng.random() < 0.3 and self._one_time:
            await self._client.edit(rng.choice(self._one_time[-REMEMBERED:]), _parameters(rng))
            return
        schedule = {"interval_type": "seconds", "interval_value": rng.choice((1, 1, 2, 3))}
        await self._client.edit(rng.choice(self._recurring), _parameters(rng), **rng.choice(({}, schedule)))

    async def _pause(self) -> None:
        await self._client.pause(self._any())

    async def _resume(self) -> None:
        await self._client.resume(self._any())

    async def _cancel(self) -> None:
        task_id = self._any()
        if await self._client.cancel(task_id) and task_id in self._recurring:
            await self.schedule_recurring()

    def _any(self) -> str:
        return self._rng.choice(self._recurring + self._one_time[-REMEMBERED:])

    def _recurring_fields(self) -> dict[str, Any]:
        rng = self._rng
        return {
            "interval_type": "seconds",
            "interval_value": rng.choice((1, 1, 1, 2)),
            "parameters": _parameters(rng),
            "delivery": rng.choice(("at_least_once", "at_least_once", "at_most_once")),
            "max_executions": rng.choice((None, None, None, 5)),
            "retry": rng.choice((None, RETRY)),
        }


def _parameters(rng: random.Random) -> dict[str, Any]:
    # Some take longer than their interval.
    seconds = rng.choice((0.0, 0.05, rng.uniform(0, 0.8), rng.uniform(0, 2.5)))
    return {"seconds": round(seconds, 3), "failing": rng.choice((0, 0, 0, 1, 9))}


async def _answered(ask: Any) -> None:
    """Ask until there is an answer, be it a refusal."""
    for _ in range(50):
        if await ask() is not None:
            return
        await asyncio.sleep(0.2)

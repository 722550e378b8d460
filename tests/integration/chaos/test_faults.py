"""Faults put into the scheduler on purpose are found by the checker; without them the same story breaks nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine

from modules.core.scheduler.service import SchedulerService
from tests.chaos import faults
from tests.chaos.checker import broken
from tests.chaos.tables import sync_url
from tests.chaos.virtual import LEASE, World, virtual_world

INTERVAL = 10


class Died(Exception):
    """The process ends here."""


async def a_stale_worker_reports(world: World) -> None:
    first, second = world.nodes
    await _one_time(world)
    await first.claim()
    world.advance(LEASE + 1)
    await second.recover()
    await second.run_due()
    world.advance(1)
    await first.finish()


async def a_process_dies_while_it_fires(world: World) -> None:
    [first, _] = world.nodes
    await _recurring(world)
    try:
        await first.claim()
    except Died:
        first.crash(started=False)


async def a_task_is_set_back(world: World) -> None:
    [first, _] = world.nodes
    await _recurring(world)
    for _ in range(2):
        await first.claim()
        await first.finish()
        world.advance(1)


async def a_stale_worker_reports_while_the_next_attempt_runs(world: World) -> None:
    first, second = world.nodes
    await _recurring(world)
    await first.claim()
    world.advance(LEASE + 1)
    await second.recover()
    await second.claim()
    world.advance(1)
    await first.finish()
    world.advance(INTERVAL)
    await first.claim()


async def a_task_is_paused_while_it_runs(world: World) -> None:
    [first, _] = world.nodes
    task_id = await _recurring(world)
    await first.claim()
    world.advance(1)
    assert await world.client.pause(task_id)
    world.advance(1)
    await first.finish()


async def a_process_starts_while_another_one_works(world: World) -> None:
    first, second = world.nodes
    await _one_time(world)
    await first.claim()
    world.advance(1)
    await second.service.start_background_processing()
    world.advance(1)
    await first.finish()


async def a_process_dies_after_its_answer(world: World) -> None:
    before = asyncio.all_tasks()
    await _one_time(world)
    for task in asyncio.all_tasks() - before:
        task.cancel()


STORIES: dict[str, tuple[Callable[[World], Awaitable[None]], str]] = {
    "no_fence_check": (a_stale_worker_reports, "what_is_closed_stays_as_it_is"),
    "fire_in_two_transactions": (a_process_dies_while_it_fires, "what_fired_is_on_record"),
    "no_unique_key": (a_task_is_set_back, "attempts_are_numbered_without_gaps"),
    "completion_frees_unchecked": (
        a_stale_worker_reports_while_the_next_attempt_runs,
        "one_attempt_lives_at_once",
    ),
    "status_written_blindly": (a_task_is_paused_while_it_runs, "an_answered_pause_is_kept"),
    "start_abandons_everything": (a_process_starts_while_another_one_works, "only_leases_decide"),
    "answers_before_it_is_durable": (a_process_dies_after_its_answer, "an_answered_call_survives"),
}


@pytest.fixture
async def world(
    database_url: str, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[World]:
    """Two nodes, with the fault that the test is given; what happens now and then always happens here."""
    monkeypatch.setattr(SchedulerService, "start_background_processing", _no_loops)
    monkeypatch.setattr(faults, "die", _die)
    monkeypatch.setattr(faults, "_rng", _Always())
    faults.apply(request.param, monkeypatch.setattr)
    async with virtual_world(database_url, tmp_path) as world:
        if request.param == faults.no_unique_key.__name__:
            await asyncio.to_thread(_without_unique_key, database_url)
        yield world


@pytest.mark.parametrize(
    ("world", "story", "invariant"), [(name, *STORIES[name]) for name in STORIES], indirect=["world"]
)
async def test_the_checker_finds_it(world: World, story: Callable[[World], Awaitable[None]], invariant: str) -> None:
    await story(world)
    assert invariant in broken(world.evidence())


@pytest.mark.parametrize(
    ("world", "story"), [(None, story) for story, _ in STORIES.values()], indirect=["world"], ids=list(STORIES)
)
async def test_without_the_fault_nothing_is_broken(world: World, story: Callable[[World], Awaitable[None]]) -> None:
    await story(world)
    assert broken(world.evidence()) == {}
    await world.settle()
    assert broken(world.evidence(settled=True)) == {}


async def test_the_unique_key_stops_what_is_set_back(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same mischief, on tables that have their key."""
    monkeypatch.setattr(faults, "_rng", _Always())
    faults.apply("no_unique_key", monkeypatch.setattr)
    async with virtual_world(database_url, tmp_path) as world:
        await a_task_is_set_back(world)
        assert broken(world.evidence()) == {}


def test_every_fault_has_its_story() -> None:
    assert set(STORIES) == set(faults.FAULTS)


async def _one_time(world: World) -> str:
    return await _scheduled(world, schedule_time=world.clock.now() + timedelta(seconds=1))


async def _recurring(world: World) -> str:
    return await _scheduled(world, interval_type="seconds", interval_value=INTERVAL, wait=INTERVAL)


async def _scheduled(world: World, *, wait: float = 1, **schedule: Any) -> str:
    """A task that is due now."""
    task_id = await world.client.schedule(**schedule)
    assert task_id is not None
    world.advance(wait)
    return task_id


async def _no_loops(service: SchedulerService) -> None:
    """Nodes on a virtual clock do only what they are told."""


def _die() -> None:
    raise Died


class _Always:
    def random(self) -> float:
        return 0.0


def _without_unique_key(url: str) -> None:
    engine = create_engine(sync_url(url))
    try:
        with engine.begin() as connection:
            faults.drop_unique_key(connection)
    finally:
        engine.dispose()

"""What becomes of fire times and of runs by hand while a run is open, under each policy."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from unittest.mock import ANY

import pytest

from modules.core.scheduler.db_ops import TaskFilter
from tests.support.app import NOON, manual_clock, running_app
from tests.support.held import Held, held_app

MINUTE, POLICIES = timedelta(minutes=1), ("skip", "queue_one", "queue_all", "cancel_running", "allow")


@pytest.fixture
async def held(database_url: str) -> AsyncIterator[Held]:
    async with held_app(database_url) as held:
        yield held


def at(*minutes: float) -> list[Any]:
    return [NOON + minute * MINUTE for minute in minutes]


async def minutely(held: Held, overlap: str, **fields: Any) -> str:
    """A task whose first run, for minute 1, has begun."""
    task_id = await held.app.schedule("hold", interval="1 minute", overlap=overlap, **fields)
    await held.pass_time(minutes=1)
    assert held.starts == [(held.running[0], NOON + MINUTE)]
    return task_id


async def started_for(held: Held) -> list[Any]:
    return [nominal for _, nominal in held.starts]


async def test_queue_one_runs_the_first_that_passed_and_records_the_others(held: Held) -> None:
    task_id = await minutely(held, "queue_one")
    await held.pass_time(minutes=3, seconds=5)
    assert len(held.running) == 1
    await held.end()
    task = await held.app.task(task_id)
    assert (task["status"], task["next_execution"]) == ("running", NOON + 5 * MINUTE)
    await held.tick()
    assert await started_for(held) == at(1, 2)
    assert await held.app.missed(task_id) == [(*at(3, 4), 2, "overlap")]
    await held.end()
    assert (await held.app.task(task_id))["status"] == "pending"
    assert held.most_at_once == 1


async def test_queue_all_runs_one_after_the_other_in_order(held: Held) -> None:
    task_id = await minutely(held, "queue_all")
    await held.pass_time(minutes=3, seconds=5)
    for _ in range(3):
        await held.end()
        assert (await held.app.task(task_id))["status"] == "running"
        await held.tick()
    await held.end()
    await held.pass_time(seconds=50)
    assert await started_for(held) == at(1, 2, 3, 4)
    assert held.most_at_once == 1
    assert await held.app.missed(task_id) == []
    assert (await held.app.task(task_id))["next_execution"] == NOON + 5 * MINUTE


async def test_queue_all_keeps_the_newest_hundred_and_piles_up_no_rows(held: Held) -> None:
    task_id = await minutely(held, "queue_all")
    await held.pass_time(minutes=103)
    assert len(await held.app.history(task_id)) == 1
    await held.end()
    await held.tick()
    assert await started_for(held) == at(1, 5)
    assert await held.app.missed(task_id) == [(*at(2, 4), 3, "cap")]
    assert len(await held.app.history(task_id)) == 2


async def test_a_time_that_waited_for_the_run_before_it_is_not_late(held: Held) -> None:
    task_id = await minutely(held, "queue_one")
    await held.app.sql("UPDATE scheduler_events SET catch_up = 'none' WHERE id = :id", id=task_id)
    await held.pass_time(minutes=59)
    await held.end()
    await held.tick()
    assert await started_for(held) == at(1, 2), "catch_up has no say about what waited for its own task"
    assert await held.app.missed(task_id) == [(*at(3, 60), 58, "overlap")]


async def test_cancel_running_asks_for_the_end_and_runs_the_newest(held: Held) -> None:
    task_id = await minutely(held, "cancel_running")
    first = held.running[0]
    await held.pass_time(minutes=1)
    await held.recorded(first)
    await held.tick()
    assert await started_for(held) == at(1, 2)
    assert await held.states(task_id) == [
        (NOON + MINUTE, "schedule", "cancelled"),
        (NOON + 2 * MINUTE, "schedule", "running"),
    ]
    assert await held.app.missed(task_id) == []
    await held.end()
    task = await held.app.task(task_id)
    assert (task["status"], task["next_execution"], task["execution_count"]) == ("pending", NOON + 3 * MINUTE, 2)


async def test_a_run_that_will_not_end_is_not_overtaken(database_url: str) -> None:
    let_go = asyncio.Event()

    async def stubborn(parameters: dict[str, Any]) -> None:
        while not let_go.is_set():
            try:
                await let_go.wait()
            except asyncio.CancelledError:
                continue

    async with running_app(database_url, stubborn, clock=manual_clock(), cancel_grace_seconds=0.01) as app:
        service = app.service
        service.job_manager.recorder.start()
        task_id = await app.schedule("stubborn", interval="1 minute", overlap="cancel_running")
        for _ in range(4):
            app.clock.advance(minutes=1)
            await service.dispatcher.tick()
            await asyncio.sleep(0.02)
        assert len(await app.history(task_id)) == 1
        [stuck] = service.job_manager.stuck
        assert stuck.event.id == task_id
        let_go.set()
        async with asyncio.timeout(30):
            while service.job_manager.running:
                await asyncio.sleep(0.001)
        service.wake()
        await service.dispatcher.tick()
        rows = await app.history(task_id)
        assert [(row["scheduled_for"], row["state"]) for row in rows[:1]] == [(NOON + MINUTE, "cancelled")]
        assert rows[1]["scheduled_for"] == NOON + 4 * MINUTE
        assert await app.missed(task_id) == [(*at(2, 3), 2, "overlap")]
        await service.job_manager.jobs.quiet()
        await service.job_manager.recorder.stop(5)


async def test_allow_lets_runs_overlap_and_counts_them_all(held: Held) -> None:
    task_id = await minutely(held, "allow", max_executions=3)
    await held.pass_time(minutes=1)
    await held.pass_time(minutes=1)
    await held.pass_time(minutes=1)
    assert await started_for(held) == at(1, 2, 3)
    assert held.most_at_once == 3
    for number, status in enumerate(("running", "running", "completed"), 1):
        assert (await held.app.task(task_id))["status"] == "running"
        await held.end(held.running[-1])
        task = await held.app.task(task_id)
        assert (task["status"], task["execution_count"]) == (status, number)
    assert len({row["id"] for row in await held.app.history(task_id)}) == 3
    assert task["next_execution"] is None


async def test_a_batch_may_end_several_runs_of_one_task(held: Held) -> None:
    task_id = await minutely(held, "allow", max_executions=2)
    await held.pass_time(minutes=1)
    for execution_id in held.running:
        held._ends[execution_id].set_result(None)
    for execution_id in [name for name, _ in held.starts]:
        await held.recorded(execution_id)
    task = await held.app.task(task_id)
    assert (task["status"], task["execution_count"]) == ("completed", 2)


@pytest.mark.parametrize("overlap", POLICIES)
async def test_max_executions_is_exact(held: Held, overlap: str) -> None:
    task_id = await minutely(held, overlap, max_executions=2)
    for _ in range(3):
        await held.pass_time(minutes=1)
        if held.running and overlap != "allow":
            await held.end()
        await held.tick()
    while held.running:
        await held.end()
        await held.tick()
    task = await held.app.task(task_id)
    assert (task["status"], task["next_execution"]) == ("completed", None)
    assert len(held.starts) == 2


@pytest.mark.parametrize("overlap", POLICIES)
async def test_a_run_by_hand_while_another_is_open(held: Held, overlap: str) -> None:
    task_id = await minutely(held, overlap)
    first = held.running[0]
    await held.pass_time(seconds=10)
    answer = await held.app.service.execute_task(task_id)
    if overlap == "skip":
        assert answer.error is not None
        assert answer.error["code"] == "ALREADY_RUNNING"
        return
    by_hand = answer.unwrap()
    assert by_hand["status"] == ("running" if overlap == "allow" else "waiting")
    if overlap == "cancel_running":
        await held.recorded(first)
    elif overlap != "allow":
        await held.tick()
        assert held.running == [first]
        await held.end()
    await held.tick()
    assert by_hand["execution_id"] in held.running
    assert (first in held.running) is (overlap == "allow")
    states = {row["id"]: row["state"] for row in await held.app.history(task_id)}
    assert states[first] == {"cancel_running": "cancelled", "allow": "running"}.get(overlap, "succeeded")
    while held.running:
        await held.end()
    task = await held.app.task(task_id)
    assert (task["status"], task["next_execution"]) == ("pending", NOON + 2 * MINUTE), "the schedule is left alone"


async def test_one_waits_at_most_under_queue_one(held: Held) -> None:
    task_id = await minutely(held, "queue_one")
    await held.pass_time(seconds=10)
    assert (await held.app.service.execute_task(task_id)).success
    refused = await held.app.service.execute_task(task_id)
    assert refused.error is not None
    assert (refused.error["code"], "one run waits already" in refused.error["message"]) == ("ALREADY_RUNNING", True)
    await held.pass_time(minutes=2)
    await held.end()
    await held.tick()
    await held.end()
    assert [kind for _, kind, _ in await held.states(task_id)] == ["schedule", "manual"]
    assert await held.app.missed(task_id) == [(*at(2, 3), 2, "overlap")], "the place was taken when these came"


async def test_a_fire_time_that_waits_takes_the_place_of_a_run_by_hand(held: Held) -> None:
    task_id = await minutely(held, "queue_one")
    await held.pass_time(minutes=1, seconds=10)
    assert not (await held.app.service.execute_task(task_id)).success


async def test_queue_all_keeps_the_order_of_fire_times_and_runs_by_hand(held: Held) -> None:
    task_id = await minutely(held, "queue_all")
    await held.pass_time(seconds=30)
    await held.app.service.execute_task(task_id)
    await held.pass_time(minutes=1)
    await held.app.service.execute_task(task_id)
    await held.pass_time(minutes=1)
    for _ in range(5):
        await held.end()
        await held.tick()
    assert await started_for(held) == at(1, 1.5, 2, 2.5, 3)
    assert [kind for _, kind, _ in await held.states(task_id)] == [
        "schedule",
        "manual",
        "schedule",
        "manual",
        "schedule",
    ]
    fences = await held.app.runtime.db_ops.list_executions(task_id, None, 10)
    assert sorted(row.fence for row in fences) == [
        row.fence for row in sorted(fences, key=lambda row: row.scheduled_for)
    ]
    assert held.most_at_once == 1
    assert (await held.app.task(task_id))["status"] == "pending"


async def test_the_newest_run_by_hand_replaces_one_that_waits_under_cancel_running(held: Held) -> None:
    task_id = await minutely(held, "cancel_running")
    first = held.running[0]
    await held.pass_time(seconds=1)
    waiting = [(await held.app.service.execute_task(task_id)).unwrap()["execution_id"]]
    await held.pass_time(seconds=1)
    waiting.append((await held.app.service.execute_task(task_id)).unwrap()["execution_id"])
    await held.recorded(first)
    await held.tick()
    assert held.running == waiting[1:]
    states = {row["id"]: row["state"] for row in await held.app.history(task_id)}
    assert (states[first], states[waiting[0]]) == ("cancelled", "cancelled")


@pytest.mark.parametrize("overlap", POLICIES)
async def test_a_run_that_waits_for_its_retry_counts_as_running(held: Held, overlap: str) -> None:
    retry = {"max_attempts": 2, "backoff": "fixed", "delay_seconds": 30, "jitter": False}
    task_id = await minutely(held, overlap, retry=retry)
    await held.end(error=ValueError("it broke"))
    await held.pass_time(seconds=10)
    answer = await held.app.service.execute_task(task_id)
    assert answer.success is (overlap != "skip")
    await held.tick()
    assert len(held.running) == (overlap in ("allow", "cancel_running"))
    await held.pass_time(seconds=20)
    attempts = [row["attempt"] for row in await held.app.history(task_id) if row["kind"] == "schedule"]
    assert attempts == [1, 2]
    retried = (await held.app.history(task_id))[1]
    assert retried["state"] == ("cancelled" if overlap == "cancel_running" else "running")


@pytest.mark.parametrize("overlap", POLICIES)
async def test_a_paused_task_starts_nothing_more_by_itself(held: Held, overlap: str) -> None:
    task_id = await minutely(held, overlap)
    await held.app.service.pause_task(task_id)
    await held.pass_time(minutes=3)
    await held.end()
    await held.tick()
    assert held.running == []
    assert (await held.app.task(task_id))["status"] == "paused"
    await held.pass_time(seconds=10)
    resumed = (await held.app.service.resume_task(task_id)).unwrap()
    assert resumed["next_execution"] == NOON + 5 * MINUTE
    assert await held.app.missed(task_id) == [(*at(2, 4), 3, "paused")]
    await held.pass_time(minutes=1)
    assert await started_for(held) == at(1, 5)


@pytest.mark.parametrize("overlap", POLICIES)
async def test_cancelling_the_task_ends_what_waits_and_leaves_what_runs(held: Held, overlap: str) -> None:
    task_id = await minutely(held, overlap)
    await held.pass_time(seconds=10)
    waits = overlap.startswith("queue") and (await held.app.service.execute_task(task_id)).unwrap()["execution_id"]
    assert (await held.app.service.cancel_task(task_id)).success
    await held.pass_time(minutes=2)
    await held.end()
    await held.tick()
    states = {row["id"]: row["state"] for row in await held.app.history(task_id)}
    assert sorted(states.values()) == ["cancelled", "succeeded"] if waits else ["succeeded"]
    assert (await held.app.task(task_id))["status"] == "cancelled"
    [row] = [row for row in await held.app.runtime.db_ops.list_tasks(TaskFilter(), None, 10) if row.id == task_id]
    assert (row.active_execution_id, row.others_open) == (None, 0)


@pytest.mark.parametrize("overlap", POLICIES)
async def test_an_edit_of_the_policy_holds_for_runs_that_begin_after_it(held: Held, overlap: str) -> None:
    """Whatever was open before: nothing is lost, nothing is stuck, and nothing overlaps that may not."""
    for before in POLICIES:
        held.starts.clear()
        begin = held.app.clock.now()
        task_id = await held.app.schedule("hold", interval="1 minute", overlap=before)
        await held.pass_time(minutes=1)
        assert (await held.app.service.update_task(task_id, {"overlap": overlap})).success
        assert (await held.app.task(task_id))["overlap"] == overlap
        await held.pass_time(minutes=1, seconds=5)
        for _ in range(6):
            if held.running:
                await held.end()
            await held.tick()
        assert (await held.app.task(task_id))["status"] == "pending", (before, overlap)
        await held.pass_time(minutes=1)
        await held.tick()
        assert begin + 3 * MINUTE in await started_for(held), (before, overlap)
        await held.app.service.cancel_task(task_id)
        while held.running:
            await held.end()


@pytest.mark.parametrize("overlap", POLICIES)
@pytest.mark.parametrize("away", [1.5, 30.5])
async def test_a_crash_loses_no_run_and_starts_no_two(held: Held, overlap: str, away: float) -> None:
    """The process dies with a run open; another one finds out `away` minutes later."""
    task_id = await minutely(held, overlap)
    service, first = held.app.service, held.running[0]
    held.app.clock.advance(minutes=away)
    settler, now = service.job_manager.settler, held.app.clock.now()
    assert await held.app.runtime.db_ops.recover("another", (), settler, now, now) == ([first], ANY)
    service._lost([first])
    await held.settled()
    await held.tick()
    for _ in range(40):
        if held.running and overlap != "allow":
            await held.end()
        await held.tick()
    rows = await held.app.history(task_id)
    attempts = [(row["attempt"], row["state"]) for row in rows if row["scheduled_for"] == NOON + MINUTE]
    assert [number for number, _ in attempts] == [1, 2]
    assert attempts[0][1] == "abandoned"
    ran = {row["scheduled_for"] for row in rows if row["attempt"] == 1}
    missed = await held.app.missed(task_id)
    passed = [NOON + number * MINUTE for number in range(1, int(1 + away) + 1)]
    for moment in passed:
        verdicts = (moment in ran) + sum(begin <= moment <= end for begin, end, _, _ in missed)
        assert verdicts == 1, f"{moment} has {verdicts} verdicts: {sorted(ran)}, {missed}"
    if overlap != "allow":
        assert held.most_at_once == 1
    assert len(ran) <= 4, "what nobody worked through is late, and catch_up judges it"


@pytest.mark.parametrize("overlap", POLICIES)
async def test_a_stop_interrupts_a_run_and_what_waits_goes_on_after_it(held: Held, overlap: str) -> None:
    task_id = await minutely(held, overlap)
    first = held.running[0]
    await held.pass_time(seconds=5)
    if overlap.startswith("queue"):
        await held.app.service.execute_task(task_id)
    held.app.service.job_manager.jobs.stop_some([first], "interrupted")
    await held.recorded(first)
    await held.tick()
    [again] = held.running
    row = next(row for row in await held.app.history(task_id) if row["id"] == again)
    assert (row["scheduled_for"], row["attempt"]) == (NOON + MINUTE, 2), "it starts again before anything else does"
    await held.end()
    await held.tick()
    kinds = [kind for _, kind, _ in await held.states(task_id)]
    assert kinds == ["schedule", "schedule", *(["manual"] if overlap.startswith("queue") else [])]

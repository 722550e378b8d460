"""One run is cancelled: at once where it has not started, wherever it runs, and for good."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from modules.core.scheduler import ExecutionContext
from tests.support.app import NOON, manual_clock, running_app
from tests.support.held import Held, held_app

RETRY = {"max_attempts": 5, "backoff": "fixed", "delay_seconds": 1, "jitter": False}


@pytest.fixture
async def held(database_url: str) -> AsyncIterator[Held]:
    async with held_app(database_url) as held:
        yield held


async def cancel(held: Held, execution_id: str) -> str:
    answer: dict[str, str] = (await held.app.service.cancel_execution(execution_id)).unwrap()
    assert answer["execution_id"] == execution_id
    return answer["status"]


async def test_a_run_is_cancelled_and_not_tried_again(held: Held) -> None:
    task_id = await held.app.schedule("hold", interval="1 minute", retry=RETRY)
    await held.pass_time(minutes=1)
    execution_id = held.running[0]
    assert await cancel(held, execution_id) == "cancelling"
    await held.recorded(execution_id)
    await held.pass_time(seconds=30)
    [execution] = await held.app.history(task_id)
    assert (execution["state"], execution["success"], execution["error_type"]) == ("cancelled", False, "cancelled")
    task = await held.app.task(task_id)
    assert (task["status"], task["next_execution"]) == ("pending", NOON + timedelta(minutes=2)), "the task goes on"
    assert await cancel(held, execution_id) == "cancelled", "asking again is harmless"


async def test_a_one_time_task_whose_run_is_cancelled_is_cancelled(held: Held) -> None:
    task_id = await held.app.schedule("hold")
    await held.tick()
    await cancel(held, held.running[0])
    await held.settled()
    assert (await held.app.task(task_id))["status"] == "cancelled"


async def test_what_waits_for_its_retry_ends_at_once(held: Held) -> None:
    task_id = await held.app.schedule("hold", retry=RETRY)
    await held.tick()
    await held.end(error=ValueError("it broke"))
    [_, waiting] = await held.app.history(task_id)
    assert await cancel(held, waiting["id"]) == "cancelled"
    await held.pass_time(minutes=1)
    [_, cancelled] = await held.app.history(task_id)
    assert (cancelled["state"], cancelled["end_time"]) == ("cancelled", NOON)
    task = await held.app.task(task_id)
    assert (task["status"], task["active_execution_id"], task["execution_count"]) == ("cancelled", None, 1)


async def test_a_run_that_waits_behind_another_leaves_that_alone(held: Held) -> None:
    task_id = await held.app.schedule("hold", interval="1 minute", overlap="queue_all")
    await held.pass_time(minutes=1)
    first = held.running[0]
    held.app.clock.advance(1)
    waiting = (await held.app.service.execute_task(task_id)).unwrap()["execution_id"]
    assert await cancel(held, waiting) == "cancelled"
    assert (await held.app.task(task_id))["active_execution_id"] == first
    await held.end()
    await held.tick()
    assert held.running == []
    assert (await held.app.task(task_id))["status"] == "pending"


async def test_what_waits_goes_on_when_the_run_before_it_is_cancelled(held: Held) -> None:
    task_id = await held.app.schedule("hold", interval="1 minute", overlap="queue_one")
    await held.pass_time(minutes=1)
    await held.pass_time(minutes=1)
    await cancel(held, held.running[0])
    await held.settled()
    await held.tick()
    assert [state for _, _, state in await held.states(task_id)] == ["cancelled", "running"]


async def test_what_was_claimed_ahead_of_its_time_ends_without_a_start(database_url: str) -> None:
    async with held_app(database_url, look_ahead_seconds=0.5) as held:
        task_id = await held.app.schedule("hold", schedule_time=NOON + timedelta(seconds=0.4))
        await held.app.service.dispatcher.tick()
        [execution_id] = held.app.service.job_manager.running
        assert await cancel(held, execution_id) == "cancelling"
        await held.recorded(execution_id)
        await held.pass_time(seconds=1)
        [execution] = await held.app.history(task_id)
        assert (execution["state"], held.starts) == ("cancelled", [])


async def test_a_claim_that_was_given_back_and_cancelled_ends_when_it_is_taken_on(database_url: str) -> None:
    async with held_app(database_url, look_ahead_seconds=0.5) as held:
        task_id = await held.app.schedule("hold", schedule_time=NOON + timedelta(seconds=0.4), retry=RETRY)
        await held.app.service.dispatcher.tick()
        [execution_id] = held.app.service.job_manager.running
        marked = "UPDATE scheduler_executions SET cancel_requested = :yes WHERE id = :id"
        await held.app.sql(marked, yes=True, id=execution_id)  # another node asked, and nobody has heard of it yet
        await held.app.service.dispatcher.withdraw_all()
        await held.pass_time(seconds=1)
        [execution] = await held.app.history(task_id)
        assert (execution["state"], held.starts) == ("cancelled", [])


async def test_what_has_ended_or_never_was_cannot_be_cancelled(held: Held) -> None:
    task_id = await held.app.schedule("hold")
    await held.tick()
    await held.end()
    [execution] = await held.app.history(task_id)
    for execution_id, code in (
        (execution["id"], "INVALID_STATE"),
        ("0199c0de-0000-7000-8000-000000000000", "EXECUTION_NOT_FOUND"),
        ("nonsense", "EXECUTION_NOT_FOUND"),
    ):
        error = (await held.app.service.cancel_execution(execution_id)).error
        assert error is not None
        assert error["code"] == code


async def test_the_task_function_learns_of_it_and_a_thread_that_has_done_all_its_work_has_succeeded(
    database_url: str,
) -> None:
    begun = asyncio.Event()

    def looks(parameters: dict[str, Any], context: ExecutionContext) -> str:
        loop.call_soon_threadsafe(begun.set)
        while not context.cancelled:
            pass
        return "stopped half-way"

    loop = asyncio.get_running_loop()
    async with running_app(database_url, looks, clock=manual_clock()) as app:
        task_id = await app.schedule("looks")
        running = asyncio.create_task(app.run_due())
        await begun.wait()
        [execution_id] = app.service.job_manager.running
        assert (await app.service.cancel_execution(execution_id)).success
        [execution] = await running
        assert execution["state"] == "cancelled"
        assert (await app.task(task_id))["status"] == "cancelled"


@pytest.mark.parametrize("outcome", ["abandoned", "interrupted"])
async def test_a_process_that_ends_meanwhile_brings_no_second_attempt(held: Held, outcome: str) -> None:
    task_id = await held.app.schedule("hold", interval="1 hour")
    await held.pass_time(hours=1)
    execution_id = held.running[0]
    await held.app.sql(
        "UPDATE scheduler_executions SET cancel_requested = :yes WHERE id = :id", yes=True, id=execution_id
    )
    if outcome == "interrupted":
        held.app.service.job_manager.jobs.stop_some([execution_id], "interrupted")
        await held.recorded(execution_id)
    else:
        held.app.clock.advance(minutes=2)
        settler, now = held.app.service.job_manager.settler, held.app.clock.now()
        assert await held.app.runtime.db_ops.recover("another", (), settler, now, now)
    [execution] = await held.app.history(task_id)
    assert execution["state"] == "cancelled"
    assert execution["error"].startswith("The execution was cancelled. The process")
    assert (await held.app.task(task_id))["active_execution_id"] is None


async def test_another_process_is_told_and_ends_the_run(database_url: str) -> None:
    """Real clocks: the word goes from one application to another by the announcements there are."""
    begun = asyncio.Event()

    async def wait(parameters: dict[str, Any]) -> None:
        begun.set()
        await asyncio.Event().wait()

    async with running_app(database_url, wait, enabled=True) as one, running_app(database_url, wait) as other:
        task_id = await one.schedule("wait")
        async with asyncio.timeout(60):
            await begun.wait()
            [execution_id] = one.service.job_manager.running
            assert (await other.service.cancel_execution(execution_id)).unwrap()["status"] == "cancelling"
            while (await other.task(task_id))["status"] != "cancelled":
                await asyncio.sleep(0.02)
        [execution] = await other.history(task_id)
        assert execution["state"] == "cancelled"

"""Failing occurrences are tried again as their policy says; a recurring task never dies of failures."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from tests.support.app import MODULE, NOON, App

POLICY = {"max_attempts": 3, "backoff": "fixed", "delay_seconds": 60, "jitter": False}


async def test_without_a_policy_a_failure_is_final(app: App) -> None:
    task_id = await app.schedule("fail")
    await app.run_due()
    app.clock.advance(days=1)
    assert await app.run_due() == []
    assert (await app.task(task_id))["status"] == "failed"


async def test_each_attempt_has_its_row_and_its_wait(app: App) -> None:
    task_id = await app.schedule("fail", retry=POLICY)
    for _ in range(5):
        await app.run_due()
        app.clock.advance(60)
    rows = await app.history(task_id)
    assert [(row["attempt"], row["state"], row["scheduled_for"]) for row in rows] == [
        (1, "failed", NOON),
        (2, "failed", NOON),
        (3, "failed", NOON),
    ]
    assert [row["start_time"] - NOON for row in rows] == [timedelta(seconds=60 * number) for number in range(3)]
    task = await app.task(task_id)
    assert (task["status"], task["execution_count"], task["last_error"]) == ("failed", 3, "it broke")


async def test_a_retry_yields_to_the_next_occurrence(app: App) -> None:
    retry: dict[str, Any] = {**POLICY, "delay_seconds": 3600}
    task_id = await app.schedule("fail", interval="30 minutes", retry=retry)
    app.clock.advance(minutes=30)
    await app.run_due()
    app.clock.advance(minutes=30)
    await app.run_due()
    rows = await app.history(task_id)
    assert [(row["attempt"], row["scheduled_for"]) for row in rows] == [
        (1, NOON + timedelta(minutes=30)),
        (1, NOON + timedelta(minutes=60)),
    ]
    assert (await app.task(task_id))["status"] == "pending"


async def test_a_task_that_waits_for_its_retry_counts_as_running(app: App) -> None:
    task_id = await app.schedule("fail", retry=POLICY)
    await app.run_due()
    assert (await app.task(task_id))["status"] == "running"
    refused = await app.service.execute_task(task_id)
    assert refused.error is not None
    assert refused.error["code"] == "ALREADY_RUNNING"


async def test_no_retry_starts_while_the_task_is_paused(app: App) -> None:
    """Nor does the dispatcher turn in circles over what may not start."""
    task_id = await app.schedule("fail", retry=POLICY)
    assert len(await app.run_due()) == 1
    (await app.service.pause_task(task_id)).unwrap()
    app.clock.advance(3600)
    assert await app.run_due() == []
    assert await app.service.dispatcher.tick() == app.runtime.settings.poll_ceiling_seconds
    assert [row["state"] for row in await app.history(task_id)] == ["failed", "ready"]
    (await app.service.resume_task(task_id)).unwrap()
    assert [row["attempt"] for row in await app.run_due()] == [2]


async def test_a_retry_that_follows_a_pause_during_the_run_waits_for_the_resume(app: App) -> None:
    async def fail_paused(parameters: dict[str, Any], context: Any) -> None:
        if context.attempt == 1:
            (await app.service.pause_task(context.task_id)).unwrap()
        raise ValueError("it broke")

    app.runtime.registry.register(MODULE, fail_paused)
    task_id = await app.schedule("fail_paused", retry=POLICY)
    assert len(await app.run_due()) == 1
    assert (await app.task(task_id))["status"] == "paused"
    app.clock.advance(3600)
    assert await app.run_due() == []
    (await app.service.resume_task(task_id)).unwrap()
    assert [row["attempt"] for row in await app.run_due()] == [2]


async def test_a_task_that_was_cancelled_during_its_run_is_not_tried_again(app: App) -> None:
    async def fail_cancelled(parameters: dict[str, Any], context: Any) -> None:
        (await app.service.cancel_task(context.task_id)).unwrap()
        raise ValueError("it broke")

    app.runtime.registry.register(MODULE, fail_cancelled)
    task_id = await app.schedule("fail_cancelled", retry=POLICY)
    await app.run_due()
    app.clock.advance(3600)
    assert await app.run_due() == []
    assert [row["state"] for row in await app.history(task_id)] == ["failed"]
    assert (await app.task(task_id))["status"] == "cancelled"


async def test_a_task_that_runs_at_most_once_is_not_tried_again(app: App) -> None:
    task_id = await app.schedule("fail", retry=POLICY, delivery="at_most_once")
    await app.run_due()
    app.clock.advance(3600)
    assert await app.run_due() == []
    assert (await app.task(task_id))["status"] == "failed"

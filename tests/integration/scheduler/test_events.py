"""Published events start the tasks that wait for them: once each, durably, with what they are told."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from modules.core.scheduler import ExecutionContext
from tests.integration.scheduler.conftest import work
from tests.integration.scheduler.test_control import code_of
from tests.support.app import NOON, App, manual_clock, running_app

MINUTE = timedelta(minutes=1)


async def told(parameters: dict[str, Any], context: ExecutionContext) -> dict[str, Any]:
    return {"parameters": parameters, "event": context.event}


async def fail_once(parameters: dict[str, Any], context: ExecutionContext) -> dict[str, Any]:
    if context.attempt == 1:
        raise ValueError("not yet")
    return {"event": context.event}


@pytest.fixture
async def app(database_url: str) -> Any:
    async with running_app(database_url, work, told, fail_once, clock=manual_clock()) as app:
        yield app


async def waiting(app: App, function: str = "told", **fields: Any) -> str:
    """A task that waits for orders."""
    return await app.schedule(function, on_event="order.created", **fields)


async def publish(app: App, payload: Any = None, name: str = "order.created") -> tuple[int, int]:
    done = (await app.service.publish_event(name, payload)).unwrap()
    assert done["event"] == name
    return done["started"], done["missed"]


async def test_an_event_starts_every_task_that_waits_for_it(app: App) -> None:
    first, second = [await waiting(app, parameters={"n": n}) for n in (1, 2)]
    other = await app.schedule("told", on_event="order.Created")
    assert (await app.task(first))["next_execution"] is None
    assert await app.run_due() == []
    assert await publish(app, {"order": 7}) == (2, 0)
    done = {row["task_id"]: row for row in await app.run_due()}
    assert done.keys() == {first, second}
    for number, task_id in ((1, first), (2, second)):
        row = done[task_id]
        event = {"name": "order.created", "payload": {"order": 7}}
        assert row["result"] == {"parameters": {"n": number}, "event": event}
        assert (row["kind"], row["cause"], row["scheduled_for"], row["attempt"]) == ("event", event, NOON, 1)
        task = await app.task(task_id)
        assert (task["status"], task["execution_count"], task["next_execution"]) == ("pending", 1, None)
    assert await app.history(other) == []
    assert await publish(app, name="nobody.listens") == (0, 0)


async def test_each_event_of_one_moment_is_an_occurrence_of_its_own(app: App) -> None:
    task_id = await waiting(app)
    for number in range(3):
        assert await publish(app, {"n": number}) == (1, 0)
        assert len(await app.run_due()) == 1
    rows = await app.history(task_id)
    assert [row["result"]["event"]["payload"] for row in rows] == [{"n": n} for n in range(3)]
    assert [row["scheduled_for"] - NOON for row in rows] == [timedelta(microseconds=n) for n in range(3)]


async def test_runs_that_are_not_started_by_an_event_are_told_of_none(app: App) -> None:
    task_id = await waiting(app)
    (await app.service.execute_task(task_id)).unwrap()
    [row] = await app.run_due()
    assert (row["result"]["event"], row["cause"], row["kind"]) == (None, None, "manual")
    assert (await app.task(task_id))["status"] == "pending"


async def test_an_event_during_a_run_is_missed_under_skip(app: App) -> None:
    task_id = await waiting(app)
    assert await publish(app) == (1, 0)
    app.clock.advance(minutes=1)
    assert await publish(app) == (0, 1)
    assert await app.missed(task_id) == [(NOON + MINUTE, NOON + MINUTE, 1, "overlap")]
    assert len(await app.run_due()) == 1
    assert await publish(app) == (1, 0)


async def test_an_event_during_a_pause_is_missed(app: App) -> None:
    task_id = await waiting(app)
    (await app.service.pause_task(task_id, "stock-taking")).unwrap()
    assert await publish(app) == (0, 1)
    assert await app.missed(task_id) == [(NOON, NOON, 1, "paused")]
    (await app.service.resume_task(task_id)).unwrap()
    assert (await app.task(task_id))["status"] == "pending"
    assert await app.run_due() == []
    assert await publish(app) == (1, 0)


async def test_what_waits_to_run_waits_for_the_end_of_a_pause(app: App) -> None:
    task_id = await waiting(app)
    assert await publish(app) == (1, 0)
    (await app.service.pause_task(task_id)).unwrap()
    assert await app.run_due() == []
    (await app.service.resume_task(task_id)).unwrap()
    assert len(await app.run_due()) == 1


async def test_cancelled_tasks_are_left_alone_and_what_waits_ends(app: App) -> None:
    task_id = await waiting(app)
    assert await publish(app) == (1, 0)
    (await app.service.cancel_task(task_id)).unwrap()
    assert await publish(app) == (0, 0)
    assert await app.run_due() == []
    assert [row["state"] for row in await app.history(task_id)] == ["cancelled"]


async def test_a_limit_counts_events(app: App) -> None:
    """By-hand runs do not count; the task is completed when the last run has ended, and not before."""
    task_id = await waiting(app, max_executions=2)
    for _ in range(2):
        app.clock.advance(1)
        (await app.service.execute_task(task_id)).unwrap()
        assert len(await app.run_due()) == 1
        assert (await app.task(task_id))["status"] == "pending"
        assert await publish(app) == (1, 0)
        assert (await app.task(task_id))["status"] == "running"
        assert await publish(app) == (0, 1)
        assert len(await app.run_due()) == 1
    assert (await app.task(task_id))["status"] == "completed"
    assert await publish(app) == (0, 0)
    assert [span[3] for span in await app.missed(task_id)] == ["overlap", "limit"]
    (await app.service.update_task(task_id, {"max_executions": 3})).unwrap()
    assert await publish(app) == (1, 0)


async def test_a_failing_run_is_tried_again_with_the_same_event(app: App) -> None:
    retry = {"max_attempts": 2, "delay_seconds": 5.0, "jitter": False}
    task_id = await waiting(app, "fail_once", retry=retry)
    assert await publish(app, {"order": 7}) == (1, 0)
    assert [row["success"] for row in await app.run_due()] == [False]
    assert await publish(app) == (0, 1), "a run that waits for its retry is under way"
    app.clock.advance(5)
    [row] = await app.run_due()
    assert (row["attempt"], row["kind"]) == (2, "event")
    assert row["result"] == {"event": {"name": "order.created", "payload": {"order": 7}}}
    assert (await app.task(task_id))["status"] == "pending"


async def test_an_event_survives_the_node_that_published_it(database_url: str) -> None:
    clock = manual_clock()
    async with running_app(database_url, told, clock=clock) as first:
        task_id = await waiting(first)
        assert await publish(first, {"order": 7}) == (1, 0)
        first.service.dispatcher._accept = lambda _claims: None  # type: ignore[method-assign]
        await first.service.dispatcher.tick()  # claimed, and never heard of again
    clock.advance(minutes=2)
    async with running_app(database_url, told, clock=clock) as second:
        await second.service.recovery.tick()
        [row] = await second.run_due()
        assert (row["attempt"], row["task_id"]) == (2, task_id)
        assert row["result"]["event"]["payload"] == {"order": 7}


async def test_a_damaged_task_holds_up_no_other(sqlite_url: str) -> None:
    async with running_app(sqlite_url, told, clock=manual_clock()) as app:
        damaged, whole = [await waiting(app) for _ in range(2)]
        await app.sql("UPDATE scheduler_events SET parameters = 'half a doc' WHERE id = :id", id=damaged)
        assert await publish(app) == (1, 1)
        assert [row["task_id"] for row in await app.run_due()] == [whole]
        assert [span[3] for span in await app.missed(damaged)] == ["disabled"]


@pytest.mark.parametrize("name", ["", "x" * 101, "a\nb", "\ud800", None, 5, b"x", " "])
async def test_a_name_that_is_none_is_refused(app: App, name: Any) -> None:
    assert code_of(await app.service.publish_event(name)) == "INVALID_TASK"


@pytest.mark.parametrize(
    "payload", [[], "text", 5, {"a": "x" * 20_000}, {"a": float("inf")}, {1: 2}, {"a": "\x00"}, {"a": object()}]
)
async def test_a_payload_that_cannot_be_kept_is_refused(app: App, payload: Any) -> None:
    await waiting(app)
    refused = await app.service.publish_event("order.created", payload)
    assert code_of(refused) == "INVALID_PARAMETERS"
    assert refused.error is not None
    assert "payload" in refused.error["message"]
    assert await app.run_due() == []

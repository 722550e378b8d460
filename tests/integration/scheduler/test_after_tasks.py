"""Tasks that run after runs of another one: with its settlement, once for each end, and never in a circle."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from modules.core.result import Result
from modules.core.scheduler import ExecutionContext
from modules.core.scheduler.db_ops.base import EVENTS
from tests.integration.scheduler.conftest import fail, work
from tests.integration.scheduler.test_control import NO_SUCH_ID, code_of
from tests.integration.scheduler.test_query_plans import _sent
from tests.support.app import MODULE, NOON, App, manual_clock, running_app

RETRY = {"max_attempts": 2, "delay_seconds": 5.0, "jitter": False}


async def told(parameters: dict[str, Any], context: ExecutionContext) -> Any:
    return context.event


async def fail_once(parameters: dict[str, Any], context: ExecutionContext) -> Result:
    return Result.success() if context.attempt > 1 else Result.failure("NOT_YET", "not yet")


FUNCTIONS = (work, fail, told, fail_once)


@pytest.fixture
async def app(database_url: str) -> AsyncIterator[App]:
    async with running_app(database_url, *FUNCTIONS, clock=manual_clock()) as app:
        yield app


async def after(app: App, task_id: str, outcome: str | None = None, **fields: Any) -> str:
    """A task that waits for that one."""
    wanted = {"task_id": task_id} | ({"outcome": outcome} if outcome else {})
    return await app.schedule("told", on_task=wanted, **fields)


def _asks_who_waits(statement: str) -> bool:
    return statement.startswith("SELECT") and "on_task_id IN" in statement


async def causes(app: App, task_id: str) -> list[Any]:
    return [row["result"] for row in await app.history(task_id)]


@pytest.mark.parametrize(
    ("function", "ended", "started"),
    [("work", "succeeded", {"success", "any", "default"}), ("fail", "failed", {"failure", "any"})],
)
async def test_each_outcome_starts_who_waits_for_it(app: App, function: str, ended: str, started: set[str]) -> None:
    first = await app.schedule(function)
    waiting = {outcome: await after(app, first, outcome) for outcome in ("success", "failure", "any")}
    waiting["default"] = await after(app, first)
    done = await app.run_due()
    execution_id = done[0]["id"]
    assert done[0]["task_id"] == first
    for outcome, task_id in waiting.items():
        told = {"task_id": first, "execution_id": execution_id, "outcome": ended}
        assert await causes(app, task_id) == ([told] if outcome in started else [])
        task = await app.task(task_id)
        assert (task["status"], task["next_execution"]) == ("pending", None)


async def test_only_the_end_for_good_counts(app: App) -> None:
    """An attempt that is followed by another one is no end."""
    first = await app.schedule("fail_once", retry=RETRY)
    failed, succeeded = await after(app, first, "failure"), await after(app, first, "success")
    assert len(await app.run_due()) == 1
    app.clock.advance(5)
    assert len(await app.run_due()) == 2
    assert (await app.history(failed), len(await app.history(succeeded))) == ([], 1)


async def test_a_chain_runs_to_its_end(app: App) -> None:
    """And each run of the first one starts the others anew."""
    first = await app.schedule(interval="1 hour")
    second = await after(app, first)
    third = await after(app, second)
    for number in (1, 2):
        app.clock.advance(hours=1)
        assert len(await app.run_due()) == 3
        assert [len(await app.history(task_id)) for task_id in (first, second, third)] == [number] * 3


async def test_what_was_abandoned_for_good_is_a_failure(app: App) -> None:
    first = await app.schedule(delivery="at_most_once")
    waiting = await after(app, first, "failure")
    app.service.dispatcher._accept = lambda _claims: None  # type: ignore[method-assign]
    await app.service.dispatcher.tick()
    del app.service.dispatcher._accept  # type: ignore[method-assign]
    app.clock.advance(minutes=2)
    await app.service.recovery.tick()
    assert len(await app.run_due()) == 1
    assert [told["outcome"] for told in await causes(app, waiting)] == ["abandoned"]


async def test_ends_during_a_run_or_a_pause_are_missed(app: App) -> None:
    first, second = await app.schedule(), await app.schedule()
    waiting = await after(app, first, max_executions=1)
    paused = await after(app, second)
    (await app.service.pause_task(paused)).unwrap()
    await app.run_due()
    assert [span[3] for span in await app.missed(paused)] == ["paused"]
    assert (await app.task(waiting))["status"] == "completed"
    (await app.service.execute_task(first)).unwrap()
    assert len(await app.run_due()) == 1


async def test_a_settlement_that_is_not_committed_starts_nothing(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both are one transaction: what fails to start them rolls the settlement back, and the next try does both."""
    from modules.core.scheduler.db_ops import completion

    first = await app.schedule()
    waiting = await after(app, first)
    real, tries = completion.start_after, []

    async def broken(*arguments: Any) -> Any:
        tries.append(arguments[1])
        started = await real(*arguments)
        if len(tries) == 1:
            raise RuntimeError("the process is about to die")
        return started

    monkeypatch.setattr(completion, "start_after", broken)
    assert [row["task_id"] for row in await app.run_due()] == [first, waiting]
    assert len(tries) == 2
    assert len(await app.history(waiting)) == 1
    assert len(await app.history(first)) == 1


async def test_tasks_that_nobody_watches_cost_no_statement_more(app: App) -> None:
    """The mark on the watched one's own row sends it the longer way; all others go the short one."""
    watched = await app.schedule()
    await after(app, watched)
    with _sent(app) as sent:
        assert len(await app.run_due()) == 2
    assert any(_asks_who_waits(statement) for statement, _ in sent)
    task_id = await app.schedule()
    with _sent(app) as sent:
        await app.run_due()
    assert (await app.task(task_id))["status"] == "completed"
    written = [statement for statement, _ in sent if statement.startswith("UPDATE")]
    assert len(written) == 3, "advance, close, settle"
    assert not any(_asks_who_waits(statement) for statement, _ in sent)


async def test_the_watched_task_is_marked_with_the_one_that_waits(app: App) -> None:
    first = await app.schedule(interval="1 hour")
    await after(app, first)
    async with app.context.database.read() as connection:
        row = (await connection.execute(EVENTS.select().where(EVENTS.c.id == first))).one()
    assert (row.watched, row.version) == (True, 1)


async def test_who_is_waited_for_is_shown(app: App) -> None:
    first = await app.schedule(interval="1 hour")
    waiting = await after(app, first, "any")

    async def shown() -> Any:
        return (await app.task(waiting))["on_task"]

    assert await shown() == {"task_id": first, "outcome": "any", "status": "pending"}
    (await app.service.cancel_task(first)).unwrap()
    assert (await shown())["status"] == "cancelled"
    await app.sql("DELETE FROM scheduler_events WHERE id = :id", id=first)
    assert (await shown())["status"] == "deleted"


async def test_a_task_that_is_not_there_cannot_be_waited_for(app: App) -> None:
    cancelled = await app.schedule(interval="1 hour")
    (await app.service.cancel_task(cancelled)).unwrap()
    for task_id in (NO_SUCH_ID, cancelled):
        config = {"name": "n", "module_id": MODULE, "function_name": "told", "on_task": {"task_id": task_id}}
        refused = await app.service.schedule_task(config)
        assert code_of(refused) == "INVALID_TASK"
        assert refused.error is not None
        assert "on_task.task_id" in refused.error["message"]
        good = {"name": "n", "module_id": MODULE, "function_name": "work", "schedule_time": NOON}
        refused = await app.service.schedule_tasks([good, config])
        assert refused.error is not None
        assert (refused.error["code"], refused.error["details"]["index"]) == ("INVALID_TASK", 1)
    assert len((await app.service.list_tasks()).unwrap()["tasks"]) == 1, "all or none"


async def test_circles_are_refused(app: App) -> None:
    first = await app.schedule(interval="1 hour")
    second = await after(app, first)
    third = await after(app, second)
    for target in (first, second, third):
        for dry_run in (True, False):
            refused = await app.service.update_task(first, {"on_task": {"task_id": target}}, dry_run=dry_run)
            assert code_of(refused) == "INVALID_TASK"
            assert refused.error is not None
            assert "circle" in refused.error["message"]
    assert (await app.task(first))["on_task"] is None
    other = await app.schedule(interval="1 hour")
    (await app.service.update_task(third, {"on_task": {"task_id": other, "outcome": "any"}})).unwrap()
    (await app.service.update_task(first, {"on_task": {"task_id": third}})).unwrap()
    app.clock.advance(hours=1)
    assert [row["task_id"] for row in await app.run_due()] == [other, third, first, second]


async def test_a_waiting_task_that_cannot_be_read_holds_up_no_settlement(sqlite_url: str) -> None:
    async with running_app(sqlite_url, *FUNCTIONS, clock=manual_clock()) as app:
        first = await app.schedule()
        damaged, odd, whole = [await after(app, first) for _ in range(3)]
        await app.sql("UPDATE scheduler_events SET \"trigger\" = '{half' WHERE id = :id", id=damaged)
        await app.sql('UPDATE scheduler_events SET "trigger" = \'{"on_task": 5}\' WHERE id = :id', id=odd)
        assert [row["task_id"] for row in await app.run_due()] == [first, odd, whole]
        assert (await app.task(first))["status"] == "completed"


async def test_recovered_ends_start_them_once_on_two_nodes(database_url: str) -> None:
    clock = manual_clock()
    async with (
        running_app(database_url, *FUNCTIONS, clock=clock) as first,
        running_app(database_url, *FUNCTIONS, clock=clock) as second,
    ):
        task_id = await first.schedule(delivery="at_most_once")
        waiting = await after(first, task_id, "any")
        first.service.dispatcher._accept = lambda _claims: None  # type: ignore[method-assign]
        await first.service.dispatcher.tick()
        clock.advance(minutes=2)
        await second.service.recovery.tick()
        await first.service.recovery.tick()
        await second.run_due()
        assert len(await first.history(waiting)) == 1
        clock.advance(timedelta(minutes=5).total_seconds())
        assert await second.run_due() == []

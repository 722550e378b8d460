"""ensure_task: made once, changed when the code changes, never fired by that, and what nobody states is only listed."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from tests.integration.scheduler.conftest import fail, work
from tests.support.app import MODULE, NOON, App, manual_clock, running_app

REPORT = {
    "name": "Daily report",
    "module_id": MODULE,
    "function_name": "work",
    "interval": "1 hour",
    "unique_key": "report",
}
HOUR = timedelta(hours=1)


async def _ensure(app: App, **changes: Any) -> tuple[str, str]:
    stated = (await app.service.ensure_task({**REPORT, **changes})).unwrap()
    return stated["task_id"], stated["action"]


async def test_it_is_made_once_and_then_left_alone(app: App) -> None:
    task_id, action = await _ensure(app)
    assert action == "created"
    assert await _ensure(app) == (task_id, "unchanged")
    assert (await app.task(task_id))["version"] == 1
    app.clock.advance(hours=1)
    assert [row["task_id"] for row in await app.run_due()] == [task_id]


async def test_new_code_changes_it_and_does_not_fire_it(app: App) -> None:
    task_id, _ = await _ensure(app)
    app.clock.advance(minutes=90)  # one fire time waits
    assert await _ensure(app, interval="2 hours", parameters={"format": "pdf"}) == (task_id, "updated")
    assert await app.run_due() == []
    task = await app.task(task_id)
    assert (task["interval_value"], task["parameters"]) == (2, {"format": "pdf"})
    assert task["next_execution"] == NOON + 2 * HOUR, "it counts from where it always counted"
    assert await app.missed(task_id) == [(NOON + HOUR, NOON + HOUR, 1, "edited")]
    assert await _ensure(app, interval="2 hours", parameters={"format": "pdf"}) == (task_id, "unchanged")


async def test_another_name_moves_no_fire_time(app: App) -> None:
    task_id, _ = await _ensure(app)
    app.clock.advance(minutes=90)
    assert await _ensure(app, name="Report of the day") == (task_id, "updated")
    assert [row["scheduled_for"] for row in await app.run_due()] == [NOON + HOUR]


async def test_what_an_operator_does_outlives_a_deploy(app: App) -> None:
    """A pause always; an edit until the code says something new."""
    task_id, _ = await _ensure(app)
    (await app.service.pause_task(task_id, "the printer is broken")).unwrap()
    (await app.service.update_task(task_id, {"priority": 9})).unwrap()
    assert await _ensure(app) == (task_id, "unchanged")
    assert (await app.task(task_id))["priority"] == 9
    assert await _ensure(app, interval="30 minutes") == (task_id, "updated")
    task = await app.task(task_id)
    assert (task["status"], task["pause_reason"], task["priority"]) == ("paused", "the printer is broken", 0)


async def test_what_was_cancelled_stays_cancelled_until_it_is_scheduled_by_hand(app: App) -> None:
    task_id, _ = await _ensure(app)
    (await app.service.cancel_task(task_id)).unwrap()
    assert await _ensure(app) == (task_id, "cancelled")
    assert await _ensure(app, interval="2 hours") == (task_id, "cancelled")
    by_hand = (await app.service.schedule_task(REPORT)).unwrap()["task_id"]
    assert await _ensure(app) == (by_hand, "updated"), "the code takes it on"
    assert await _ensure(app) == (by_hand, "unchanged")


async def test_nodes_that_start_together_make_one(database_url: str) -> None:
    clock = manual_clock()
    async with running_app(database_url, work, clock=clock) as one, running_app(database_url, work, clock=clock) as two:
        stated = await asyncio.gather(*(_ensure(app) for app in (one, two) for _ in range(5)))
    assert len({task_id for task_id, _ in stated}) == 1
    assert sorted(action for _, action in stated) == ["created", *["unchanged"] * 9]


async def test_what_is_stated_no_more_is_listed_and_ended_on_request(database_url: str) -> None:
    async with running_app(database_url, work, fail, clock=manual_clock()) as old:
        await _ensure(old)
        kept, _ = await _ensure(old, unique_key="kept")
        by_hand = await old.schedule(interval="1 hour", unique_key="by hand")
    async with running_app(database_url, work, clock=manual_clock()) as new:
        await _ensure(new, unique_key="kept")
        listed = (await new.service.declared_tasks()).unwrap()["tasks"]
        assert [(task["unique_key"], task["state"]) for task in listed] == [
            ("kept", "declared"),
            ("report", "orphaned"),
        ]
        tried = (await new.service.prune_declared(dry_run=True)).unwrap()
        assert [task["unique_key"] for task in tried["pruned"]] == ["report"]
        assert [task["status"] for task in (await new.service.list_tasks()).unwrap()["tasks"]] == ["pending"] * 3
        assert (await new.service.prune_declared()).unwrap()["pruned"] == tried["pruned"]
        alive = (await new.service.list_tasks(status="pending")).unwrap()["tasks"]
        assert {task["id"] for task in alive} == {kept, by_hand}


async def test_a_module_that_is_not_loaded_is_left_alone_unless_it_is_named(database_url: str) -> None:
    async with running_app(database_url, work, clock=manual_clock()) as old:
        await _ensure(old)
    async with running_app(database_url, clock=manual_clock()) as other:
        [task] = (await other.service.declared_tasks()).unwrap()["tasks"]
        assert task["state"] == "unknown"
        assert (await other.service.prune_declared()).unwrap()["pruned"] == []
        assert len((await other.service.prune_declared(MODULE)).unwrap()["pruned"]) == 1


async def test_it_is_part_of_the_callers_transaction(app: App) -> None:
    async with app.context.database.session() as session:
        (await app.service.ensure_task(REPORT, session=session)).unwrap()
        await session.rollback()
    assert (await app.service.declared_tasks()).unwrap()["tasks"] == []


@pytest.mark.parametrize(
    ("changes", "advice"),
    [
        ({"unique_key": None}, "unique_key is missing"),
        ({"interval": None, "schedule_time": NOON + HOUR}, "use schedule_task"),
        ({"function_name": "fail"}, "choose another"),
        ({"interval": "0 hours"}, "interval"),
    ],
)
async def test_what_cannot_be_stated_is_refused(app: App, changes: dict[str, Any], advice: str) -> None:
    task_id, _ = await _ensure(app)
    refused = await app.service.ensure_task({**REPORT, **changes})
    assert refused.error is not None
    assert advice in refused.error["message"]
    assert (await app.task(task_id))["version"] == 1

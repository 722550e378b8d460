"""Each kind of schedule through the database and back: the fields that are shown make the trigger that was meant."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from modules.core.scheduler import schemas
from modules.core.scheduler.trigger_manager import schedule_fields
from modules.core.scheduler.triggers import trigger_from_spec
from tests.integration.scheduler.conftest import work
from tests.support.app import NOON, manual_clock, running_app

HOUR = timedelta(hours=1)
_SHOWN_OTHERWISE = ("interval", "start_time", "mode")
SCHEDULES: list[dict[str, Any]] = [
    {"interval": "90 minutes", "mode": "fixed_delay", "schedule_time": NOON + HOUR},
    {"interval": "90 minutes", "mode": "fixed_rate", "jitter_seconds": 30.5, "schedule_time": NOON + HOUR},
    {"cron_expression": "0 2 * * *", "timezone": "Europe/Berlin", "start_time": NOON + HOUR, "jitter_seconds": 5.0},
    {
        "rrule": "FREQ=MONTHLY;BYDAY=-1FR;BYHOUR=18;BYMINUTE=0",
        "timezone": "Europe/Berlin",
        "schedule_time": NOON + HOUR,
    },
    {
        "triggers": [{"cron_expression": "0 6 * * mon-fri"}, {"cron_expression": "0 9 * * sat"}],
        "exclude": [
            {"date": "2026-12-24"},
            {"weekdays": ["mon"], "from": "05:00", "until": "07:00"},
            {"holidays": "DE"},
        ],
        "timezone": "Europe/Berlin",
    },
    {"on_event": "order.paid"},
    {"on_task": {"outcome": "any"}},
]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda schedule: next(iter(schedule)))
async def test_what_is_stored_makes_the_same_trigger(database_url: str, schedule: dict[str, Any]) -> None:
    async with running_app(database_url, work, clock=manual_clock()) as app:
        if "on_task" in schedule:
            watched = await app.schedule(interval="1 day")
            schedule = {"on_task": {**schedule["on_task"], "task_id": watched}}
        task_id = await app.schedule(**schedule)
        event = await app.service.db_ops.get_task(task_id)
        assert trigger_from_spec(schedule_fields(event)) == trigger_from_spec(schedule)
        shown = await app.task(task_id)
        schemas.Task.model_validate(shown)
        # An interval in words is shown as a number and a unit, times as what is stored, and a fixed rate as nothing.
        if shown["on_task"]:
            assert shown["on_task"].pop("status") == "pending", "how the other task fares is shown with it"
        told = {name: value for name, value in schedule.items() if name not in _SHOWN_OTHERWISE}
        assert {name: shown[name] for name in told} == told
        assert shown["mode"] == ("fixed_delay" if schedule.get("mode") == "fixed_delay" else None)


async def test_what_waits_for_an_event_is_pending_without_a_time(database_url: str) -> None:
    """It is no schedule without fire times, and neither a pause nor an edit ends it."""
    async with running_app(database_url, work, clock=manual_clock()) as app:
        task_id = await app.schedule(on_event="order.paid")
        await app.run_due()
        for _ in range(2):
            task = await app.task(task_id)
            assert (task["status"], task["next_execution"]) == ("pending", None)
            (await app.service.pause_task(task_id)).unwrap()
            (await app.service.update_task(task_id, {"name": "Renamed", "max_executions": 5})).unwrap()
            (await app.service.resume_task(task_id)).unwrap()
        timed = (await app.service.update_task(task_id, {"interval": "1 hour"})).unwrap()
        assert (timed["on_event"], timed["next_execution"]) == (None, NOON + HOUR)
        again = (await app.service.update_task(task_id, {"on_event": "order.sent"})).unwrap()
        assert (again["on_event"], again["next_execution"], again["interval_type"]) == ("order.sent", None, None)
        assert again["status"] == "pending"


async def test_many_at_once_may_hold_some_without_a_time(database_url: str) -> None:
    async with running_app(database_url, work, clock=manual_clock()) as app:
        base = {"name": "x", "module_id": "test.module", "function_name": "work"}
        both = [base | {"on_event": "a"}, base | {"schedule_time": NOON}]
        created = (await app.service.schedule_tasks(both)).unwrap()["tasks"]
        assert [task["next_execution"] for task in created] == [None, NOON]


async def test_an_edit_of_the_interval_keeps_the_mode_and_another_rule_ends_it(sqlite_url: str) -> None:
    async with running_app(sqlite_url, work, clock=manual_clock()) as app:
        task_id = await app.schedule(interval="1 hour", mode="fixed_delay")
        assert (await app.service.update_task(task_id, {"interval": "2 hours"})).unwrap()["mode"] == "fixed_delay"
        assert (await app.service.update_task(task_id, {"cron_expression": "@daily"})).unwrap()["mode"] is None

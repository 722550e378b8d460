"""What a task may say about its late runs: taken, shown, edited, and refused where it makes no sense."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tests.support.app import MODULE, NOON, App

HOUR = timedelta(hours=1)
SHOWN = ("catch_up", "catch_up_limit", "max_lateness_seconds", "expires_at")
RECURRING = {"interval": "1 hour"}
ONCE = {"schedule_time": NOON + HOUR}


async def shown(app: App, task_id: str) -> tuple[Any, ...]:
    task = await app.task(task_id)
    return tuple(task[field] for field in SHOWN)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (RECURRING, ("latest", None, None, None)),
        (ONCE, ("latest", None, None, None)),
        ({**RECURRING, "catch_up": "none"}, ("none", None, None, None)),
        ({**RECURRING, "catch_up": "all", "catch_up_limit": 7}, ("all", 7, None, None)),
        ({**RECURRING, "catch_up": "all", "max_lateness_seconds": 3600}, ("all", None, 3600, None)),
        ({**RECURRING, "catch_up": None, "max_lateness_seconds": 60.5}, ("latest", None, 60.5, None)),
        ({**ONCE, "expires_at": NOON + 2 * HOUR}, ("latest", None, None, NOON + 2 * HOUR)),
        (
            {**ONCE, "expires_at": "2026-03-02T15:00:00", "timezone": "Europe/Berlin"},
            ("latest", None, None, NOON + 2 * HOUR),
        ),
        ({**ONCE, "max_lateness_seconds": 600}, ("latest", None, 600, None)),
    ],
)
async def test_they_are_stored_and_shown(app: App, fields: dict[str, Any], expected: tuple[Any, ...]) -> None:
    assert await shown(app, await app.schedule(**fields)) == expected


@pytest.mark.parametrize(
    ("fields", "advice"),
    [
        ({**RECURRING, "catch_up": "some"}, "catch_up"),
        ({**RECURRING, "catch_up_limit": 5}, "catch_up_limit: it bounds catch_up all, and this is latest"),
        ({**RECURRING, "catch_up": "none", "catch_up_limit": 5}, "and this is none"),
        ({**RECURRING, "catch_up": "all", "catch_up_limit": 0}, "catch_up_limit"),
        ({**RECURRING, "catch_up": "all", "catch_up_limit": 1001}, "catch_up_limit"),
        ({**RECURRING, "catch_up": "none", "max_lateness_seconds": 100}, "keep one of them"),
        ({**RECURRING, "max_lateness_seconds": 59}, "max_lateness_seconds"),
        ({**RECURRING, "max_lateness_seconds": float("inf")}, "max_lateness_seconds"),
        ({**RECURRING, "expires_at": NOON + HOUR}, "takes end_time"),
        ({**ONCE, "catch_up": "all"}, "catch_up: it is for recurring tasks"),
        ({**ONCE, "catch_up": "none"}, "expires_at or max_lateness_seconds"),
        ({**ONCE, "expires_at": NOON + HOUR / 2}, "expires_at lies before schedule_time"),
        ({**ONCE, "expires_at": "tomorrow"}, "is not an ISO 8601 time"),
        ({"on_event": "paid", "catch_up": "all"}, "no fire time to be late for"),
        (
            {"on_event": "paid", "max_lateness_seconds": 90},
            "max_lateness_seconds: this task is started by what happens",
        ),
        ({"schedule_time": NOON - HOUR, "allow_past": True, "expires_at": NOON}, "which has passed"),
    ],
)
async def test_what_makes_no_sense_is_refused(app: App, fields: dict[str, Any], advice: str) -> None:
    given = {"name": "task", "module_id": MODULE, "function_name": "work", **fields}
    result = await app.service.schedule_task(given)
    assert not result.success
    assert result.error is not None
    assert advice in result.error["message"]
    assert (await app.service.list_tasks()).unwrap()["tasks"] == []


async def test_they_are_edited_and_null_is_the_default(app: App) -> None:
    task_id = await app.schedule(interval="1 hour")
    (await app.service.update_task(task_id, {"catch_up": "all", "catch_up_limit": 3})).unwrap()
    assert await shown(app, task_id) == ("all", 3, None, None)
    assert (await app.task(task_id))["next_execution"] == NOON + HOUR, "an edit of these moves no fire time"
    (await app.service.update_task(task_id, {"catch_up": None, "catch_up_limit": None})).unwrap()
    assert await shown(app, task_id) == ("latest", None, None, None)


@pytest.mark.parametrize(
    ("fields", "changes", "advice"),
    [
        ({**RECURRING, "catch_up": "all", "catch_up_limit": 3}, {"catch_up": "latest"}, "it bounds catch_up all"),
        ({**RECURRING, "max_lateness_seconds": 90}, {"catch_up": "none"}, "keep one of them"),
        ({**ONCE, "expires_at": NOON + 2 * HOUR}, {"interval": "1 hour"}, "takes end_time"),
        ({**ONCE, "expires_at": NOON + 2 * HOUR}, {"schedule_time": NOON + 3 * HOUR}, "before schedule_time"),
        (ONCE, {"expires_at": NOON - HOUR}, "which has passed"),
        ({**RECURRING, "catch_up": "all"}, {"recurring": False, "schedule_time": NOON + HOUR}, "for recurring tasks"),
    ],
)
async def test_an_edit_is_judged_with_what_stays(
    app: App, fields: dict[str, Any], changes: dict[str, Any], advice: str
) -> None:
    task_id = await app.schedule(**fields)
    result = await app.service.update_task(task_id, changes)
    assert result.error is not None
    assert advice in result.error["message"]
    assert (await app.task(task_id))["version"] == 1

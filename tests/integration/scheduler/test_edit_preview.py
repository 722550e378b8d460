"""An edit that is only tried: it says what the edit itself then does, and stores nothing."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.integration.scheduler.conftest import work
from tests.integration.scheduler.test_control import NO_SUCH_ID, code_of
from tests.support.app import NOON, App, manual_clock, running_app

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)


async def test_what_an_edit_would_change(app: App) -> None:
    task_id = await app.schedule(interval="1 hour")
    app.clock.advance(minutes=90)
    before = await app.task(task_id)
    tried = (await app.service.update_task(task_id, {"interval": "20 minutes", "name": "work"}, dry_run=True)).unwrap()
    assert (tried["task_id"], tried["dry_run"], tried["version"]) == (task_id, True, 1)
    assert tried["changes"] == [
        {"field": "interval_type", "old": "hours", "new": "minutes"},
        {"field": "interval_value", "old": 1, "new": 20},
        {"field": "next_execution", "old": NOON + HOUR, "new": NOON + 100 * MINUTE},
    ]
    assert tried["fire_times"]["old"] == [NOON + n * HOUR for n in (1, 2, 3, 4, 5)]
    assert tried["fire_times"]["new"] == [NOON + n * MINUTE for n in (100, 120, 140, 160, 180)]
    [span] = tried["missed"]
    assert (span["from_time"], span["until_time"], span["count"], span["reason"]) == (
        NOON + HOUR,
        NOON + HOUR,
        1,
        "edited",
    )
    assert await app.task(task_id) == before
    assert await app.missed(task_id) == []


async def test_what_is_left_of_a_limit_is_shown(app: App) -> None:
    task_id = await app.schedule(interval="1 hour")
    app.clock.advance(hours=1)
    await app.run_due()
    tried = (await app.service.update_task(task_id, {"max_executions": 3}, dry_run=True)).unwrap()
    assert tried["changes"] == [{"field": "max_executions", "old": None, "new": 3}]
    assert tried["fire_times"]["new"] == [NOON + 2 * HOUR, NOON + 3 * HOUR]
    once = {"recurring": False, "schedule_time": NOON + 3 * HOUR}
    tried = (await app.service.update_task(task_id, once, dry_run=True)).unwrap()
    assert tried["fire_times"]["new"] == [NOON + 3 * HOUR]


async def test_an_edit_that_is_refused_is_refused_when_it_is_tried(app: App) -> None:
    task_id = await app.schedule(interval="1 hour")
    (await app.service.update_task(task_id, {"name": "new"})).unwrap()

    async def tried(changes: dict[str, Any], task: str = task_id) -> str:
        return code_of(await app.service.update_task(task, changes, dry_run=True))

    assert await tried({"name": "other", "version": 1}) == "VERSION_CONFLICT"
    assert await tried({"cron_expression": "61 * * * *"}) == "INVALID_TRIGGER"
    assert await tried({"name": "n"}, NO_SUCH_ID) == "TASK_NOT_FOUND"
    await app.service.cancel_task(task_id)
    assert await tried({"name": "n"}) == "INVALID_STATE"


async def test_a_damaged_row_is_shown_as_the_edit_would_leave_it(sqlite_url: str) -> None:
    async with running_app(sqlite_url, work, clock=manual_clock()) as app:
        task_id = await app.schedule(interval="1 hour")
        await app.sql("UPDATE scheduler_events SET parameters = 'half a doc', retry = '[' WHERE id = :id", id=task_id)
        tried = (await app.service.update_task(task_id, {"parameters": {"a": 1}}, dry_run=True)).unwrap()
        assert tried["changes"] == [
            {"field": "parameters", "old": {}, "new": {"a": 1}},
            {"field": "damaged", "old": ["parameters", "retry"], "new": ["retry"]},
        ]


EDITS = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(("work", "other")),
        "interval": st.sampled_from(("1 hour", "20 minutes", "90 seconds", "1 day")),
        "max_executions": st.sampled_from((1, 2, 50)),
        "parameters": st.sampled_from(({}, {"a": 1})),
        "end_time": st.sampled_from((NOON + 2 * HOUR, NOON + 30 * HOUR)),
        "timeout_seconds": st.sampled_from((None, 5.0)),
    },
)
REASON = {"start_time", "timezone", "updated_at", "version"}


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_what_is_tried_is_what_happens(kind: str, request: pytest.FixtureRequest) -> None:
    """Whatever the edit and whenever: the same fields, the same fire times, the same missed ones; or the same no."""
    url = request.getfixturevalue("sqlite_url" if kind == "sqlite" else "postgres_url")
    with asyncio.Runner() as runner:
        running = running_app(url, work, clock=manual_clock())
        app = runner.run(running.__aenter__())

        async def compare(edit: dict[str, Any], minutes: int, paused: bool) -> None:
            app.clock.set(NOON)
            task_id = await app.schedule(interval="1 hour")
            if paused:
                (await app.service.pause_task(task_id)).unwrap()
            app.clock.advance(minutes=minutes)
            before = await app.task(task_id)
            tried = await app.service.update_task(task_id, edit, dry_run=True)
            assert await app.task(task_id) == before
            done = await app.service.update_task(task_id, edit)
            assert tried.success == done.success
            after = await app.task(task_id)
            if not done.success:
                assert (tried.error, after) == (done.error, before)
                return
            changed = {change["field"]: (change["old"], change["new"]) for change in tried.unwrap()["changes"]}
            assert changed == {
                name: (before[name], after[name])
                for name in before
                if name not in REASON and before[name] != after[name]
            }
            spans = [(s["from_time"], s["until_time"], s["count"], s["reason"]) for s in tried.unwrap()["missed"]]
            assert await app.missed(task_id) == spans
            await app.service.cancel_task(task_id)

        @settings(max_examples=40 if kind == "sqlite" else 10, deadline=None)
        @given(EDITS, st.sampled_from((0, 30, 60, 150)), st.booleans())
        def check(edit: dict[str, Any], minutes: int, paused: bool) -> None:
            runner.run(compare(edit, minutes, paused))

        try:
            check()
        finally:
            runner.run(running.__aexit__(None, None, None))

"""The ledger: each nominal fire time of a task, with its one verdict."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from modules.core.scheduler.cursors import to_position
from tests.integration.scheduler.conftest import fail, work
from tests.support.app import NOON, App, manual_clock, running_app

Shown = tuple[str, datetime, datetime, int, str | None]


def at(hours: float) -> datetime:
    return NOON + timedelta(hours=hours)


async def ledger(app: App, task_id: str, *args: Any, limit: int = 200, **kwargs: Any) -> list[dict[str, Any]]:
    """All entries, page by page."""
    entries: list[dict[str, Any]] = []
    cursor = None
    while True:
        page = (await app.service.occurrences(task_id, *args, limit=limit, cursor=cursor, **kwargs)).unwrap()
        entries += page["occurrences"]
        cursor = page["next_cursor"]
        if cursor is None:
            return entries
        assert len(page["occurrences"]) == limit


def short(entries: list[dict[str, Any]]) -> list[Shown]:
    return [(one["verdict"], one["from_time"], one["until_time"], one["count"], one["reason"]) for one in entries]


def one(verdict: str, hours: float, reason: str | None = None) -> Shown:
    return (verdict, at(hours), at(hours), 1, reason)


async def story(app: App) -> str:
    """An hourly task that ran, was paused for three hours, ran, was away for five, ran by hand, and is due."""
    task_id = await app.schedule(interval="1 hour")
    app.clock.advance(hours=1)
    await app.run_due()
    (await app.service.pause_task(task_id)).unwrap()
    app.clock.advance(hours=3.5)
    (await app.service.resume_task(task_id)).unwrap()
    app.clock.advance(hours=0.5)
    await app.run_due()
    app.clock.advance(hours=5.25)
    await app.run_due()
    (await app.service.execute_task(task_id)).unwrap()
    await app.run_due()
    app.clock.advance(hours=2)
    return task_id


STORY = [
    one("executed", 1),
    ("missed", at(2), at(4), 3, "paused"),
    one("executed", 5),
    ("missed", at(6), at(9), 4, "coalesced"),
    one("executed", 10),
    one("executed", 10.25),
    ("undecided", at(11), at(12), 2, None),
    one("upcoming", 13),
]


async def test_each_fire_time_has_one_verdict(app: App) -> None:
    task_id = await story(app)
    entries = await ledger(app, task_id, newest_first=False)
    assert short(entries) == STORY
    assert [entry["kind"] for entry in entries] == ["schedule"] * 5 + ["manual"] + ["schedule"] * 2
    assert short(await ledger(app, task_id)) == STORY[::-1]
    [attempt] = entries[0]["attempts"]
    assert attempt == {
        "id": (await app.history(task_id))[0]["id"],
        "attempt": 1,
        "state": "succeeded",
        "run_at": at(1),
        "start_time": at(1),
        "end_time": at(1),
        "node_id": app.runtime.node_id,
        "error_type": None,
    }
    assert entries[1]["recorded_at"] == at(4.5)


@pytest.mark.parametrize("newest_first", [True, False])
@pytest.mark.parametrize("limit", [1, 2, 3, 7])
@pytest.mark.parametrize("expand", [True, False])
async def test_pages_of_any_size_show_the_same(sqlite_url: str, newest_first: bool, limit: int, expand: bool) -> None:
    async with running_app(sqlite_url, work, clock=manual_clock()) as app:
        task_id = await story(app)
        window = (at(3), at(14))
        whole = await ledger(app, task_id, *window, newest_first=newest_first, expand=expand)
        pages = await ledger(app, task_id, *window, newest_first=newest_first, expand=expand, limit=limit)
        assert pages == whole
        assert len(whole) == (13 if expand else 8)


async def test_a_range_shows_the_spans_that_reach_into_it(app: App) -> None:
    task_id = await story(app)
    assert short(await ledger(app, task_id, at(3), at(7))) == STORY[3:0:-1]
    assert short(await ledger(app, task_id, at(3), at(7), newest_first=False)) == STORY[1:4]
    assert short(await ledger(app, task_id, at(9.5), at(10))) == [one("executed", 10)]
    assert short(await ledger(app, task_id, at(12), at(12), newest_first=False)) == [STORY[6]]
    assert short(await ledger(app, task_id, at(30), at(31))) == [one("upcoming", 31), one("upcoming", 30)]


async def test_spans_unfold_into_single_fire_times(app: App) -> None:
    task_id = await story(app)
    entries = await ledger(app, task_id, at(3), at(13), newest_first=False, expand=True)
    assert short(entries) == [
        one("missed", 3, "paused"),
        one("missed", 4, "paused"),
        one("executed", 5),
        *(one("missed", hour, "coalesced") for hour in (6, 7, 8, 9)),
        one("executed", 10),
        one("executed", 10.25),
        one("undecided", 11),
        one("undecided", 12),
        one("upcoming", 13),
    ]
    (await app.service.update_task(task_id, {"interval": "25 minutes"})).unwrap()
    folded = await ledger(app, task_id, at(3), at(9), newest_first=False, expand=True)
    assert short(folded) == STORY[1:4], "these times were made by another schedule"


async def test_attempts_belong_to_their_fire_time(app: App) -> None:
    retry = {"max_attempts": 3, "backoff": "fixed", "delay_seconds": 60, "jitter": False}
    task_id = await app.schedule("fail", interval="1 hour", retry=retry)
    app.clock.advance(hours=1)
    await app.run_due()
    [entry] = await ledger(app, task_id, at(1), at(1))
    assert (entry["verdict"], [one["state"] for one in entry["attempts"]]) == ("waiting", ["failed", "ready"])
    assert entry["attempts"][1]["run_at"] == at(1) + timedelta(seconds=60)
    app.clock.advance(hours=0.9)
    await app.run_due()
    app.clock.advance(minutes=1)
    await app.run_due()
    [entry] = await ledger(app, task_id, at(1), at(1))
    assert entry["verdict"] == "executed"
    assert [(one["attempt"], one["error_type"]) for one in entry["attempts"]] == [
        (1, "ValueError"),
        (2, "ValueError"),
        (3, "ValueError"),
    ]


async def test_what_was_cancelled_before_it_began_was_not_executed(app: App) -> None:
    task_id = await app.schedule(interval="1 hour")
    (await app.service.execute_task(task_id)).unwrap()
    assert short(await ledger(app, task_id, until=at(0))) == [one("waiting", 0)]
    (await app.service.cancel_task(task_id)).unwrap()
    assert short(await ledger(app, task_id)) == [one("cancelled", 0)]


async def test_a_paused_task_says_what_stands_against_its_fire_times(app: App) -> None:
    task_id = await app.schedule(interval="1 hour")
    (await app.service.pause_task(task_id)).unwrap()
    app.clock.advance(hours=2)
    shown = short(await ledger(app, task_id, until=at(3)))
    assert shown == [one("upcoming", 3, "paused"), ("undecided", at(1), at(2), 2, "paused")]


async def test_no_more_is_planned_than_the_limit_allows(app: App) -> None:
    task_id = await app.schedule(interval="1 hour", max_executions=4)
    app.clock.advance(hours=1)
    await app.run_due()
    expected = [one("executed", 1), *(one("upcoming", hour) for hour in (2, 3, 4))]
    assert short(await ledger(app, task_id, until=at(100), newest_first=False)) == expected
    assert short(await ledger(app, task_id, until=at(100))) == expected[::-1]


async def test_a_one_time_task(app: App) -> None:
    task_id = await app.schedule(schedule_time=at(1))
    assert short(await ledger(app, task_id)) == [one("upcoming", 1)]
    app.clock.advance(hours=2)
    assert short(await ledger(app, task_id)) == [one("undecided", 1)]
    await app.run_due()
    assert short(await ledger(app, task_id, until=at(9))) == [one("executed", 1)]


async def test_a_year_of_downtime_is_one_entry(app: App) -> None:
    """However often the task fires; and its unfolding costs no more than the page."""
    task_id = await app.schedule(interval="1 second")
    app.clock.advance(days=365)
    await app.run_due()
    seconds = 365 * 86_400
    span = ("missed", NOON + timedelta(seconds=1), NOON + timedelta(seconds=seconds - 1), seconds - 1, "coalesced")
    assert short(await ledger(app, task_id, newest_first=False))[:2] == [span, one("executed", 365 * 24)]
    middle = at(24 * 100)
    page = (await app.service.occurrences(task_id, middle, newest_first=False, expand=True, limit=3)).unwrap()
    assert [entry["from_time"] for entry in page["occurrences"]] == [middle + timedelta(seconds=i) for i in range(3)]


async def test_a_schedule_that_cannot_be_read_has_a_ledger_all_the_same(app: App) -> None:
    task_id = await story(app)
    await app.sql("UPDATE scheduler_events SET interval_type = 'fortnights', version = 99 WHERE id = :id", id=task_id)
    assert short(await ledger(app, task_id, newest_first=False)) == STORY[:6]
    assert short(await ledger(app, task_id, newest_first=False, expand=True)) == STORY[:6]


@pytest.fixture
async def one_task(sqlite_url: str) -> AsyncIterator[tuple[App, str]]:
    async with running_app(sqlite_url, work, fail, clock=manual_clock()) as app:
        yield app, await app.schedule(cron_expression="0 2 * * *", timezone="Europe/Berlin")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"from_": "yesterday"}, "from is 'yesterday', not an ISO 8601 time"),
        ({"until": 5}, "until must be a datetime"),
        ({"from_": at(2), "until": at(1)}, "until lies before from"),
        ({"from_": datetime(1999, 1, 1)}, "from is out of range"),
        ({"limit": 0}, "limit must be"),
        ({"cursor": "bad"}, "cursor"),
        ({"cursor": to_position(NOON, 1).upper()}, "cursor"),
        ({"cursor": to_position(NOON, 0)}, "cursor"),
        ({"cursor": 7}, "cursor"),
    ],
)
async def test_what_makes_no_sense_is_refused(one_task: tuple[App, str], arguments: dict[str, Any], says: str) -> None:
    app, task_id = one_task
    result = await app.service.occurrences(task_id, **arguments)
    assert not result.success
    assert result.error is not None
    assert says in result.error["message"]


async def test_a_naive_moment_is_in_the_timezone_of_the_task(one_task: tuple[App, str]) -> None:
    app, task_id = one_task
    shown = await ledger(app, task_id, "2026-03-03T02:00", datetime(2026, 3, 3, 2))
    assert [entry["from_time"].isoformat() for entry in shown] == ["2026-03-03T01:00:00+00:00"]


async def test_an_unknown_task_is_not_found(one_task: tuple[App, str]) -> None:
    app, _ = one_task
    for unknown in ("no id", "0199c0de-0000-7000-8000-000000000000"):
        result = await app.service.occurrences(unknown)
        assert result.error is not None
        assert result.error["code"] == "TASK_NOT_FOUND"

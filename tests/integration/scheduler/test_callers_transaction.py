"""`session=`: what a task method does is part of the caller's transaction, and exists if and only if it commits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from modules.core.clock import SystemClock
from modules.core.result import Result
from tests.support.app import MODULE, NOON, App, running_app

Sessions = Callable[[], AsyncSession]
TASK = {"name": "work", "module_id": MODULE, "function_name": "work"}
LATER = NOON + timedelta(hours=1)


@pytest.fixture(params=["the framework's engine", "an engine of the application's own"])
async def sessions(app: App, request: pytest.FixtureRequest, database_url: str) -> AsyncIterator[Sessions]:
    await app.sql("CREATE TABLE orders (id INTEGER PRIMARY KEY)")
    if request.param == "the framework's engine":
        yield app.context.database.session
        return
    engine = create_async_engine(database_url)
    yield lambda: AsyncSession(engine)
    await engine.dispose()


async def _order(session: AsyncSession, number: int) -> None:
    await session.execute(text("INSERT INTO orders VALUES (:number)"), {"number": number})


async def _orders(app: App) -> list[int]:
    async with app.context.database.read() as connection:
        return list((await connection.execute(text("SELECT id FROM orders ORDER BY id"))).scalars())


def _code(result: Result) -> str:
    assert result.error is not None
    code: str = result.error["code"]
    return code


async def test_a_task_exists_when_the_caller_has_committed_and_not_before(app: App, sessions: Sessions) -> None:
    async with sessions() as session:
        await _order(session, 1)
        task_id = (await app.service.schedule_task({**TASK, "schedule_time": NOON}, session=session)).unwrap()[
            "task_id"
        ]
        assert _code(await app.service.get_task(task_id)) == "TASK_NOT_FOUND"
        await session.commit()
    assert await _orders(app) == [1]
    assert [execution["task_id"] for execution in await app.run_due()] == [task_id]


async def test_a_rollback_takes_all_of_it_back(app: App, sessions: Sessions) -> None:
    kept = await app.schedule(interval="1 hour")
    async with sessions() as session:
        await _order(session, 1)
        made = (await app.service.schedule_task({**TASK, "schedule_time": LATER}, session=session)).unwrap()
        many = await app.service.schedule_tasks([{**TASK, "schedule_time": LATER}] * 3, session=session)
        await app.service.pause_task(kept, "for now", session=session)
        await app.service.update_task(made["task_id"], {"name": "another"}, session=session)
        await app.service.execute_task(kept, session=session)
        await session.rollback()
    gone = [made["task_id"], *(task["task_id"] for task in many.unwrap()["tasks"])]
    assert {_code(await app.service.get_task(task_id)) for task_id in gone} == {"TASK_NOT_FOUND"}
    assert await _orders(app) == []
    assert (await app.task(kept))["status"] == "pending"
    assert await app.history(kept) == []


async def test_later_calls_see_what_earlier_ones_did(app: App, sessions: Sessions) -> None:
    async with sessions() as session:
        made = (await app.service.schedule_task({**TASK, "schedule_time": LATER}, session=session)).unwrap()
        changed = await app.service.update_task(made["task_id"], {"name": "another"}, session=session)
        assert changed.unwrap()["name"] == "another"
        await app.service.pause_task(made["task_id"], "not yet", session=session)
        await app.service.resume_task(made["task_id"], session=session)
        await app.service.cancel_task(made["task_id"], session=session)
        await session.commit()
    assert (await app.task(made["task_id"]))["status"] == "cancelled"


async def test_a_refused_call_leaves_the_callers_transaction_usable(app: App, sessions: Sessions) -> None:
    await app.schedule(schedule_time=LATER, unique_key="daily")
    async with sessions() as session:
        await _order(session, 1)
        twice = [{**TASK, "schedule_time": LATER}, {**TASK, "schedule_time": LATER, "unique_key": "daily"}]
        assert _code(await app.service.schedule_task(twice[1], session=session)) == "DUPLICATE_TASK"
        assert _code(await app.service.schedule_tasks(twice, session=session)) == "DUPLICATE_TASK"
        assert _code(await app.service.pause_task("0199c0de-0000-7000-8000-000000000000", session=session)) == (
            "TASK_NOT_FOUND"
        )
        await session.commit()
    assert await _orders(app) == [1]
    assert len((await app.service.list_tasks()).unwrap()["tasks"]) == 1


async def test_a_savepoint_that_is_rolled_back_takes_its_task_with_it(app: App, sessions: Sessions) -> None:
    async with sessions() as session:
        first = (await app.service.schedule_task({**TASK, "schedule_time": LATER}, session=session)).unwrap()
        savepoint = await session.begin_nested()
        await app.service.schedule_task({**TASK, "schedule_time": LATER}, session=session)
        await savepoint.rollback()
        await session.commit()
    assert [task["id"] for task in (await app.service.list_tasks()).unwrap()["tasks"]] == [first["task_id"]]


async def test_a_cleanup_is_part_of_it_too(app: App, sessions: Sessions) -> None:
    config = {"history": "executions"}
    async with sessions() as session:
        (await app.service.register_cleanup_task("core.scheduler", "history", config, session=session)).unwrap()
        await session.rollback()
    assert await app.service.housekeeper.cleanups() == []
    async with sessions() as session:
        (await app.service.register_cleanup_task("core.scheduler", "history", config, session=session)).unwrap()
        await session.commit()
    assert len(await app.service.housekeeper.cleanups()) == 1


async def test_the_dispatcher_is_woken_by_the_commit(database_url: str) -> None:
    """A task that is due at once starts as soon as it is there, long before the next look."""
    started = asyncio.Event()

    async def note(parameters: dict[str, Any]) -> None:
        started.set()

    async with running_app(database_url, note, clock=SystemClock(), enabled=True) as app:
        async with app.context.database.session() as session:
            due = {"name": "note", "module_id": MODULE, "function_name": "note", "schedule_time": app.clock.now()}
            (await app.service.schedule_task(due, session=session)).unwrap()
            assert not started.is_set()
            await session.commit()
        await asyncio.wait_for(started.wait(), 10)


@pytest.mark.parametrize("wrong", ["another file", "another kind", "no session"])
async def test_a_session_on_another_database_is_refused(app: App, wrong: str, tmp_path: Path) -> None:
    url = {
        "another file": f"sqlite+aiosqlite:///{tmp_path / 'other.sqlite3'}",
        "another kind": "postgresql+psycopg:///x",
    }
    if wrong == "no session":
        refused = await app.service.schedule_task({**TASK, "schedule_time": LATER}, session=object())  # type: ignore[arg-type]
    else:
        async with AsyncSession(create_async_engine(url[wrong])) as session:
            refused = await app.service.schedule_task({**TASK, "schedule_time": LATER}, session=session)
    assert _code(refused) == "WRONG_SESSION"
    assert (await app.service.list_tasks()).unwrap()["tasks"] == []

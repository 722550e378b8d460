"""What callers and operators are told while the database is full, read-only or away, and that it is over afterwards."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from typing import Any

import pytest
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncConnection

from modules.core.database import TROUBLE_SHOWN_FOR, Database
from modules.core.database_errors import CommitUnanswered
from modules.core.scheduler.db_ops import DbOps
from modules.core.scheduler.errors import DatabaseUnavailable
from tests.integration.scheduler.conftest import work
from tests.support.app import App, running_app

ON = {"full": "PRAGMA max_page_count = 1", "read-only": "PRAGMA query_only = ON"}  # as many as there are
OFF = {"full": "PRAGMA max_page_count = 1000000", "read-only": "PRAGMA query_only = OFF"}
WORDS = {"full": "free some space", "read-only": "give back the right to write"}


@pytest.mark.parametrize("trouble", ON)
async def test_sqlite_that_cannot_be_written(sqlite_url: str, trouble: str) -> None:
    async with running_app(sqlite_url, work) as app:
        before = await app.schedule()
        pragma = [ON[trouble]]

        def set_up(connection: Any, *_record: Any) -> None:
            connection.exec_driver_sql(pragma[0])

        for engine in app.context.database.engines:
            event.listen(engine, "begin", set_up, insert=True)
        answers = [await app.service.schedule_task(_task(app, "x" * 1000)) for _ in range(20)]
        refused = [answer for answer in answers if not answer]
        assert refused, "twenty rows of 1000 characters do not fit"
        for answer in refused:
            assert answer.error is not None
            assert answer.error["code"] == "DATABASE_UNAVAILABLE"
            assert answer.error["message"].startswith("Nothing was changed.")
            assert WORDS[trouble] in answer.error["message"]
        vitals = await app.service.vitals()
        assert vitals.health() == "degraded"
        assert any(WORDS[trouble] in reason for reason in vitals.reasons())
        assert (await app.task(before))["status"] == "pending", "what is stored can be read"
        pragma[0] = OFF[trouble]
        after = await app.schedule()
        assert (await app.service.vitals()).health() == "ok"
        assert {row["task_id"] for row in await app.run_due()} >= {before, after}


def _task(app: App, description: str) -> dict[str, Any]:
    return {
        "name": "n",
        "module_id": "test.module",
        "function_name": "work",
        "schedule_time": app.clock.now(),
        "description": description,
    }


async def test_trouble_of_long_ago_is_forgotten(app: App) -> None:
    """A process that seldom writes must not look ill for ever."""
    database = app.context.database
    with pytest.raises(OSError), database.watched(writing=True):  # noqa: PT011  # it is our own
        raise OSError("the cable")
    assert "cannot be reached" in str(database.trouble)
    app.clock.advance(TROUBLE_SHOWN_FOR + 1)
    assert database.trouble is None


async def test_a_connection_that_breaks_at_the_commit_leaves_it_open_what_is_stored(postgres_url: str) -> None:
    database = Database(postgres_url)
    await database.open()
    killer = Database(postgres_url)
    await killer.open()
    try:

        async def cut(connection: AsyncConnection) -> None:
            pid = await connection.scalar(text("SELECT pg_backend_pid()"))
            async with killer.transaction() as other:
                await other.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid})

        with pytest.raises(CommitUnanswered):
            await database.run(cut)
    finally:
        await killer.close()
        await database.close()


async def test_a_caller_is_told_when_nobody_knows(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_arguments: Any, **_options: Any) -> Any:
        raise CommitUnanswered("server closed the connection unexpectedly")

    async with running_app(sqlite_url, work) as app:
        monkeypatch.setattr(app.context.database, "run", broken)
        answer = await app.service.schedule_task(_task(app, ""))
        assert answer.error is not None
        assert answer.error["code"] == DatabaseUnavailable.code
        assert "not known" in answer.error["message"]
        assert "Nothing was changed" not in answer.error["message"]
        monkeypatch.undo()


async def test_an_outcome_whose_answer_was_lost_does_not_stop_the_schedule(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is on disk, so trying again finds nothing to do; when the task is due next has to be looked up."""
    complete, lost = DbOps.complete_executions, []

    async def loses_one_answer(self: DbOps, *arguments: Any) -> Any:
        recorded = await complete(self, *arguments)
        if not lost:
            lost.append(1)
            raise DatabaseUnavailable("the connection broke")
        return recorded

    monkeypatch.setattr(DbOps, "complete_executions", loses_one_answer)
    async with running_app(sqlite_url, work, enabled=True) as app:
        task_id = await app.schedule(interval="1 second")
        async with asyncio.timeout(20):  # the poll would find it after 30 s
            while len(await app.history(task_id)) < 3:
                await asyncio.sleep(0.05)
    assert lost


async def test_a_stop_leaves_nothing_behind(database_url: str) -> None:
    tasks, threads = len(asyncio.all_tasks()), set(threading.enumerate())
    async with running_app(database_url, work, enabled=True) as app:
        task_id = await app.schedule()
        while (await app.task(task_id))["status"] != "completed":
            await asyncio.sleep(0.01)
        assert len(asyncio.all_tasks()) > tasks
    assert len(asyncio.all_tasks()) == tasks
    # The default executor's threads belong to the event loop, which keeps them for the next one who asks.
    left = {thread for thread in threading.enumerate() if not thread.name.startswith("asyncio_")} - threads
    async with asyncio.timeout(10):
        while any(thread.is_alive() for thread in left):
            await asyncio.sleep(0.01)
    if database_url.startswith("sqlite"):
        with sqlite3.connect(database_url.partition(":///")[2], timeout=0) as alone:
            assert alone.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0
        alone.close()

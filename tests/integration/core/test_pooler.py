"""Behind PgBouncer in transaction mode: each transaction may have another server, and nothing may be left on one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest
from sqlalchemy import text

from modules.core.database import Database
from modules.core.migrations import head_revision, migrate
from modules.core.scheduler.runtime import DEAF_CEILING_SECONDS
from tests.integration.scheduler.test_wakeups import Ear
from tests.support.app import NOON, running_app
from tests.support.pgbouncer import SERVERS_FOR_EACH_DATABASE


@pytest.fixture(params=["psycopg", "asyncpg"])
def url(request: pytest.FixtureRequest, pooled_url: str) -> str:
    return pooled_url.replace("psycopg", request.param)


@pytest.fixture
async def pooled(url: str) -> AsyncIterator[Database]:
    database = Database(url, pooler="transaction")
    await database.open()
    yield database
    await database.close()


async def work(parameters: dict[str, Any]) -> dict[str, Any]:
    return parameters


async def test_servers_change_hands_and_nothing_is_missed_on_them(pooled: Database) -> None:
    """More clients than servers, each with the same statement many times over: what drivers like to prepare."""
    seen: set[int] = set()

    async def ask(number: int) -> None:
        for turn in range(20):
            async with pooled.transaction() as connection:
                statement = text("SELECT pg_backend_pid(), CAST(:number AS integer) + :turn")
                pid, answer = (await connection.execute(statement, {"number": number, "turn": turn})).one()
                assert answer == number + turn
                seen.add(pid)

    await asyncio.gather(*map(ask, range(12)))
    assert 1 < len(seen) <= SERVERS_FOR_EACH_DATABASE


async def test_limits_hold_within_a_transaction_and_stay_on_no_server(pooled: Database, postgres_url: str) -> None:
    names = ("statement_timeout", "lock_timeout", "TimeZone")

    async def shown() -> list[str]:
        async with pooled.transaction() as connection:
            return [(await connection.exec_driver_sql(f"SHOW {name}")).scalar_one() for name in names]

    assert await shown() == ["30s", "10s", "UTC"]
    plain = pooled.url.set(drivername="postgresql").render_as_string()
    for _ in range(SERVERS_FOR_EACH_DATABASE + 1):
        with psycopg.connect(plain) as stranger:
            assert stranger.execute("SHOW statement_timeout").fetchone() == ("0",), "another client's server"


async def test_the_schema_is_made_through_it(pooled: Database) -> None:
    assert await migrate(pooled) == head_revision()
    assert await migrate(pooled) == head_revision()


async def test_nodes_behind_it_do_all_the_work(url: str) -> None:
    """Two of them, more callers than servers, cron and retries alike: nothing is lost and nothing runs twice."""
    ran: list[str] = []

    async def note(parameters: dict[str, Any], context: Any) -> None:
        ran.append(context.task_id)
        if parameters.get("fails") and context.attempt == 1:
            raise ValueError("at first")

    async with (
        running_app(url, note, enabled=True, pooler="transaction", poll_ceiling_seconds=0.2, lease_seconds=8) as first,
        running_app(url, note, enabled=True, pooler="transaction", poll_ceiling_seconds=0.2, lease_seconds=8) as second,
    ):
        apps = (first, second)
        plain = await asyncio.gather(*(apps[number % 2].schedule("note") for number in range(60)))
        retry = {"max_attempts": 2, "delay_seconds": 0, "jitter": False}
        failing = await asyncio.gather(
            *(first.schedule("note", parameters={"fails": True}, retry=retry) for _ in range(10))
        )
        async with asyncio.timeout(60):
            while (await first.service.status()).unwrap()["tasks"].get("completed", 0) < 70:
                await asyncio.sleep(0.05)
        assert sorted(ran) == sorted([*plain, *failing, *failing])
        for app in apps:
            assert (await app.service.vitals()).reasons() == []
            assert app.service.recovery.recovered == 0


async def test_nobody_listens_behind_it_and_so_everybody_looks_more_often(url: str) -> None:
    async with running_app(url, work, enabled=True, pooler="transaction") as app:
        wakeups = app.service.cluster.wakeups
        assert not wakeups.expected
        assert (await app.service.status()).unwrap()["listening"] is False
        assert app.runtime.poll_ceiling_seconds == DEAF_CEILING_SECONDS
        assert (await app.service.vitals()).health() == "ok", "it was set up like that"


async def test_who_is_behind_it_can_tell_who_is_not(url: str, postgres_url: str) -> None:
    async with running_app(postgres_url, work) as direct, running_app(url, work, pooler="transaction") as behind:
        ear, mouth = Ear(direct), Ear(behind)
        await ear.wakeups.start()
        assert await ear.next() == ("look", None)
        mouth.wakeups.announce_due(NOON)
        assert await ear.next() == ("due", NOON)
        await mouth.wakeups.stop()
        await ear.wakeups.stop()


async def test_a_node_that_was_not_told_of_it_finds_out(
    pooled_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """PgBouncer accepts LISTEN, and gives what arrives to nobody."""
    monkeypatch.setattr("modules.core.scheduler.wakeups.PROOF_PATIENCE", 0.5)
    async with running_app(pooled_url, work) as app:
        ear = Ear(app)
        await ear.wakeups.start()
        async with asyncio.timeout(20):
            while not ear.wakeups.failures:
                await asyncio.sleep(0.01)
        assert not ear.wakeups.listening
        await ear.wakeups.stop()
    assert "APP_DATABASE_POOLER=transaction" in caplog.text

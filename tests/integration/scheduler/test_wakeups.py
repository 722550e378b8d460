"""What one node announces, the others hear at once; what is lost is made good, and nobody is flooded."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

import pytest

from modules.core.scheduler.errors import DatabaseUnavailable
from modules.core.scheduler.wakeups import News, Wakeups
from tests.integration.scheduler.conftest import work
from tests.support.app import NOON, App, running_app


class Ear:
    """One node's wake-ups, and a queue of what it heard."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.heard: asyncio.Queue[tuple[str, Any]] = asyncio.Queue()
        self.wakeups = Wakeups(
            app.runtime,
            on_due=lambda at: self.heard.put_nowait(("due", at)),
            on_change=lambda event_id: self.heard.put_nowait(("change", event_id)),
            on_nodes=lambda: self.heard.put_nowait(("nodes", None)),
            on_reconnect=lambda: self.heard.put_nowait(("look", None)),
        )

    async def next(self) -> tuple[str, Any]:
        async with asyncio.timeout(20):
            return await self.heard.get()


@asynccontextmanager
async def listening(*urls: str) -> AsyncIterator[list[Ear]]:
    """Nodes that listen, on databases of these URLs."""
    async with asyncio.timeout(60), _apps(urls) as apps:
        ears = [Ear(app) for app in apps]
        try:
            for ear in ears:
                await ear.wakeups.start()
                if ear.app.context.database.dialect_name == "sqlite":
                    await _on_the_list(ear)
                else:
                    assert await ear.next() == ("look", None), "what was said before is not known here"
                assert ear.wakeups.listening
            yield ears
        finally:
            for ear in ears:
                await ear.wakeups.stop()


@asynccontextmanager
async def _apps(urls: tuple[str, ...]) -> AsyncIterator[list[App]]:
    if not urls:
        yield []
        return
    async with running_app(urls[0], work) as app, _apps(urls[1:]) as others:
        yield [app, *others]


async def _on_the_list(ear: Ear) -> None:
    from tests.integration.scheduler.test_nodes import report

    runtime = ear.app.runtime
    here = report(runtime.node_id, host=socket.gethostname()[:255], doorbell_port=ear.wakeups.doorbell_port)
    await runtime.db_ops.join_node(here, runtime.lease_now())


@pytest.fixture(params=["psycopg", "asyncpg"])
def listening_url(request: pytest.FixtureRequest, postgres_url: str) -> str:
    return postgres_url.replace("psycopg", request.param)


async def test_what_one_announces_the_others_hear(listening_url: str) -> None:
    async with listening(listening_url, listening_url, listening_url) as (first, *others):
        first.wakeups.announce_due(NOON)
        for other in others:
            assert await other.next() == ("due", NOON)
        first.wakeups.announce_change("an event")
        first.wakeups.announce_nodes()
        for other in others:
            assert [await other.next() for _ in range(2)] == [("change", "an event"), ("nodes", None)]
        assert first.heard.empty(), "nobody is woken by himself"


async def test_what_there_is_to_tell_is_told_together(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The earliest moment stands for all, and each change is named once."""
    async with listening(postgres_url, postgres_url) as (first, second):
        sent: list[str] = []
        notify = first.app.runtime.db_ops.notify

        async def count(payload: str) -> None:
            sent.append(payload)
            await notify(payload)

        monkeypatch.setattr(first.app.runtime.db_ops, "notify", count)
        for number in range(1000):
            first.wakeups.announce_due(NOON + timedelta(seconds=abs(500 - number)))
            first.wakeups.announce_change(f"event {number % 150}")
        heard = [await second.next() for _ in range(151)]
        assert heard[0] == ("due", NOON)
        assert heard[1:] == [("change", f"event {number}") for number in range(150)]
        assert len(sent) == 2, "a payload has its limit, so there are two"


async def test_a_lost_connection_is_made_again_and_the_node_looks(listening_url: str) -> None:
    async with listening(listening_url, listening_url) as (first, second):
        async with first.app.context.database.transaction() as connection:
            await connection.exec_driver_sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query ILIKE 'listen %%'"
            )
        for ear in (first, second):
            assert await ear.next() == ("look", None)
            assert ear.wakeups.listening
            assert ear.wakeups.failures == 0
        first.wakeups.announce_due(NOON)
        assert await second.next() == ("due", NOON)


async def test_without_a_database_it_goes_on_trying(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with _apps((postgres_url,)) as [app]:
        ear = Ear(app)

        async def away(_payload: str) -> None:
            raise DatabaseUnavailable("away")

        with monkeypatch.context() as broken:
            broken.setattr(app.runtime.db_ops, "notify", away)
            await ear.wakeups.start()
            ear.wakeups.announce_due(NOON)
            async with asyncio.timeout(20):
                while not ear.wakeups.failures:
                    await asyncio.sleep(0.01)
            assert not ear.wakeups.listening
            assert ear.wakeups.expected
        assert await ear.next() == ("look", None)
        await ear.wakeups.stop()
        assert not ear.wakeups.listening


async def test_who_does_not_hear_himself_knows_that_a_pooler_stands_between(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("modules.core.scheduler.wakeups.PROOF_PATIENCE", 0.05)
    async with _apps((postgres_url,)) as [app]:

        async def swallow(_payload: str) -> None:
            """As a pooler does, which gives it to whoever has the connection now."""

        monkeypatch.setattr(app.runtime.db_ops, "notify", swallow)
        ear = Ear(app)
        await ear.wakeups.start()
        async with asyncio.timeout(20):
            while not ear.wakeups.failures:
                await asyncio.sleep(0.01)
        await ear.wakeups.stop()
    assert "APP_DATABASE_POOLER=transaction" in caplog.text


@pytest.mark.parametrize(
    "payload",
    ["", "{", "[]", '"text"', "{}", '{"node": "x", "due": 5}', '{"node": "x", "due": "2026-01-01"}',
     '{"node": "x", "changes": 5}', '{"node": "x", "due": "soon"}', '{"due": "2026-01-01T00:00:00+00:00"}'],
)  # fmt: skip
def test_what_no_node_has_sent_is_passed_over(payload: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        News.read(payload)


def test_what_is_told_is_what_was_to_be_told() -> None:
    news = News(datetime.fromisoformat("2026-03-02T12:00:00.123456+00:00"), ["a", "b"], True)
    assert News.read(news.to_json("me")) == ("me", news)
    assert News.read(News().to_json("me")) == ("me", News())
    longest = News(NOON, ["0199c0de-0000-7000-8000-000000000000"] * 100, True).to_json("0" * 36)
    assert len(longest) < 8000, "PostgreSQL takes no more"


async def test_nodes_of_one_file_ring_each_other(sqlite_url: str) -> None:
    async with listening(sqlite_url, sqlite_url) as (first, second):
        first.wakeups.announce_due(NOON)
        kind, moment = await second.next()
        assert kind == "due"
        assert moment != NOON, "only that there is something: it looks now"
        second.wakeups.announce_nodes()
        assert await first.next() == ("nodes", None)
        first.wakeups.announce_change("an event")
        assert await second.next() == ("look", None)


async def test_a_process_that_does_not_listen_can_tell_all_the_same(database_url: str) -> None:
    """A command, for example; it is told before the command ends."""
    async with listening(database_url) as [node], _apps((database_url,)) as [command]:
        speaker = Ear(command)
        speaker.wakeups.announce_nodes()
        await speaker.wakeups.stop()
        assert node.heard.qsize() == 1 or await node.next() == ("nodes", None)
        await speaker.wakeups.stop()


async def test_a_doorbell_rung_without_end_wakes_twenty_times_a_second_at_most(sqlite_url: str) -> None:
    async with listening(sqlite_url) as [node]:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            for data in (b"d", b"", b"xyz", b"d" * 1000):
                for _ in range(20):
                    stranger.sendto(data, ("127.0.0.1", node.wakeups.doorbell_port or 0))
            stranger.sendto(b"n", ("127.0.0.1", node.wakeups.doorbell_port or 0))
        heard = [await node.next()]
        while heard[-1] != ("nodes", None):
            heard.append(await node.next())
        assert {kind for kind, _ in heard[:-1]} == {"due"}
        assert len(heard) < 20, "one for each datagram"
        assert node.heard.empty()

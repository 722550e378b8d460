"""What comes in at the door: keys that have expired, bodies that are too large to be read at all."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from modules.core.errors import Invalid, Unauthorized
from modules.core.scheduler.auth import ApiKeys
from tests.support.app import NOON, App
from tests.support.http import app_for, served


def _keys(app: App) -> ApiKeys:
    keys: ApiKeys = app.context.get_service("core.scheduler.keys")
    return keys


async def test_a_key_is_refused_from_the_moment_it_expires(app: App) -> None:
    keys = _keys(app)
    made = await keys.create("ci", "operate", expires_at=NOON + timedelta(hours=1))
    app.clock.advance(hours=1, seconds=-1)
    assert (await keys.authenticate(made["key"])).scope == "operate"
    assert await keys.any_exists()
    app.clock.advance(1)
    with pytest.raises(Unauthorized, match="expired"):
        await keys.authenticate(made["key"])
    assert not await keys.any_exists(), "nobody can get in, so the server has to make a first key"
    assert [key["expires_at"] for key in await keys.all()] == [NOON + timedelta(hours=1)]


async def test_a_key_without_an_end_has_none(app: App) -> None:
    keys = _keys(app)
    made = await keys.create("forever", "read")
    app.clock.advance(days=3650)
    assert (await keys.authenticate(made["key"])).name == "forever"


async def test_a_key_that_has_expired_already_is_not_made(app: App) -> None:
    with pytest.raises(Invalid, match="expires_at has passed"):
        await _keys(app).create("late", "read", expires_at=app.clock.now())
    assert await _keys(app).all() == []


async def test_a_body_that_says_it_is_too_large_is_refused_unread(sqlite_url: str) -> None:
    """70 000 bytes are announced and none are sent: the answer does not wait for them."""
    asked_for: list[str] = []

    async def nothing() -> AsyncIterator[bytes]:
        asked_for.append("the body")
        yield b""

    async with served(app_for(sqlite_url)) as client:
        headers = {"content-type": "application/json", "content-length": "70000"}
        answer = await client.post("/tasks", content=nothing(), headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (413, "BODY_TOO_LARGE")
        assert asked_for == []
        headers["content-length"] = "9" * 5000
        assert (await client.post("/tasks", content=nothing(), headers=headers)).status_code == 413
        assert asked_for == []
        headers["content-length"] = "65536"
        assert (await client.post("/tasks", content=nothing(), headers=headers)).status_code == 422
        assert asked_for == ["the body"]

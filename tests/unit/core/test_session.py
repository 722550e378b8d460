"""Which framework session is at work."""

from __future__ import annotations

import asyncio

import pytest

from modules.core.ids import new_id
from modules.core.session import current_session_id, use_session


def test_nobody_has_named_a_session() -> None:
    """Then there is none."""
    assert current_session_id() is None


def test_a_session_lasts_as_long_as_its_block() -> None:
    """Blocks nest."""
    with use_session("outer"):
        with use_session("inner"):
            assert current_session_id() == "inner"
        assert current_session_id() == "outer"
    assert current_session_id() is None


def test_a_session_ends_with_an_exception_too() -> None:
    """Nothing leaks into what follows."""
    with pytest.raises(ValueError, match="no"), use_session("a"):
        raise ValueError("no")
    assert current_session_id() is None


async def test_tasks_started_inside_belong_to_the_session() -> None:
    """Concurrent ones do not see each other's."""

    async def inside(name: str) -> str | None:
        with use_session(name):
            return await asyncio.create_task(later())

    async def later() -> str | None:
        await asyncio.sleep(0)
        return current_session_id()

    assert list(await asyncio.gather(inside("a"), inside("b"))) == ["a", "b"]
    assert current_session_id() is None


def test_ids_sort_by_the_time_of_their_making() -> None:
    """36 characters each, never the same twice."""
    ids = [new_id() for _ in range(1000)]
    assert ids == sorted(ids)
    assert len(set(ids)) == 1000
    assert {len(one) for one in ids} == {36}

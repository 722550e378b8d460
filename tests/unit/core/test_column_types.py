"""The types of columns: moments in UTC, and JSON."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy import literal, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Dialect

from modules.core.column_types import Json, UtcDateTime

SQLITE, POSTGRESQL = sqlite.dialect(), postgresql.dialect()  # type: ignore[no-untyped-call]
TOKYO = timezone(timedelta(hours=9))


@pytest.mark.parametrize("dialect", [SQLITE, POSTGRESQL], ids=["sqlite", "postgresql"])
def test_a_naive_time_is_refused(dialect: Dialect) -> None:
    """Nobody can know which instant it means."""
    with pytest.raises(ValueError, match="naive datetime"):
        UtcDateTime().process_bind_param(datetime(2026, 1, 1), dialect)


def test_sqlite_keeps_utc_without_an_offset() -> None:
    """One format, so that text compares as time."""
    moment = datetime(2026, 1, 1, 9, 30, tzinfo=TOKYO)

    stored = UtcDateTime().process_bind_param(moment, SQLITE)

    assert stored == datetime(2026, 1, 1, 0, 30)


def test_postgresql_keeps_the_instant() -> None:
    """As UTC."""
    stored = UtcDateTime().process_bind_param(datetime(2026, 1, 1, 9, 30, tzinfo=TOKYO), POSTGRESQL)

    assert stored is not None
    assert stored.tzinfo is UTC
    assert stored == datetime(2026, 1, 1, 0, 30, tzinfo=UTC)


def test_what_comes_back_is_aware_and_in_utc() -> None:
    """Whatever the driver gives."""
    read = UtcDateTime().process_result_value
    expected = datetime(2026, 1, 1, 0, 30, tzinfo=UTC)

    for value in (datetime(2026, 1, 1, 0, 30), datetime(2026, 1, 1, 9, 30, tzinfo=TOKYO)):
        moment = read(value, SQLITE)
        assert moment == expected
        assert moment is not None
        assert moment.tzinfo is UTC


def test_nothing_stays_nothing() -> None:
    """NULL is None in both directions."""
    assert UtcDateTime().process_bind_param(None, SQLITE) is None
    assert UtcDateTime().process_result_value(None, SQLITE) is None


def test_json_is_jsonb_on_postgresql() -> None:
    """And JSON text on SQLite."""
    query = select(literal(None, Json).cast(Json))
    assert "JSONB" in str(query.compile(dialect=POSTGRESQL))
    assert "JSONB" not in str(query.compile(dialect=SQLITE))

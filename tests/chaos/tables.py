"""The tables as evidence, and a journal of their changes that the database itself keeps, by triggers.

The journal is the witness that no client can fool: every insert and update of an event or an execution, in the order
in which the database made them, with the time by its clock. A test with a clock of its own sets that one instead.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import URL, Connection, create_engine, make_url, text

from tests.chaos.evidence import Change, Event, Execution, Missed

EVENT_COLUMNS = (
    "id", "status", "next_execution", "anchor_time", "interval_type", "interval_value", "fired_count", "max_executions",
    "fence", "active_execution_id", "delivery", "overlap", "retry", "parameters", "version",
)  # fmt: skip
EXECUTION_COLUMNS = (
    "id", "event_id", "scheduled_for", "state", "fence", "kind", "attempt", "failures", "abandonments", "run_at",
    "node_id", "lease_expires_at", "end_time", "success",
)  # fmt: skip
WATCHED = {"scheduler_events": EVENT_COLUMNS, "scheduler_executions": EXECUTION_COLUMNS}
MISSED_COLUMNS = ("event_id", "from_time", "until_time", "count", "reason")
UNITS = {"seconds": 1, "minutes": 60, "hours": 3600}

SQLITE_NOW = "strftime('%Y-%m-%d %H:%M:%f', 'now')"


def sync_url(url: str) -> URL:
    """The same database for a driver that needs no event loop."""
    given = make_url(url)
    return given.set(drivername="sqlite" if given.get_backend_name() == "sqlite" else "postgresql+psycopg")


@contextmanager
def connected(url: str) -> Iterator[Connection]:
    """One transaction on that database (a URL as the application takes it), from outside of the application."""
    engine = create_engine(sync_url(url))
    try:
        with engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()


def keep_journal(url: str) -> None:
    """From now on every change of an event or an execution is on record. The scheduler's tables must exist."""
    with connected(url) as connection:
        for statement in _sqlite() if connection.dialect.name == "sqlite" else _postgresql():
            connection.exec_driver_sql(statement)


def set_journal_clock(connection: Connection, now: datetime) -> None:
    """The journal's time stands at `now`, instead of being the database's, until it is set again."""
    connection.execute(text("DELETE FROM chaos_clock"))
    at = now.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "microseconds")
    value: Any = at if connection.dialect.name == "sqlite" else now
    connection.execute(text("INSERT INTO chaos_clock (at) VALUES (:at)"), {"at": value})


def _sqlite() -> Iterator[str]:
    yield "CREATE TABLE chaos_clock (at TEXT)"
    yield "CREATE TABLE chaos_journal (number INTEGER PRIMARY KEY AUTOINCREMENT, at TEXT, what TEXT, content TEXT)"
    for table, columns in WATCHED.items():
        content = ", ".join(f"'{column}', NEW.{column}" for column in columns)
        for event in ("INSERT", "UPDATE"):
            yield (
                f"CREATE TRIGGER chaos_{table}_{event.lower()} AFTER {event} ON {table} BEGIN "
                f"INSERT INTO chaos_journal (at, what, content) VALUES "
                f"(coalesce((SELECT at FROM chaos_clock), {SQLITE_NOW}), '{table}', json_object({content})); END"
            )


def _postgresql() -> Iterator[str]:
    yield "CREATE TABLE chaos_clock (at timestamptz)"
    yield (
        "CREATE TABLE chaos_journal "
        "(number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, at timestamptz, what text, content jsonb)"
    )
    for table, columns in WATCHED.items():
        content = ", ".join(f"'{column}', NEW.{column}" for column in columns)
        yield (
            f"CREATE FUNCTION chaos_{table}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            f"INSERT INTO chaos_journal (at, what, content) VALUES "
            f"(coalesce((SELECT at FROM chaos_clock LIMIT 1), clock_timestamp()), '{table}', "
            f"jsonb_build_object({content})); RETURN NULL; END $$"
        )
        yield (
            f"CREATE TRIGGER chaos_{table} AFTER INSERT OR UPDATE ON {table} FOR EACH ROW "
            f"EXECUTE FUNCTION chaos_{table}()"
        )


def read_tables(connection: Connection) -> dict[str, Any]:
    """Rows and journal, as the fields of an Evidence."""
    events, executions = [], []
    for at, what, content in connection.exec_driver_sql("SELECT at, what, content FROM chaos_journal ORDER BY number"):
        row = json.loads(content) if isinstance(content, str) else content
        if what == "scheduler_events":
            events.append(Change(moment(at), event_of(row)))
        else:
            executions.append(Change(moment(at), execution_of(row)))
    return {
        "events": [event_of(row) for row in _rows(connection, "scheduler_events", EVENT_COLUMNS)],
        "executions": [execution_of(row) for row in _rows(connection, "scheduler_executions", EXECUTION_COLUMNS)],
        "missed": [
            Missed(row["event_id"], moment(row["from_time"]), moment(row["until_time"]), row["count"], row["reason"])
            for row in _rows(connection, "scheduler_missed_runs", MISSED_COLUMNS)
        ],
        "event_changes": events,
        "execution_changes": executions,
    }


def _rows(connection: Connection, table: str, columns: tuple[str, ...]) -> list[Any]:
    return list(connection.exec_driver_sql(f"SELECT {', '.join(columns)} FROM {table} ORDER BY id").mappings())


def is_busy(connection: Connection) -> bool:
    """Whether anything is open, or waits for its time."""
    number = connection.execute(
        text(
            "SELECT (SELECT count(*) FROM scheduler_executions WHERE state IN ('ready', 'running')) + "
            "(SELECT count(*) FROM scheduler_events WHERE status = 'pending')"
        )
    ).scalar_one()
    return bool(number)


def event_of(row: Any) -> Event:
    """A row of scheduler_events, whichever database and way it comes from."""
    unit, number = row["interval_type"], row["interval_value"]
    retry, parameters = _document(row["retry"]), _document(row["parameters"])
    return Event(
        id=row["id"],
        status=row["status"],
        next_execution=_moment(row["next_execution"]),
        anchor_time=_moment(row["anchor_time"]),
        interval=timedelta(seconds=number * UNITS[unit]) if unit and number else None,
        fired_count=row["fired_count"],
        max_executions=row["max_executions"],
        fence=row["fence"],
        active_execution_id=row["active_execution_id"],
        delivery=row["delivery"],
        overlap=row["overlap"],
        max_attempts=retry.get("max_attempts", 1),
        edit=parameters.get("edit", 0),
        version=row["version"],
    )


def execution_of(row: Any) -> Execution:
    """A row of scheduler_executions."""
    return Execution(
        id=row["id"],
        event_id=row["event_id"],
        scheduled_for=moment(row["scheduled_for"]),
        state=row["state"],
        fence=row["fence"],
        kind=row["kind"],
        attempt=row["attempt"],
        failures=row["failures"],
        abandonments=row["abandonments"],
        run_at=moment(row["run_at"]),
        node_id=row["node_id"],
        lease_expires_at=_moment(row["lease_expires_at"]),
        end_time=_moment(row["end_time"]),
        success=None if row["success"] is None else bool(row["success"]),
    )


def _document(value: Any) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(value) if isinstance(value, str) else value
    return document or {}


def moment(value: Any) -> datetime:
    """A moment as SQLite's text, JSON's text or the driver's object has it."""
    parsed = datetime.fromisoformat(value) if isinstance(value, str) else value
    return parsed.astimezone(UTC) if parsed.tzinfo else parsed.replace(tzinfo=UTC)


def _moment(value: Any) -> datetime | None:
    return None if value is None else moment(value)

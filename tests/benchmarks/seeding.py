"""Rows to begin with: due tasks, tasks of the far future, old executions. `python -m tests.benchmarks.seeding`.

One task is made as users make one; the others are copies of its row, made in SQL, so that a million take seconds and
nothing here knows how the scheduler writes. Ids go up with time, as its own do.
"""

from __future__ import annotations

import asyncio
import sqlite3
from argparse import ArgumentParser
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg

from modules.core.app_context import AppContext
from modules.core.settings import AppSettings
from tests.benchmarks import measure

FINISHED_TASKS = 1_000  # that the old executions belong to
EVENTS, EXECUTIONS = "scheduler_events", "scheduler_executions"
Connection = Any  # sqlite3.Connection or psycopg.Connection: both have execute()


@contextmanager
def connected(url: str) -> Iterator[Connection]:
    """A connection beside the application's, in autocommit."""
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(measure.sqlite_path(url), timeout=60, isolation_level=None)) as connection:
            connection.execute("PRAGMA synchronous = OFF")  # of this connection: what it writes is no one's work
            yield connection
    else:
        with psycopg.connect(url, autocommit=True) as connection:
            yield connection


def count(connection: Connection, table: str, condition: str) -> int:
    return int(connection.execute(f"SELECT count(*) FROM {table} WHERE {condition}").fetchone()[0])


def settings(url: str, *, driver: str = "psycopg", synchronous: str = "FULL", **own: Any) -> AppSettings:
    """Settings of a scheduler that does not dispatch until it is told to, unless `own` settings say otherwise."""
    url = url.replace("postgresql://", f"postgresql+{driver}://")
    own = {"enabled": False, "housekeeping": False, **own}
    return AppSettings.load(
        database_url=url,
        data_dir=Path(measure.sqlite_path(url)).parent if url.startswith("sqlite") else Path.cwd(),
        sqlite_synchronous=synchronous,
        module_settings={"core.scheduler": own},
    )


async def schedule_one(service: Any, due: datetime, fields: Mapping[str, Any]) -> str:
    """One task, by the service; its id."""
    task = {"name": "bench", "module_id": "bench", "function_name": "no_op", "schedule_time": due, "allow_past": True}
    return str((await service.schedule_task({**task, **fields})).unwrap()["task_id"])


async def make_due(url: str, service: Any, number: int, fields: Mapping[str, Any] | None = None) -> None:
    """`number` tasks that are due now."""
    task_id = await schedule_one(service, datetime.now(UTC), fields or {})
    with connected(url) as connection:
        copy(connection, EVENTS, task_id, number - 1, {})


async def make_future(url: str, service: Any, number: int) -> None:
    """`number` tasks, a second apart, the first of them due in a day."""
    task_id = await schedule_one(service, datetime.now(UTC) + timedelta(days=1), {})
    with connected(url) as connection:
        later = dict.fromkeys(("next_execution", "anchor_time"), 1.0)
        copy(connection, EVENTS, task_id, number - 1, later)


def copy(
    connection: Connection, table: str, row_id: str, number: int, steps: Mapping[str, float], **given: str
) -> None:
    """`number` copies of a row under new ids; the moments in `steps` move so many seconds with each. `given`: SQL."""
    cursor = connection.execute(f"SELECT * FROM {table} WHERE id = '{row_id}'")
    sqlite = isinstance(connection, sqlite3.Connection)
    shifted = (
        "strftime('%Y-%m-%d %H:%M:%f', {column}, (n * {step}) || ' seconds') || '000'"
        if sqlite
        else "{column} + n * {step} * interval '1 second'"
    )
    values = {column[0]: column[0] for column in cursor.description}
    values |= {column: shifted.format(column=column, step=step) for column, step in steps.items()}
    head = f"substr(id, 1, 14) || '7fff-bfff-' || {_hexadecimal('n', sqlite)}"
    values |= {"id": head, **given}
    series = (
        f"WITH RECURSIVE series(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM series WHERE n < {number})"
        if sqlite
        else f"WITH series AS (SELECT n FROM generate_series(1, {number}) AS n)"
    )
    if number > 0:
        connection.execute(
            f"{series} INSERT INTO {table} ({', '.join(values)}) SELECT {', '.join(values.values())}"
            f" FROM {table}, series WHERE id = '{row_id}'"
        )


def _hexadecimal(number: str, sqlite: bool) -> str:
    """Twelve hexadecimal digits, in SQL."""
    return f"printf('%012x', {number})" if sqlite else f"lpad(to_hex({number}), 12, '0')"


def make_history(connection: Connection, execution_id: str, number: int) -> None:
    """`number` old executions of FINISHED_TASKS finished tasks, a minute apart, from copies of one of each."""
    event_id = str(connection.execute(f"SELECT event_id FROM {EXECUTIONS} WHERE id = '{execution_id}'").fetchone()[0])
    copy(connection, EVENTS, event_id, FINISHED_TASKS, {})
    sqlite = isinstance(connection, sqlite3.Connection)
    owner = f"'{event_id[:14]}7fff-bfff-' || {_hexadecimal(f'(n % {FINISHED_TASKS}) + 1', sqlite)}"
    back = dict.fromkeys(("scheduled_for", "start_time", "end_time", "run_at"), -60.0)
    copy(connection, EXECUTIONS, execution_id, number, back, event_id=owner)


async def seed(url: str, *, pending: int, history: int) -> None:
    """Tables with so many tasks of the far future and so many old executions, and statistics about them."""
    context = AppContext(settings(url))
    context.register_modules()
    context.get_service("core.scheduler.tasks").register("bench", no_op)
    async with context:
        service = context.get_service("core.scheduler.service")
        if pending:
            await make_future(url, service, pending)
        if history:
            await schedule_one(service, datetime.now(UTC), {})
            (execution_id,) = await service.run_due()
            with connected(url) as connection:
                make_history(connection, execution_id, history)
    with connected(url) as connection:
        connection.execute("ANALYZE")


async def no_op(parameters: dict[str, Any]) -> None:
    """The work: none."""


def main() -> None:
    parser = ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--pending", type=int, default=0)
    parser.add_argument("--history", type=int, default=0)
    arguments = parser.parse_args()
    asyncio.run(seed(arguments.url, pending=arguments.pending, history=arguments.history))


if __name__ == "__main__":
    main()

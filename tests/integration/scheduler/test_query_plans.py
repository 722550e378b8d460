"""The statements of every tick and of every look at the history use their indexes, however large the tables are."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event

from modules.core.scheduler.db_ops import ClaimRequest, LedgerWindow, TaskFilter
from modules.core.scheduler.db_ops.base import EVENTS, EXECUTIONS, MISSED_RUNS
from modules.core.scheduler.firing import Firing
from tests.integration.scheduler.conftest import work
from tests.support.app import MODULE, NOON, App, manual_clock, running_app

TASK = {"name": "work", "module_id": MODULE, "function_name": "work"}
NUMBER_OF_EVENTS = NUMBER_OF_EXECUTIONS = 100_000

# The columns that differ from those of the first row, which every other row copies; {i} counts from 1.
ROW_ID = "'0199c0de-0000-7000-8000-' || CAST(100000000000 + {i} AS TEXT)"
EVENT: dict[str, str] = {
    "id": ROW_ID,
    "name": "'task ' || CAST({i} AS TEXT)",
    # Most are pending and due some time in the next twelve hours; some are paused, completed, or under way.
    "status": "CASE WHEN {i} % 10 = 0 THEN 'paused' WHEN {i} % 10 = 1 THEN 'completed' ELSE 'pending' END",
    "next_execution": "CASE WHEN {i} % 10 = 1 THEN NULL ELSE {later} END",
    "active_execution_id": "CASE WHEN {i} % 50 = 2 THEN " + ROW_ID + " END",
}
EXECUTION: dict[str, str] = {
    "id": ROW_ID,
    "event_id": "'0199c0de-0000-7000-8000-' || CAST(100000000001 + {i} % 100 AS TEXT)",
    "scheduled_for": "{later}",
    "kind": "'manual'",
    # One in a hundred waits, one in two hundred runs, the others are history.
    "state": "CASE WHEN {i} % 100 = 0 THEN 'ready' WHEN {i} % 200 = 1 THEN 'running' ELSE 'succeeded' END",
    "run_at": "{later}",
    "lease_expires_at": "CASE {i} % 200 WHEN 1 THEN {later} END",
    "node_id": "CASE {i} % 200 WHEN 1 THEN 'a node' END",
    "success": "CASE WHEN {i} % 100 > 0 AND {i} % 200 <> 1 THEN {true} END",
    "end_time": "CASE WHEN {i} % 100 > 0 AND {i} % 200 <> 1 THEN {later} END",
}
MISSED: dict[str, str] = {
    "id": ROW_ID,
    "event_id": EXECUTION["event_id"],
    "from_time": "{later}",
    "until_time": "{later}",
}
LATER = {
    "sqlite": "strftime('%Y-%m-%d %H:%M:%S', :noon, '+' || (60 + {i} * 2) || ' seconds') || '.000000'",
    "postgresql": "CAST(:noon AS timestamptz) + (60 + {i} * 2) * interval '1 second'",
}


async def _fill(app: App) -> None:
    """Three large tables, made by the database itself out of one row each."""
    await app.schedule(interval="1 hour")
    app.clock.advance(hours=3)
    await app.run_due()
    app.clock.set(NOON)
    dialect = app.context.database.dialect_name
    words = {"later": LATER[dialect].replace("{i}", "i"), "true": "1" if dialect == "sqlite" else "true", "i": "i"}
    noon = {"noon": NOON.strftime("%Y-%m-%d %H:%M:%S" + ("" if dialect == "sqlite" else "+00"))}
    for table, special, number in (
        (EVENTS, EVENT, NUMBER_OF_EVENTS),
        (EXECUTIONS, EXECUTION, NUMBER_OF_EXECUTIONS),
        (MISSED_RUNS, MISSED, NUMBER_OF_EXECUTIONS),
    ):
        columns = [column.name for column in table.columns]
        values = [special[name].format(**words) if name in special else f'"first"."{name}"' for name in columns]
        await app.sql(
            f"WITH RECURSIVE counter(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM counter WHERE i < {number}) "
            f"INSERT INTO {table.name} ({', '.join(map(_quoted, columns))}) "
            f'SELECT {", ".join(values)} FROM counter, (SELECT * FROM {table.name} LIMIT 1) AS "first"',
            **noon,
        )
    if dialect == "postgresql":  # as its autovacuum does; SQLite works without
        await app.sql("ANALYZE")


def _quoted(name: str) -> str:
    return f'"{name}"'


# Words that tell the scheduler's queries apart.
READY = ("scheduler_executions.kind, ", "scheduler_executions.run_at <=")
DUE = ("scheduler_events.fired_count, ", "scheduler_events.next_execution <=")
LOOK = ("WITH RECURSIVE",)
LOST = ("SELECT scheduler_executions.id", "scheduler_executions.lease_expires_at <")


UNIQUE = {  # event_id, scheduled_for, kind, attempt
    "sqlite": "sqlite_autoindex_scheduler_executions_2",
    "postgresql": "uq_scheduler_executions_event_id_scheduled_for_kind_attempt",
}


def _id(number: int) -> str:
    return f"0199c0de-0000-7000-8000-{100_000_000_000 + number}"


@contextmanager
def _sent(app: App) -> Iterator[list[tuple[str, Any]]]:
    """The statements that the block sends, with their parameters."""
    engines = app.context.database.engines
    sent: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_rest: Any) -> None:
        sent.append((statement, parameters))

    for engine in engines:
        event.listen(engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        for engine in engines:
            event.remove(engine, "before_cursor_execute", note)


async def _plan_of(app: App, sent: list[tuple[str, Any]], *words: str) -> str:
    """What the database means to do about the one query that was sent and has all these words."""
    found = [one for one in sent if one[0].startswith(("SELECT", "WITH")) and all(word in one[0] for word in words)]
    assert len(found) == 1, f"{len(found)} of {sent} have {words}"
    [(statement, parameters)] = found
    explain = "EXPLAIN QUERY PLAN" if app.context.database.dialect_name == "sqlite" else "EXPLAIN"
    return await _explained(app, f"{explain} {statement}", parameters)


async def _explained(app: App, statement: str, parameters: Any) -> str:
    async with app.context.database.transaction() as connection:
        rows = await connection.exec_driver_sql(statement, parameters)
        return "\n".join(str(row[-1]) for row in rows)


def _check(plan: str, *indexes: str) -> None:
    """These indexes are used; no table is read from end to end, and nothing is sorted."""
    for index in indexes:
        assert index in plan, f"{index} is not used:\n{plan}"
    # SQLite says "SCAN scheduler_events" and "USE TEMP B-TREE", PostgreSQL "Seq Scan on scheduler_events" and "Sort".
    assert not re.search(r"SCAN scheduler_\w+$|Seq Scan", plan, re.MULTILINE), f"a whole table is read:\n{plan}"
    assert not re.search(r"TEMP B-TREE|\bSort\b", plan), f"rows are sorted:\n{plan}"


def _request(app: App, decide: Any, limit: int) -> ClaimRequest:
    return ClaimRequest(
        now=app.clock.now(),
        clock=app.clock,
        lease=timedelta(seconds=30),
        limit=limit,
        node_id="a node",
        session_id="a session",
        functions=[(MODULE, "work"), *((f"module {number}", "another") for number in range(5))],
        excluded_events={"0199c0de-0000-7000-8000-000000000000"},
        decide=decide,
    )


@pytest.fixture
async def full(database_url: str) -> AsyncIterator[App]:
    async with running_app(database_url, work, clock=manual_clock()) as app:
        await _fill(app)
        yield app


async def test_looking_for_work_where_there_is_none_costs_nothing(full: App) -> None:
    """Every node does it at every wake-up. What people look at is read by an index too."""
    db_ops = full.runtime.db_ops
    with _sent(full) as sent:
        result = await db_ops.fire_and_claim(_request(full, full.service.trigger_manager.decide_firing, 10))
    assert result.claims == []
    assert result.look is not None
    assert result.look.next_due == NOON + timedelta(seconds=66), "the first pending event is the third"
    statements = [statement for statement, _ in sent if not statement.startswith("BEGIN")]
    assert len(statements) == 1, "it looks once, and that is all"
    with _sent(full) as sent:
        lost, look = await db_ops.recover("a node", (), full.service.job_manager.settler, NOON, NOON)
    assert (lost, look.next_lease) == ([], NOON + timedelta(seconds=62))
    _check(await _plan_of(full, sent, *LOST), "ix_scheduler_executions_running")
    await _check_what_is_shown(full)
    await _check_what_a_start_counts(full)


async def test_the_next_moment_is_found_without_reading_the_tables(full: App) -> None:
    """A thousand attempts wait for their time: asking for the first must not read the events of all tasks."""
    with _sent(full) as sent:
        await full.runtime.db_ops.fire_and_claim(_request(full, full.service.trigger_manager.decide_firing, 10))
    plan = await _plan_of(full, sent, *LOOK)
    _check(plan, "ix_scheduler_events_due", "ix_scheduler_executions_ready", "ix_scheduler_executions_running")


async def test_a_backlog_is_taken_on_from_its_beginning(full: App) -> None:
    """As after an outage, when everything is due: no more is read than is taken."""
    db_ops = full.runtime.db_ops
    full.clock.advance(days=2)

    def not_today(task: Any, _now: Any) -> Firing:
        return Firing(None, task.next_execution + timedelta(days=30))

    kinds: set[str] = set()
    for limit in (10, 700, 2000):
        with _sent(full) as sent:
            kinds |= {claim.kind for claim in (await db_ops.fire_and_claim(_request(full, not_today, limit))).claims}
        _check(await _plan_of(full, sent, *DUE), "ix_scheduler_events_due")
        if any(READY[0] in statement for statement, _ in sent):
            _check(await _plan_of(full, sent, *READY), "ix_scheduler_executions_ready")
    assert kinds == {"manual"}
    with _sent(full) as sent:
        lost, _ = await db_ops.recover(
            "another node", (), full.service.job_manager.settler, full.clock.now(), full.clock.now()
        )
    assert len(lost) == 100
    _check(await _plan_of(full, sent, *LOST), "ix_scheduler_executions_running")


async def _check_what_a_start_counts(full: App) -> None:
    """After a downtime: the first of what is due, however much of it there is."""
    with _sent(full) as sent:
        assert len(await full.runtime.db_ops.overdue(NOON + timedelta(days=2), 7)) == 7
        assert await full.runtime.db_ops.overdue(NOON, 7) == []
    events = [one for one in sent if "scheduler_events.priority =" in one[0]]
    assert len(events) == 2
    _check(await _plan_of(full, events[:1], "scheduler_events.priority ="), "ix_scheduler_events_due")
    _check(await _plan_of(full, events[1:], "scheduler_events.priority ="), "ix_scheduler_events_due")
    _check(await _plan_of(full, sent[-1:], "scheduler_events.priority <"), "ix_scheduler_events_due")


async def _check_what_is_shown(full: App) -> None:
    db_ops = full.runtime.db_ops
    with _sent(full) as sent:
        assert await db_ops.count_open() == {"ready": 1000, "running": 500}
    counts = [one for one in sent if one[0].startswith("SELECT")]
    # Two indexes hold what is ready; either will do.
    for query, index in zip(counts, ("", "running"), strict=True):
        _check(await _plan_of(full, [query], "count("), f"ix_scheduler_executions_{index}")
    [newest, *others] = ids = [_id(99_906 - 100 * number) for number in range(52)]
    task_id = _id(7)
    for before in (None, newest):
        with _sent(full) as sent:
            rows = await db_ops.list_executions(task_id, before, 51)
        assert [row.id for row in rows] == (others if before else ids[:51])
        _check(await _plan_of(full, sent, "ORDER BY scheduler_executions.id DESC"), "ix_scheduler_executions_event_id")
    for listed in (db_ops.list_executions(None, newest, 51), db_ops.list_tasks(TaskFilter(), _id(7), 51)):
        with _sent(full) as sent:
            assert len(await listed) == 51
        _check(await _plan_of(full, sent, "ORDER BY"))


async def test_a_page_of_a_ledger_reads_that_page(full: App) -> None:
    """Whichever way it is turned, however long the history is: by index, in order, up to the end of the page."""
    low, high = NOON + timedelta(hours=10), NOON + timedelta(hours=40)
    unique = UNIQUE[full.context.database.dialect_name]
    for newest_first in (True, False):
        for window in (LedgerWindow(low, high, newest_first, 50), LedgerWindow(None, None, newest_first, 50)):
            with _sent(full) as sent:
                rows = await full.runtime.db_ops.ledger(_id(7), window)
            assert (len(rows.attempts), len(rows.missed)) == (50, 50)
            _check(await _plan_of(full, sent, "GROUP BY"), unique)
            plan = await _plan_of(full, sent, "scheduler_executions.error_type", "ORDER BY")
            assert unique in plan, "the page's own rows, which may be sorted once more"
            _check(await _plan_of(full, sent, "scheduler_missed_runs.reason"), "ix_scheduler_missed_runs_event_id")
            if window.low:
                [before] = [one for one in sent if one[0].startswith("SELECT scheduler_missed_runs.from_time")]
                _check(await _plan_of(full, [before], "until_time"), "ix_scheduler_missed_runs_event_id")


async def test_a_batch_is_written_without_reading_the_tables(sqlite_url: str) -> None:
    """Also where SQLite's statistics are of a time when the tables were small."""
    async with running_app(sqlite_url, work, clock=manual_clock(), max_concurrent_tasks=500) as app:
        await app.service.schedule_tasks([{**TASK, "schedule_time": NOON}] * 500)
        await app.sql("ANALYZE")
        with _sent(app) as sent:
            assert len(await app.service.run_due()) == 500
        await app.sql("ANALYZE")
        await app.sql("UPDATE sqlite_stat1 SET stat = '10 1 1' WHERE tbl LIKE 'scheduler_e%'")
        await app.sql("ANALYZE sqlite_schema")  # read them again
        large = [one for one in sent if one[0].startswith("UPDATE") and one[0].count("), (") > 90]
        tables = set()
        for statement, parameters in large:
            plan = await _explained(app, f"EXPLAIN QUERY PLAN {statement}", parameters)
            assert "BLOOM" not in plan, plan
            tables |= set(re.findall(r"SEARCH (scheduler_\w+) USING INDEX", plan))
        assert tables == {"scheduler_events", "scheduler_executions"}

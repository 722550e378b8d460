"""A server killed with -9 during work and started again: nothing lost, nothing recorded twice."""

from __future__ import annotations

import itertools
import json
import sqlite3
import textwrap
from collections import Counter
from pathlib import Path

from tests.support.server import patience, serving

MODULE = '''
"""Tasks that say on disk what they did."""
import asyncio, json
from pathlib import Path

class LedgerModule:
    MODULE_ID = "test.ledger"
    DEPENDS_ON = ("core.scheduler",)

    def register(self, context):
        context.get_service("core.scheduler.tasks").register(self.MODULE_ID, note)

async def note(parameters, context):
    def write(what):
        with Path("ledger.jsonl").open("a") as file:
            file.write(json.dumps({"what": what, "task": context.task_id, "execution": context.execution_id,
                                   "fence": context.fence, "attempt": context.attempt}) + "\\n")
    write("start")
    await asyncio.sleep(parameters["seconds"])
    write("end")
    return {"number": parameters["number"]}
'''
NUMBER = 40


def test_nothing_is_lost_and_nothing_recorded_twice(tmp_path: Path) -> None:
    package = tmp_path / "ledger_example"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "module.py").write_text(textwrap.dedent(MODULE))
    env = {"APP_MODULES": "ledger_example", "CORE_SCHEDULER_LEASE_SECONDS": "1", "PYTHONPATH": _path_with(tmp_path)}
    acknowledged: list[str] = []
    with serving(tmp_path, env=env) as server:
        for number in range(NUMBER):
            body = {
                "name": f"note {number}",
                "module_id": "test.ledger",
                "function_name": "note",
                "parameters": {"number": number, "seconds": 0.2},
                "schedule_time": "2026-01-01T00:00:00Z",
                "allow_past": True,
            }
            answer = server.client.post("/tasks", json=body)
            assert answer.status_code == 201, answer.text
            acknowledged.append(answer.json()["task_id"])
        for _ in patience():
            if len(_ledger(tmp_path)) > 5:
                break
        server.kill()
    started = {line["task"] for line in _ledger(tmp_path) if line["what"] == "start"}
    assert started, "it was killed before any work"
    with serving(tmp_path, env=env) as server:
        for _ in patience():
            if server.get("/status")["tasks"].get("completed", 0) == NUMBER:
                break
        assert server.stop() == 0
    _check_books(tmp_path, acknowledged)


def _check_books(folder: Path, acknowledged: list[str]) -> None:
    database = sqlite3.connect(folder / "data" / "scheduler.sqlite3")
    database.row_factory = sqlite3.Row
    executions = database.execute("SELECT * FROM scheduler_executions ORDER BY event_id, attempt").fetchall()
    database.close()
    successes = Counter(row["event_id"] for row in executions if row["state"] == "succeeded")
    assert set(successes) == set(acknowledged)
    assert set(successes.values()) == {1}, "an occurrence has two recorded successes"
    by_event: dict[str, list[sqlite3.Row]] = {}
    for row in executions:
        by_event.setdefault(row["event_id"], []).append(row)
    for rows in by_event.values():
        assert [row["attempt"] for row in rows] == list(range(1, len(rows) + 1))
        assert [row["fence"] for row in rows] == sorted({row["fence"] for row in rows})
        assert {row["state"] for row in rows[:-1]} <= {"abandoned"}
        for before, after in itertools.pairwise(rows):
            assert before["end_time"] <= after["start_time"], "two attempts of one task overlap"
    on_record = {row["id"] for row in executions}
    for line in _ledger(folder):
        assert line["execution"] in on_record, "a function started without a row in the history"


def _ledger(folder: Path) -> list[dict[str, object]]:
    path = folder / "ledger.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _path_with(folder: Path) -> str:
    from tests.conftest import ROOT

    return f"{ROOT}:{folder}"

"""A server killed with -9 and started again hours later: it says what it missed, and does what it says."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.support import ledger
from tests.support.server import patience, serving

DOWN = timedelta(hours=2, minutes=14)
SAID = re.compile(r"down 2 h 1[4-6] min: 32 fire times of 3 tasks; 2 will run, 30 recorded as missed")
TIMES = {
    "scheduler_nodes": ("started_at", "heartbeat_at"),
    "scheduler_events": ("anchor_time", "next_execution", "created_at", "updated_at"),
}


def test_a_killed_server_tells_what_it_missed_and_catches_up(tmp_path: Path) -> None:
    env = ledger.install(tmp_path)
    first = datetime.now(UTC).replace(microsecond=0) + timedelta(minutes=1)
    with serving(tmp_path, env=env) as server:
        assert server.get("/status")["downtime"] is None
        latest, none, once = (
            server.client.post("/tasks", json=ledger.task(allow_past=None, schedule_time=first.isoformat(), **fields))
            .raise_for_status()
            .json()["task_id"]
            for fields in ({"interval": "10 minutes"}, {"interval": "8 minutes", "catch_up": "none"}, {})
        )
        server.kill()
    _let_time_pass(tmp_path)
    with serving(tmp_path, env=env) as server:
        downtime = server.get("/status")["downtime"]
        assert SAID.fullmatch(downtime["summary"])
        assert SAID.search(server.output())
        assert (downtime["tasks"], downtime["fire_times"], downtime["to_run"], downtime["missed"]) == (3, 32, 2, 30)
        assert DOWN.total_seconds() <= downtime["seconds"] < DOWN.total_seconds() + 180
        for _ in patience():
            fired = {task_id: _executions(server, task_id) for task_id in (latest, once)}
            if all(fired.values()):
                break
        [of_latest], [of_once] = fired[latest], fired[once]
        assert of_latest["scheduled_for"] == _shown(first - DOWN + timedelta(minutes=130))
        assert of_once["scheduled_for"] == _shown(first - DOWN)
        for execution in (of_latest, of_once):  # spread over a minute; what they do then other tests see
            assert execution["start_time"] <= _shown(datetime.now(UTC) + timedelta(minutes=1))
        assert _executions(server, none) == []
        assert _missed(tmp_path) == {
            (latest, "coalesced", "catch_up=latest", 13),
            (none, "late", "catch_up=none", 17),
        }
        assert server.stop() == 0
    with serving(tmp_path, env=env) as server:
        assert server.get("/status")["downtime"] == downtime, "a quick restart is no downtime"


def _let_time_pass(folder: Path) -> None:
    """As if all that is on record had been written that much earlier."""
    with closing(sqlite3.connect(folder / "data" / "scheduler.sqlite3")) as database:
        for table, columns in TIMES.items():
            for row_id, *moments in database.execute(f"SELECT id, {', '.join(columns)} FROM {table}").fetchall():
                for column, moment in zip(columns, moments, strict=True):
                    earlier = (datetime.fromisoformat(moment) - DOWN).strftime("%Y-%m-%d %H:%M:%S.%f")
                    database.execute(f"UPDATE {table} SET {column} = ? WHERE id = ?", (earlier, row_id))
        database.commit()


def _executions(server: Any, task_id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = server.get(f"/tasks/{task_id}/executions")["executions"]
    return found


def _missed(folder: Path) -> set[tuple[str, str, str, int]]:
    with closing(sqlite3.connect(folder / "data" / "scheduler.sqlite3")) as database:
        return set(database.execute("SELECT event_id, reason, detail, count FROM scheduler_missed_runs"))


def _shown(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")

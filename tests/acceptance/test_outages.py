"""The database goes away while tasks run and are scheduled: nothing is lost or recorded twice, and all goes on."""

from __future__ import annotations

import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from tests.support import ledger, postgres
from tests.support.disks import small_disk
from tests.support.server import Server, patience, serving

SETTINGS = {"CORE_SCHEDULER_LEASE_SECONDS": "3", "CORE_SCHEDULER_MAX_CONCURRENT_TASKS": "20"}


class Load:
    """Schedules a short task again and again; `stored` were answered with 201, `refused` holds the other answers."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._stop = threading.Event()
        self.stored: list[str] = []
        self.refused: list[httpx.Response] = []

    def stop(self) -> None:
        self._stop.set()

    def run(self) -> None:
        while not self._stop.is_set():
            answer = self._server.client.post("/tasks", json=ledger.task(seconds=0.1))
            if answer.status_code == 201:
                self.stored.append(answer.json()["task_id"])
            else:
                self.refused.append(answer)
            self._stop.wait(0.01)


@contextmanager
def under_load(server: Server) -> Iterator[Load]:
    load = Load(server)
    thread = threading.Thread(target=load.run)
    thread.start()
    try:
        yield load
    finally:
        load.stop()
        thread.join(40)
    assert not thread.is_alive(), "a request was never answered"


def until(condition: Callable[[], Any], seconds: float = 40) -> None:
    for _ in patience(seconds):
        if condition():
            return


def health(server: Server) -> str:
    answer = server.client.get("/health")
    assert answer.status_code == (503 if answer.json()["status"] == "down" else 200)
    status: str = answer.json()["status"]
    return status


def check_refusals(load: Load) -> None:
    for answer in load.refused:
        assert (answer.status_code, answer.json()["code"]) == (503, "DATABASE_UNAVAILABLE"), answer.text
        assert "try again" in answer.json()["message"]
        assert "Traceback" not in answer.text


def check_books(states: list[tuple[str, str]], load: Load, folder: Path) -> None:
    """`states` are the event id and state of every execution."""
    successes = Counter(event_id for event_id, state in states if state == "succeeded")
    missing = set(load.stored) - set(successes)
    assert not missing, f"{len(missing)} of {len(load.stored)} stored tasks never succeeded"
    assert set(successes.values()) == {1}, "an occurrence has two recorded successes"
    assert {state for _, state in states} <= {"succeeded", "abandoned", "interrupted"}
    assert len(ledger.lines(folder, "end")) >= len(successes)


def executions(url: str) -> list[tuple[str, str]]:
    with psycopg.connect(url) as connection:
        found = connection.execute("SELECT event_id::text, state FROM scheduler_executions").fetchall()
    return [(event_id, state) for event_id, state in found]


def open_executions(url: str) -> int:
    """Events that are due or under way."""
    with psycopg.connect(url) as connection:
        [(count,)] = connection.execute("SELECT count(*) FROM scheduler_events WHERE status = 'pending'").fetchall()
    assert isinstance(count, int)
    return count


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
def test_postgresql_crashes_and_comes_back(tmp_path: Path, driver: str) -> None:
    env = {**ledger.install(tmp_path), **SETTINGS}
    with postgres.own_server() as own:
        plain = f"{own.url}/{postgres.create_database(own.url)}"
        url = plain.replace("postgresql://", f"postgresql+{driver}://")
        with serving(tmp_path, "--database-url", url, env=env) as server, under_load(server) as load:
            for _ in range(2):
                ended, refused = len(ledger.lines(tmp_path, "end")), len(load.refused)
                until(lambda ended=ended: len(ledger.lines(tmp_path, "end")) > ended + 20)
                own.crash()
                until(lambda: health(server) == "down")
                until(lambda refused=refused: len(load.refused) > refused + 3)
                status = server.get("/status")
                assert status["status"] == "down"
                assert "The database cannot be reached" in str(status["reasons"])
                own.start()
                stored = len(load.stored)
                until(lambda stored=stored: len(load.stored) > stored + 5, 10)
            until(lambda: health(server) == "ok")
            load.stop()
            until(lambda: open_executions(plain) == 0)
            check_refusals(load)
            check_books(executions(plain), load, tmp_path)
            assert server.stop() == 0


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
def test_connections_are_killed_again_and_again(tmp_path: Path, postgres_url: str, driver: str) -> None:
    env = {**ledger.install(tmp_path), **SETTINGS}
    plain = postgres_url.replace("+psycopg", "")
    url = postgres_url.replace("+psycopg", f"+{driver}")
    kill = (
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    with serving(tmp_path, "--database-url", url, env=env) as server, under_load(server) as load:
        with psycopg.connect(plain, autocommit=True) as killer:
            killed = 0
            until(lambda: len(ledger.lines(tmp_path, "end")) > 20)
            for _ in range(25):
                ended = len(ledger.lines(tmp_path, "end"))
                killed += killer.execute(kill).fetchall()[0][0]
                # Work goes on between any two blows.
                until(lambda ended=ended: len(ledger.lines(tmp_path, "end")) > ended, 10)
        assert killed >= 25
        until(lambda: health(server) == "ok")
        load.stop()
        until(lambda: open_executions(plain) == 0)
        check_refusals(load)
        check_books(executions(plain), load, tmp_path)
        assert server.stop() == 0


def test_a_full_disk_under_load(tmp_path: Path) -> None:
    env = {**ledger.install(tmp_path), **SETTINGS}
    with small_disk("8m") as disk:
        file = disk.folder / "x.sqlite3"
        with serving(tmp_path, "--database-url", f"sqlite:///{file}", env=env) as server, under_load(server) as load:
            until(lambda: len(ledger.lines(tmp_path, "end")) > 20)
            disk.fill()
            until(lambda: len(load.refused) > 3)
            until(lambda: health(server) == "degraded")
            assert "free some space" in str(server.get("/status")["reasons"])
            assert server.get("/tasks")["tasks"], "what is stored can be read all the same"
            disk.make_space()
            stored = len(load.stored)
            until(lambda: len(load.stored) > stored + 5, 10)
            until(lambda: health(server) == "ok")
            load.stop()
            until(lambda: server.get("/status")["tasks"].keys() == {"completed"})
            check_refusals(load)
            assert all("free some space" in answer.json()["message"] for answer in load.refused)
            assert server.stop() == 0
        with closing(sqlite3.connect(file)) as database:
            assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            check_books(database.execute("SELECT event_id, state FROM scheduler_executions").fetchall(), load, tmp_path)

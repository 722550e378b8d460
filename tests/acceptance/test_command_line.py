"""The `scheduler` command as people and scripts use it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.test_rest_specification import DAILY
from tests.support.server import patience, serving


def scheduler(folder: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "modules.cli", *arguments]
    environment = {**os.environ, "COLUMNS": "300", **env}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False)


def answer(folder: Path, *arguments: str) -> Any:
    done = scheduler(folder, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_session_at_the_terminal(tmp_path: Path) -> None:
    assert scheduler(tmp_path, "tasks", "list").returncode == 5, "no database yet"
    assert not (tmp_path / "data").exists(), "looking must not make one"
    assert answer(tmp_path, "db", "upgrade")["revision"]
    assert answer(tmp_path, "db", "check")["up_to_date"] is True
    with serving(tmp_path, env={"CORE_SCHEDULER_POLL_CEILING_SECONDS": "0.2"}) as server:
        task_id = server.client.post("/tasks", json=DAILY).json()["task_id"]
        [task] = [task for task in answer(tmp_path, "tasks", "list")["tasks"] if task["id"] == task_id]
        assert (task["name"], task["next_execution"]) == ("Daily Cleanup", "2030-07-17T02:00:00Z")
        assert answer(tmp_path, "tasks", "show", task_id)["parameters"] == {"days_to_keep": 30}
        assert "Daily Cleanup" in scheduler(tmp_path, "tasks", "list").stdout
        assert answer(tmp_path, "tasks", "pause", task_id, "--reason", "audit")["status"] == "paused"
        assert answer(tmp_path, "tasks", "list", "--status", "paused")["tasks"][0]["pause_reason"] == "audit"
        assert answer(tmp_path, "tasks", "resume", task_id)["status"] == "resumed"
        tried = answer(tmp_path, "tasks", "edit", task_id, '{"interval": "12 hours"}', "--dry-run")
        assert {"field": "interval_value", "old": 1, "new": 12} in tried["changes"]
        assert answer(tmp_path, "events", "publish", "nobody.listens", "--payload", '{"a": 1}')["started"] == 0
        execution_id = answer(tmp_path, "tasks", "run", task_id)["execution_id"]
        for _ in patience():
            if server.get(f"/executions/{execution_id}")["success"] is not None:
                break
        [row] = answer(tmp_path, "executions", "--task", task_id)["executions"]
        assert (row["id"], row["success"]) == (execution_id, True)
        assert answer(tmp_path, "tasks", "cancel", task_id)["status"] == "cancelled"
        assert server.stop() == 0
    findings = answer(tmp_path, "check")
    assert findings["errors"] == 0
    assert "API key" in str(findings["findings"])


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["tasks", "show", "nonsense"], 3, "TASK_NOT_FOUND"),
        (["tasks", "list", "--cursor", "x"], 2, "INVALID_CURSOR"),
        (["preview", "--cron", "61 * * * *"], 2, "minute"),
        (["preview"], 2, "schedule_time"),
        (["preview", "--interval", "often"], 2, "interval"),
        (["keys", "create", "x", "--scope", "root"], 2, "admin"),
        (["keys", "revoke", "x"], 3, "KEY_NOT_FOUND"),
        (["cleanup", "run", "nothing"], 3, "CLEANUP_NOT_FOUND"),
        (["tasks", "list", "--database-url", "mysql://x/y"], 5, "sqlite"),
        (["tasks", "list", "--database-url", "postgresql://nobody@127.0.0.1:1/x"], 5, "APP_DATABASE_URL"),
        (["nonsense"], 2, "No such command"),
    ],
)
def test_mistakes_have_exit_codes_and_words(tmp_path: Path, arguments: list[str], code: int, words: str) -> None:
    assert scheduler(tmp_path, "db", "upgrade").returncode == 0
    done = scheduler(tmp_path, *arguments)
    assert done.returncode == code, done.stdout + done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_wrong_settings_name_the_variable(tmp_path: Path) -> None:
    for name, value in (
        ("CORE_SCHEDULER_MAX_CONCURRENT_TASKS", "many"),
        ("CORE_SCHEDULER_LEASE_SECOND", "5"),
        ("CORE_SCHEDULER_TIMEZONE", "Mars"),
        ("APP_PORT", "x"),
    ):
        done = scheduler(tmp_path, "serve", **{name: value})
        assert done.returncode == 5
        assert name in done.stderr
        assert "Traceback" not in done.stderr


def test_a_preview_needs_no_database(tmp_path: Path) -> None:
    shown = answer(tmp_path, "preview", "--cron", "0 2 * * mon", "--timezone", "Europe/Berlin", "--count", "3")
    assert len(shown["fire_times"]) == 3
    assert "T02:00:00" in shown["fire_times"][0]["local_time"]
    assert "02:00" in scheduler(tmp_path, "preview", "--cron", "0 2 * * mon").stdout
    assert not (tmp_path / "data").exists()


def test_keys_are_made_listed_and_revoked(tmp_path: Path) -> None:
    scheduler(tmp_path, "db", "upgrade")
    made = answer(tmp_path, "keys", "create", "ci", "--scope", "operate")
    assert made["key"].startswith("sk_")
    [listed] = answer(tmp_path, "keys", "list")["keys"]
    assert (listed["name"], listed["scope"], listed["revoked_at"]) == ("ci", "operate", None)
    answer(tmp_path, "keys", "revoke", made["id"])
    assert answer(tmp_path, "keys", "list")["keys"][0]["revoked_at"] is not None


def test_check_finds_what_is_wrong(tmp_path: Path) -> None:
    with serving(tmp_path, "--examples", env={"STANDARD_FILE_UPLOAD_DIRECTORY": str(tmp_path / "up")}) as server:
        assert server.stop() == 0
    done = scheduler(tmp_path, "check", "--json")
    assert done.returncode == 1
    problems = " ".join(finding["problem"] for finding in json.loads(done.stdout)["findings"])
    assert "standard.data_export.export_users_to_csv" in problems
    uploads = str(tmp_path / "up")
    assert scheduler(tmp_path, "check", "--examples", STANDARD_FILE_UPLOAD_DIRECTORY=uploads).returncode == 0


def test_a_server_without_keys_makes_one_and_shows_it_once(tmp_path: Path) -> None:
    for first in (True, False):
        with serving(tmp_path, key=None) as server:
            shown = [line.split()[-1] for line in server.output().splitlines() if "Admin key" in line]
            assert len(shown) == first
            if first:
                key = shown[0]
            answered = server.client.get("/tasks", headers={"Authorization": f"Bearer {key}"})
            assert answered.status_code == 200
            assert server.stop() == 0
    for file in (tmp_path / "data").iterdir():
        assert key.encode() not in file.read_bytes(), "the key itself must not be stored"


def test_no_auth_is_for_this_machine_only(tmp_path: Path) -> None:
    done = scheduler(tmp_path, "serve", "--no-auth", "--host", "0.0.0.0")
    assert done.returncode == 5
    assert "127.0.0.1" in done.stderr


def test_a_taken_port_is_a_clear_error(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        port = server.address.rpartition(":")[2]
        done = scheduler(tmp_path, "serve", "--port", port)
        assert done.returncode == 5
        assert "--port" in done.stderr


def test_a_second_signal_cuts_the_drain_short(tmp_path: Path) -> None:
    package = tmp_path / "sleepy"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "module.py").write_text(
        "import asyncio\n"
        "MODULE_ID = 'sleepy'\nDEPENDS_ON = ['core.scheduler']\n"
        "async def sleep(parameters):\n    await asyncio.sleep(3600)\n"
        "def register(context):\n    context.get_service('core.scheduler.tasks').register(MODULE_ID, sleep)\n"
    )
    env = {
        "APP_MODULES": "sleepy",
        "CORE_SCHEDULER_DRAIN_TIMEOUT_SECONDS": "3600",
        "PYTHONPATH": f"{os.environ['PYTHONPATH']}:{tmp_path}",
    }
    with serving(tmp_path, env=env) as server:
        body = {**DAILY, "module_id": "sleepy", "function_name": "sleep", "parameters": {}}
        task_id = server.client.post("/tasks", json=body).json()["task_id"]
        execution_id = server.client.post(f"/tasks/{task_id}/execute").json()["execution_id"]
        for _ in patience():
            if server.get(f"/executions/{execution_id}")["state"] == "running":
                break
        server.client.close()
        server.process.send_signal(signal.SIGTERM)
        for _ in patience():
            if "waiting up to 3600 s for 1 running tasks" in server.output():
                break
        # Only the second signal ends the wait: the task is still running, in the database too.
        assert server.process.poll() is None
        assert [row["state"] for row in answer(tmp_path, "executions", "--task", task_id)["executions"]] == ["running"]
        assert server.process.poll() is None
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(30) == 0
    rows = answer(tmp_path, "executions", "--task", task_id)["executions"]
    assert [row["state"] for row in rows] == ["ready", "interrupted"]

"""What `make run` starts: within seconds tasks run, a CSV is on disk, and history fills."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import func, select

from modules.cli.local import EXAMPLES
from modules.core.app_context import AppContext
from modules.core.settings import AppSettings
from modules.standard.data_export.models import User
from tests.acceptance.test_rest_specification import EXPORT
from tests.support.server import patience, serving


def test_the_examples_do_real_work(tmp_path: Path) -> None:
    env = {"STANDARD_FILE_UPLOAD_DIRECTORY": str(tmp_path / "uploads")}
    with serving(tmp_path, "--examples", env=env) as server:
        for _ in patience():
            exports = list((tmp_path / "data" / "exports").glob("users-*.csv"))
            executions = server.get("/executions")["executions"]
            if exports and {row["state"] for row in executions} == {"succeeded"} and len(executions) >= 2:
                break
        lines = exports[0].read_text().splitlines()
        assert lines[0] == "id,name,email,created_at,deleted_at"
        assert len(lines) == 5, "the deleted user must not be exported"

        task_id = server.client.post("/tasks", json=EXPORT).json()["task_id"]
        execution_id = server.client.post(f"/tasks/{task_id}/execute").json()["execution_id"]
        for _ in patience():
            execution = server.get(f"/executions/{execution_id}")
            if execution["success"] is not None:
                break
        assert execution["success"] is True
        assert execution["result"]["record_count"] == 4
        assert Path(tmp_path / execution["result"]["file_path"]).exists()

        cleanups = {row["cleanup_type"]: row for row in server.get("/cleanup")["cleanups"]}
        assert set(cleanups) == {"execution_history", "expired_sessions", "old_exports", "temp_files"}
        report = server.client.post("/cleanup/run", json={"dry_run": True}).json()
        assert (report["failed"], len(report["reports"])) == (0, 4)
        assert server.stop() == 0
    with serving(tmp_path, "--examples", env=env) as server:
        again = server.get("/tasks", limit=200)["tasks"]
        assert len([task for task in again if task["unique_key"]]) == len(
            {task["unique_key"] for task in again if task["unique_key"]}
        ), "a second start must not schedule everything again"


def test_examples_do_not_load_by_themselves(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        modules = {item["module_id"] for item in server.get("/task-types")["task_types"]}
        assert modules == {"core.scheduler"}


async def test_several_nodes_may_start_with_the_examples_at_once(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STANDARD_FILE_UPLOAD_DIRECTORY", str(tmp_path / "uploads"))
    settings = AppSettings.load(
        database_url=database_url,
        data_dir=tmp_path,
        modules=EXAMPLES,
        module_settings={"core.scheduler": {"enabled": False}},
    )
    nodes = [AppContext(settings) for _ in range(4)]
    await asyncio.gather(*(node.start() for node in nodes))
    try:
        async with nodes[0].database.read() as connection:
            assert (await connection.execute(select(func.count()).select_from(User))).scalar_one() == 5
        scheduler = nodes[0].get_service("core.scheduler.service")
        assert len((await scheduler.list_tasks()).unwrap()["tasks"]) == 9
    finally:
        await asyncio.gather(*(node.stop() for node in nodes))

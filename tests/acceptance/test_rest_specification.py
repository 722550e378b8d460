"""Every REST call that the specification shows, with its exact answer."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import httpx

UTC_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z")
EXPORT = {
    "name": "Data Export",
    "module_id": "standard.data_export",
    "function_name": "export_users",
    "parameters": {"format": "csv"},
    "schedule_time": "2030-07-17T10:00:00Z",
    "recurring": False,
}
DAILY = {
    "name": "Daily Cleanup",
    "description": "Clean up old log files",
    "module_id": "core.scheduler",
    "function_name": "cleanup_old_logs",
    "parameters": {"days_to_keep": 30},
    "recurring": True,
    "interval_type": "days",
    "interval_value": 1,
    "schedule_time": "2030-07-17T02:00:00Z",
}


async def _schedule(api: httpx.AsyncClient, body: dict[str, Any]) -> str:
    answer = await api.post("/tasks", json=body)
    assert answer.status_code == 201, answer.text
    task_id: str = answer.json()["task_id"]
    return task_id


async def _finished(api: httpx.AsyncClient, execution_id: str) -> dict[str, Any]:
    while True:
        execution: dict[str, Any] = (await api.get(f"/executions/{execution_id}")).json()
        if execution["success"] is not None:
            return execution
        await asyncio.sleep(0.01)


async def test_post_tasks(api: httpx.AsyncClient) -> None:
    answer = await api.post("/tasks", json=EXPORT)
    assert answer.status_code == 201
    assert answer.json() == {"task_id": answer.json()["task_id"], "status": "scheduled"}
    assert answer.headers["location"] == f"/api/v1/scheduler/tasks/{answer.json()['task_id']}"


async def test_get_tasks(api: httpx.AsyncClient) -> None:
    task_id = await _schedule(api, DAILY)
    answer = await api.get("/tasks")
    assert answer.status_code == 200
    [task] = answer.json()["tasks"]
    shown = ("id", "name", "status", "next_execution", "recurring", "interval_type", "interval_value")
    assert {name: task[name] for name in shown} == {
        "id": task_id,
        "name": "Daily Cleanup",
        "status": "pending",
        "next_execution": "2030-07-17T02:00:00Z",
        "recurring": True,
        "interval_type": "days",
        "interval_value": 1,
    }


async def test_get_one_task(api: httpx.AsyncClient) -> None:
    task_id = await _schedule(api, DAILY)
    task = (await api.get(f"/tasks/{task_id}")).json()
    created_at = task.pop("created_at")
    assert UTC_TIME.fullmatch(created_at)
    shown = (
        "id",
        "name",
        "description",
        "module_id",
        "function_name",
        "parameters",
        "status",
        "next_execution",
        "execution_count",
        "last_execution",
    )
    assert {name: task[name] for name in shown} == {
        "id": task_id,
        "name": "Daily Cleanup",
        "description": "Clean up old log files",
        "module_id": "core.scheduler",
        "function_name": "cleanup_old_logs",
        "parameters": {"days_to_keep": 30},
        "status": "pending",
        "next_execution": "2030-07-17T02:00:00Z",
        "execution_count": 0,
        "last_execution": None,
    }


async def test_pause_and_resume(api: httpx.AsyncClient) -> None:
    task_id = await _schedule(api, DAILY)
    answer = await api.post(f"/tasks/{task_id}/pause")
    assert (answer.status_code, answer.json()) == (200, {"status": "paused"})
    assert (await api.get(f"/tasks/{task_id}")).json()["status"] == "paused"
    answer = await api.post(f"/tasks/{task_id}/resume")
    assert (answer.status_code, answer.json()) == (200, {"status": "resumed"})
    assert (await api.get(f"/tasks/{task_id}")).json()["status"] == "pending"


async def test_delete(api: httpx.AsyncClient) -> None:
    task_id = await _schedule(api, DAILY)
    answer = await api.delete(f"/tasks/{task_id}")
    assert (answer.status_code, answer.json()) == (200, {"status": "cancelled"})
    assert (await api.get(f"/tasks/{task_id}")).json()["status"] == "cancelled"


async def test_execute_and_its_history(api: httpx.AsyncClient) -> None:
    task_id = await _schedule(api, EXPORT)
    answer = await api.post(f"/tasks/{task_id}/execute")
    execution_id = answer.json()["execution_id"]
    assert answer.status_code == 202
    assert answer.json() == {"execution_id": execution_id, "status": "running"}

    execution = await _finished(api, execution_id)
    shown = ("id", "task_id", "success", "result", "error")
    assert {name: execution[name] for name in shown} == {
        "id": execution_id,
        "task_id": task_id,
        "success": True,
        "result": {"processed": 100, "errors": 0},
        "error": None,
    }
    assert UTC_TIME.fullmatch(execution["start_time"])
    assert UTC_TIME.fullmatch(execution["end_time"])
    assert len(execution["trace_session_id"]) == 36

    answer = await api.get(f"/tasks/{task_id}/executions")
    assert answer.status_code == 200
    [listed] = answer.json()["executions"]
    for name in ("id", "start_time", "end_time", "success", "result", "error"):
        assert listed[name] == execution[name]

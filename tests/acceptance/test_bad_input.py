"""Bad input gets a clear 4xx that says what to do; nothing is stored and the lists stay readable."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from tests.acceptance.test_rest_specification import DAILY, EXPORT, _schedule


def body(**changes: Any) -> dict[str, Any]:
    changed = {**EXPORT, **changes}
    return {name: value for name, value in changed.items() if value is not ...}


CRON = {"schedule_time": ..., "recurring": True}
BAD_TASKS: dict[str, dict[str, Any]] = {
    "unknown function": body(function_name="drop_users"),
    "unknown module": body(module_id="os", function_name="system"),
    "dunder": body(module_id="builtins", function_name="eval"),
    "unknown field": body(scheduel_time="2030-01-01T00:00:00Z"),
    "missing name": body(name=...),
    "empty name": body(name=""),
    "blank name": body(name="   "),
    "long name": body(name="x" * 101),
    "name with control characters": body(name="a\nb"),
    "name with a terminal escape": body(name="\x1b[2J"),
    "name is a number": body(name=1),
    "name is null": body(name=None),
    "parameters is a list": body(parameters=[1]),
    "parameters too large": body(parameters={"x": "y" * 20_000}),
    "parameters too deep": body(parameters={"a": {"b": {"c": {"d": {"e": {"f": {"g": {"h": {"i": 1}}}}}}}}}),
    "recurring is text": body(recurring="yes"),
    "recurring without a rule": body(recurring=True),
    "naive time": body(schedule_time="2030-07-17T10:00:00"),
    "date only": body(schedule_time="2030-07-17"),
    "time is a number": body(schedule_time=1_900_000_000),
    "time is text": body(schedule_time="tomorrow"),
    "time in the past": body(schedule_time="2020-01-01T00:00:00Z"),
    "absurd year": body(schedule_time="9999-12-31T23:59:59Z"),
    "year zero": body(schedule_time="0000-01-01T00:00:00Z"),
    "year one with offset": body(schedule_time="0001-01-01T00:00:00+14:00"),
    "one time without a time": body(schedule_time=...),
    "impossible cron": body(**CRON, cron_expression="0 0 30 2 *"),
    "cron with 4 fields": body(**CRON, cron_expression="* * * *"),
    "cron minute 61": body(**CRON, cron_expression="61 * * * *"),
    "cron backwards": body(**CRON, cron_expression="0 22-2 * * *"),
    "cron empty": body(**CRON, cron_expression=""),
    "cron huge": body(**CRON, cron_expression="*/" + "9" * 150 + " * * * *"),
    "cron and interval": body(**CRON, cron_expression="* * * * *", interval_type="days", interval_value=1),
    "interval zero": body(**CRON, interval_type="days", interval_value=0),
    "interval negative": body(**CRON, interval_type="days", interval_value=-1),
    "interval float": body(**CRON, interval_type="days", interval_value=1.5),
    "interval true": body(**CRON, interval_type="days", interval_value=True),
    "interval absurd": body(**CRON, interval_type="years", interval_value=2_000_000_000),
    "interval unit": body(**CRON, interval_type="fortnights", interval_value=1),
    "interval without unit": body(**CRON, interval_value=1),
    "interval text": body(**CRON, interval="often"),
    "unknown timezone": body(timezone="Mars/Olympus"),
    "timezone is a path": body(timezone="../../etc/passwd"),
    "max_executions zero": body(max_executions=0),
    "max_executions too large": body(max_executions=2**31),
    "64-bit overflow": body(max_executions=2**64),
    "timeout zero": body(timeout_seconds=0),
    "timeout text": body(timeout_seconds="10"),
    "end before start": body(**CRON, interval="1 hour", end_time="2020-01-01T00:00:00Z"),
    "retry unknown": body(retry={"max_attempts": 2, "often": True}),
    "retry too many": body(retry={"max_attempts": 10_000}),
    "delivery": body(delivery="exactly_once"),
    "tags": body(tags=["x"] * 21),
    "the function's own model refuses": body(
        module_id="core.scheduler", function_name="cleanup_old_logs", parameters={"days_to_keep": -1}
    ),
}

BAD_BODIES: dict[str, tuple[bytes, int]] = {
    "not json": (b"{name: 1}", 422),
    "empty": (b"", 422),
    "a list": (b"[]", 422),
    "a number": (b"1", 422),
    "null": (b"null", 422),
    "not utf-8": (b'{"name": "\xff"}', 422),
    "NaN": (json.dumps(body(parameters={"x": float("nan")})).encode(), 422),
    "infinity": (json.dumps(body(parameters={"x": float("inf")})).encode(), 422),
    "1e999": (json.dumps(body(parameters={"x": "@"})).replace('"@"', "1e999").encode(), 422),
    "a long integer": (json.dumps(body(parameters={"x": "@"})).replace('"@"', "9" * 5000).encode(), 422),
    "over 64 bits": (json.dumps(body(parameters={"x": 2**64})).encode(), 422),
    "NUL": (json.dumps(body(parameters={"x": "a\x00b"})).encode(), 422),
    "NUL in a name": (json.dumps(body(name="a\x00b")).encode(), 422),
    "lone surrogate": (json.dumps(body(name="\ud800")).encode(), 422),
    "lone surrogate in a key": (json.dumps(body(parameters={"\udfff": 1})).encode(), 422),
    "duplicate keys": (b'{"name": "a", ' + json.dumps(EXPORT).encode()[1:], 422),
    "deep": (b'{"parameters": ' + b"[" * 5000 + b"]" * 5000 + b"}", 422),
    "large": (json.dumps(body(description="x" * 70_000)).encode(), 413),
    "larger": (b" " * 1_000_000, 413),
}


async def _check_refusal(api: httpx.AsyncClient, answer: httpx.Response, status: int = 422) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status
    assert problem["code"].isupper()
    assert len(problem["message"]) > 15
    assert "Traceback" not in answer.text
    listed = await api.get("/tasks")
    assert (listed.status_code, listed.json()["tasks"]) == (200, [])


@pytest.mark.parametrize("case", BAD_TASKS)
async def test_a_bad_task_is_refused(api: httpx.AsyncClient, case: str) -> None:
    await _check_refusal(api, await api.post("/tasks", json=BAD_TASKS[case]))


@pytest.mark.parametrize("case", BAD_BODIES)
async def test_a_bad_body_is_refused(api: httpx.AsyncClient, case: str) -> None:
    content, status = BAD_BODIES[case]
    headers = {"content-type": "application/json"}
    await _check_refusal(api, await api.post("/tasks", content=content, headers=headers), status)


async def test_a_body_in_chunks_is_measured_too(api: httpx.AsyncClient) -> None:
    async def chunks() -> Any:
        for _ in range(200):
            yield b" " * 1000

    headers = {"content-type": "application/json"}
    await _check_refusal(api, await api.post("/tasks", content=chunks(), headers=headers), 413)


@pytest.mark.parametrize("media_type", ["text/plain", "application/x-www-form-urlencoded", ""])
async def test_only_json_is_read(api: httpx.AsyncClient, media_type: str) -> None:
    content = json.dumps(EXPORT).encode()
    await _check_refusal(api, await api.post("/tasks", content=content, headers={"content-type": media_type}), 415)


async def test_a_misspelt_field_is_told_what_was_meant(api: httpx.AsyncClient) -> None:
    answer = await api.post("/tasks", json=BAD_TASKS["unknown field"])
    assert "schedule_time" in answer.json()["message"]


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=201", "limit=x", "cursor=%00", "cursor=zzzz", "status=odd", "name=%00", "recurring=maybe",
     "module_id=" + "x" * 200],
)  # fmt: skip
async def test_bad_queries_are_refused(api: httpx.AsyncClient, query: str) -> None:
    answer = await api.get(f"/tasks?{query}")
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("task_id", ["x", "task-123", "%00", "..%2f..", "9" * 90, "é", "%ff"])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/tasks/{}"),
        ("DELETE", "/tasks/{}"),
        ("POST", "/tasks/{}/pause"),
        ("POST", "/tasks/{}/resume"),
        ("POST", "/tasks/{}/execute"),
        ("GET", "/tasks/{}/executions"),
        ("GET", "/executions/{}"),
        ("GET", "/cleanup/{}"),
        ("DELETE", "/keys/{}"),
    ],
)
async def test_unknown_ids_are_404(api: httpx.AsyncClient, method: str, path: str, task_id: str) -> None:
    answer = await api.request(method, path.format(task_id))
    assert answer.status_code == 404, answer.text


async def test_wrong_states_are_409(api: httpx.AsyncClient) -> None:
    task_id = await _schedule(api, DAILY)
    answer = await api.post(f"/tasks/{task_id}/resume")
    assert (answer.status_code, answer.json()["code"]) == (409, "INVALID_STATE")
    await api.delete(f"/tasks/{task_id}")
    for action in ("pause", "resume", "execute"):
        answer = await api.post(f"/tasks/{task_id}/{action}")
        assert (answer.status_code, answer.json()["code"]) == (409, "INVALID_STATE")

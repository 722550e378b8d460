"""Pauses with an end, tried edits, runs with parameters of their own and events, over REST."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.acceptance.test_rest_specification import DAILY, EXPORT, _schedule


async def test_a_pause_says_who_and_until_when(api: httpx.AsyncClient) -> None:
    task_id = await _schedule(api, DAILY)
    key = (await api.post("/keys", json={"name": "alice", "scope": "operate"})).json()["key"]
    body = {"reason": "audit", "until": "2031-01-01T00:00:00+01:00"}
    answer = await api.post(f"/tasks/{task_id}/pause", json=body, headers={"Authorization": f"Bearer {key}"})
    assert (answer.status_code, answer.json()) == (200, {"status": "paused"})
    task = (await api.get(f"/tasks/{task_id}")).json()
    assert (task["pause_actor"], task["paused_until"]) == ("alice", "2030-12-31T23:00:00Z")
    answer = await api.post(f"/tasks/{task_id}/resume", json={"catch_up": "latest"})
    assert (answer.status_code, answer.json()) == (200, {"status": "resumed"})


async def test_an_edit_is_tried(api: httpx.AsyncClient) -> None:
    task_id = await _schedule(api, DAILY)
    before = (await api.get(f"/tasks/{task_id}")).json()
    answer = await api.patch(f"/tasks/{task_id}", params={"dry_run": "true"}, json={"cron_expression": "0 6 * * mon"})
    assert answer.status_code == 200, answer.text
    tried = answer.json()
    assert (tried["dry_run"], tried["version"], len(tried["fire_times"]["new"])) == (True, 1, 5)
    assert {"field": "cron_expression", "old": None, "new": "0 6 * * mon"} in tried["changes"]
    assert (await api.get(f"/tasks/{task_id}")).json() == before


async def test_a_run_has_parameters_and_an_event_has_a_payload(api: httpx.AsyncClient) -> None:
    task_id = await _schedule(api, DAILY)
    answer = await api.post(f"/tasks/{task_id}/execute", json={"parameters": {"days_to_keep": 1}})
    assert answer.status_code == 202, answer.text
    shown = (await api.get(f"/executions/{answer.json()['execution_id']}")).json()
    assert (shown["parameters"], shown["actor"]) == ({"days_to_keep": 1}, "admin key from the configuration")
    waiting = {name: value for name, value in EXPORT.items() if name not in ("schedule_time", "recurring")}
    event_task = await _schedule(api, waiting | {"on_event": "order created"})
    answer = await api.post("/events/order%20created", json={"payload": {"order": 7}})
    assert (answer.status_code, answer.json()) == (200, {"event": "order created", "started": 1, "missed": 0})
    [execution] = (await api.get(f"/tasks/{event_task}/executions")).json()["executions"]
    assert execution["cause"] == {"name": "order created", "payload": {"order": 7}}


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/tasks/{}/pause", {"until": "2031-01-01T00:00:00"}),
        ("POST", "/tasks/{}/pause", {"until": "2001-01-01T00:00:00Z"}),
        ("POST", "/tasks/{}/resume", {"catch_up": "all"}),
        ("POST", "/tasks/{}/execute", {"parameters": [1]}),
        ("POST", "/tasks/{}/execute", {"parameter": {}}),
        ("PATCH", "/tasks/{}?dry_run=maybe", {"name": "x"}),
        ("POST", "/events/x", {"payload": "text"}),
        ("POST", "/events/x", {"payload": {"a": "y" * 20_000}}),
        ("POST", "/events/%00", None),
        ("POST", "/events/" + "x" * 101, None),
    ],
)
async def test_what_makes_no_sense_is_refused(api: httpx.AsyncClient, method: str, path: str, body: Any) -> None:
    task_id = await _schedule(api, DAILY)
    answer = await api.request(method, path.format(task_id), json=body)
    assert answer.status_code == 422, answer.text
    assert answer.json()["message"]

"""What the API offers beside the specification: filters, pages, preview, edits, cleanups, status, keys."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from fastapi import Depends, FastAPI, HTTPException, Request
from starlette.responses import JSONResponse

from modules.core.errors import ConfigurationError
from modules.core.scheduler import ExecutionContext, scheduler_router
from modules.core.settings import AppSettings
from tests.acceptance.test_rest_specification import DAILY, EXPORT, _schedule
from tests.support.app import MODULE
from tests.support.http import ADMIN_KEY, BASE, app_for, served


async def test_lists_are_filtered(api: httpx.AsyncClient) -> None:
    daily = await _schedule(api, DAILY)
    export = await _schedule(api, EXPORT)
    await api.post(f"/tasks/{daily}/pause", json={"reason": "audit"})

    async def ids(**filters: Any) -> list[str]:
        answer = await api.get("/tasks", params=filters)
        assert answer.status_code == 200, answer.text
        return [task["id"] for task in answer.json()["tasks"]]

    assert await ids() == [daily, export]
    assert await ids(status="paused") == [daily]
    assert await ids(status="pending") == [export]
    assert await ids(module_id="core.scheduler") == [daily]
    assert await ids(recurring="false") == [export]
    assert await ids(name="DATA") == [export]
    assert await ids(name="%") == []
    assert (await api.get(f"/tasks/{daily}")).json()["pause_reason"] == "audit"


async def test_pages_show_everything_once(api: httpx.AsyncClient) -> None:
    made = [await _schedule(api, EXPORT) for _ in range(7)]
    seen: list[str] = []
    cursor: str | None = None
    while True:
        params = {"limit": 3} | ({"cursor": cursor} if cursor else {})
        page = (await api.get("/tasks", params=params)).json()
        seen += [task["id"] for task in page["tasks"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == made


async def test_a_task_is_edited(api: httpx.AsyncClient) -> None:
    task_id = await _schedule(api, DAILY)
    answer = await api.patch(f"/tasks/{task_id}", json={"cron_expression": "0 6 * * mon", "timezone": "Europe/Berlin"})
    assert answer.status_code == 200, answer.text
    task = answer.json()
    assert (task["cron_expression"], task["interval_type"], task["version"]) == ("0 6 * * mon", None, 2)
    answer = await api.patch(f"/tasks/{task_id}", json={"name": "x", "version": 1})
    assert (answer.status_code, answer.json()["code"]) == (409, "VERSION_CONFLICT")


async def test_a_schedule_is_previewed_and_nothing_stored(api: httpx.AsyncClient) -> None:
    body = {"cron_expression": "30 2 * * *", "timezone": "Europe/Berlin", "count": 3}
    answer = await api.post("/preview", json=body | {"start_time": "2030-03-30T00:00:00Z"})
    assert answer.status_code == 200, answer.text
    # On 31 March 2030 the clock in Berlin goes from 02:00 to 03:00: half past two fires right after the gap.
    assert [fire["local_time"] for fire in answer.json()["fire_times"]] == [
        "2030-03-30T02:30:00+01:00",
        "2030-03-31T03:00:00+02:00",
        "2030-04-01T02:30:00+02:00",
    ]
    assert answer.json()["fire_times"][0]["time"] == "2030-03-30T01:30:00Z"
    assert answer.json()["timezone"] == "Europe/Berlin"
    assert (await api.get("/tasks")).json()["tasks"] == []


async def test_health_needs_no_key_and_status_does(api_app: FastAPI) -> None:
    async with served(api_app, key=None) as stranger:
        answer = await stranger.get("/health")
        assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
        answer = await stranger.get("/status")
        assert answer.status_code == 401
        answer = await stranger.get("/status", headers={"X-API-Key": ADMIN_KEY})
        status = answer.json()
        assert (status["status"], status["processing"], status["nodes"]) == ("ok", True, 1)


async def test_keys_have_scopes_and_can_be_revoked(api: httpx.AsyncClient, api_app: FastAPI) -> None:
    task_id = await _schedule(api, DAILY)
    keys = {}
    for scope in ("read", "operate"):
        answer = await api.post("/keys", json={"name": scope, "scope": scope})
        assert answer.status_code == 201
        keys[scope] = answer.json()

    async def status(scope: str, method: str, path: str, **more: Any) -> int:
        headers = {"Authorization": f"Bearer {keys[scope]['key']}"}
        return (await api.request(method, path, headers=headers, **more)).status_code

    assert await status("read", "GET", "/tasks") == 200
    assert await status("read", "POST", f"/tasks/{task_id}/pause") == 403
    assert await status("operate", "POST", f"/tasks/{task_id}/pause") == 200
    assert await status("operate", "GET", "/keys") == 403
    listed = (await api.get("/keys")).json()["keys"]
    assert [key["scope"] for key in listed] == ["read", "operate"]
    assert "key" not in listed[0]
    assert keys["read"]["key"] not in str(listed)
    assert (await api.delete(f"/keys/{keys['read']['id']}")).status_code == 204
    assert await status("read", "GET", "/tasks") == 401
    assert (await api.delete(f"/keys/{keys['read']['id']}")).status_code == 404


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer nope"}, {"X-API-Key": "x" * 5000}])
async def test_strangers_learn_nothing(api_app: FastAPI, headers: dict[str, str]) -> None:
    async with served(api_app, key=None) as stranger:
        for method, path, content in (
            ("GET", "/tasks", None),
            ("GET", "/executions/x", None),
            ("POST", "/tasks", "not json"),
            ("DELETE", "/keys/x", None),
        ):
            answer = await stranger.request(method, path, content=content, headers=headers)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"] == "Bearer"
            assert answer.json()["code"] == "UNAUTHORIZED"


async def test_task_types_show_what_can_be_scheduled(api: httpx.AsyncClient) -> None:
    types = {
        (item["module_id"], item["function_name"]): item for item in (await api.get("/task-types")).json()["task_types"]
    }
    logs = types["core.scheduler", "cleanup_old_logs"]
    assert logs["parameters_schema"]["properties"]["days_to_keep"]["default"] == 30
    assert types["standard.data_export", "export_users"]["parameters_schema"] is None


async def test_cleanups_over_rest(api: httpx.AsyncClient) -> None:
    body = {"module_id": "shop", "cleanup_type": "history", "config": {"history": "executions", "keep_days": 7}}
    answer = await api.post("/cleanup", json=body)
    assert answer.status_code == 201, answer.text
    cleanup_id = answer.json()["cleanup_id"]
    assert answer.json() == {"cleanup_id": cleanup_id, "status": "registered"}
    cleanup = (await api.get(f"/cleanup/{cleanup_id}")).json()
    assert (cleanup["enabled"], cleanup["last_run"]) == (True, None)
    assert cleanup["next_run"] is not None
    dry = (await api.post("/cleanup/run", json={"dry_run": True})).json()
    assert (dry["dry_run"], dry["deleted"], dry["failed"], len(dry["reports"])) == (True, 0, 0, 1)
    assert (await api.get(f"/cleanup/{cleanup_id}")).json()["last_run"] is None
    assert (await api.post("/cleanup/run")).json()["failed"] == 0
    assert (await api.get(f"/cleanup/{cleanup_id}")).json()["last_report"]["complete"] is True
    assert (await api.patch(f"/cleanup/{cleanup_id}", json={"enabled": False})).json()["enabled"] is False
    assert (await api.post("/cleanup/run")).json()["reports"] == []
    assert (await api.delete(f"/cleanup/{cleanup_id}")).status_code == 204
    assert (await api.get(f"/cleanup/{cleanup_id}")).status_code == 404
    assert (await api.get("/cleanup")).json() == {"cleanups": []}


@pytest.mark.parametrize(
    "config",
    [
        {"table_name": "scheduler_events", "date_column": "created_at"},
        {"table_name": "users; DROP TABLE users", "date_column": "x"},
        {"directory": "/etc", "max_age_hours": 24},
        {"directory": "../..", "max_age_hours": 24},
        {"directory": "/", "max_age_hours": 24},
        {},
        {"history": "everything"},
    ],
)
async def test_a_cleanup_can_only_name_what_code_allows(api: httpx.AsyncClient, config: dict[str, Any]) -> None:
    answer = await api.post("/cleanup", json={"module_id": "shop", "cleanup_type": "x", "config": config})
    assert answer.status_code == 422, answer.text
    assert answer.json()["code"] in ("UNKNOWN_CLEANUP_TARGET", "INVALID_CLEANUP")
    assert (await api.get("/cleanup")).json() == {"cleanups": []}


async def test_unknown_addresses_and_methods_are_problems_too(api: httpx.AsyncClient) -> None:
    for method, path, status, code in (
        ("GET", "/nothing", 404, "NOT_FOUND"),
        ("PUT", "/tasks", 405, "METHOD_NOT_ALLOWED"),
    ):
        answer = await api.request(method, path)
        assert (answer.status_code, answer.json()["code"]) == (status, code)
        assert answer.headers["content-type"] == "application/problem+json"


async def test_a_host_application_includes_one_router(sqlite_url: str) -> None:
    async def staff_only(request: Request) -> None:
        if request.headers.get("x-user") != "staff":
            raise HTTPException(403, "staff only")

    host = FastAPI()
    router = scheduler_router(AppSettings.load(database_url=sqlite_url), dependencies=[Depends(staff_only)])
    host.include_router(router)
    async with served(host, key=None) as client:
        assert host.state.context is router.context
        assert (await client.get("/tasks")).status_code == 403
        assert (await client.get("/tasks", headers={"x-user": "staff"})).status_code == 200
        assert (await client.get("/health")).json() == {"status": "ok"}


class NotIn(Exception):
    """A host's own way to say no."""


async def test_a_host_decides_who_may_do_what(sqlite_url: str) -> None:
    async def signed_in(request: Request) -> None:
        if "x-user" not in request.headers:
            raise NotIn
        request.state.user = request.headers["x-user"]

    async def scope_of(request: Request) -> Any:
        return {"boss": "admin", "staff": "operate"}.get(request.state.user, "read")

    for hook, expected in (
        (scope_of, {"boss": (200, 201), "staff": (200, 403), "guest": (403, 403)}),
        (None, {"boss": (200, 403), "staff": (200, 403), "guest": (200, 403)}),
    ):
        host = FastAPI()

        @host.exception_handler(NotIn)
        async def _not_in(_request: Request, _error: Exception) -> JSONResponse:
            return JSONResponse({"host": "says no"}, 401)

        settings = AppSettings.load(database_url=sqlite_url)
        router = scheduler_router(settings, dependencies=[Depends(signed_in)], scope_of=hook)
        host.include_router(router)
        async with served(host, key=None) as client:
            assert (await client.get("/tasks")).json() == {"host": "says no"}
            for user, (run, key) in expected.items():
                headers = {"x-user": user}
                assert (await client.get("/tasks", headers=headers)).status_code == 200
                assert (await client.post("/cleanup/run", headers=headers)).status_code == run
                answer = await client.post("/keys", json={"name": "k", "scope": "admin"}, headers=headers)
                assert answer.status_code == key, answer.text


def test_a_scope_hook_needs_somebody_who_is_let_in(sqlite_url: str) -> None:
    with pytest.raises(ConfigurationError, match="pass both"):
        scheduler_router(AppSettings.load(database_url=sqlite_url), scope_of=lambda _request: "read")


async def test_a_mounted_api_knows_where_it_is(sqlite_url: str) -> None:
    host = FastAPI()
    settings = AppSettings.load(
        database_url=sqlite_url, module_settings={"core.scheduler": {"admin_key": ADMIN_KEY, "enabled": False}}
    )
    host.include_router(scheduler_router(settings), prefix="/internal")
    async with served(host) as client:
        key = await client.post("http://test/internal/api/v1/scheduler/keys", json={"name": "k", "scope": "read"})
        assert key.headers["cache-control"] == "no-store"
        body = {"module_id": "shop", "cleanup_type": "history", "config": {"history": "executions"}}
        made = await client.post("http://test/internal/api/v1/scheduler/cleanup", json=body)
        assert made.headers["location"].startswith("/internal/api/v1/scheduler/cleanup/")
        assert (await client.get(f"http://test{made.headers['location']}")).status_code == 200


OTHER_SITE = {"Origin": "http://evil.example"}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "http://127.0.0.1"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Origin": "http://127.0.0.1"}, 200),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        (OTHER_SITE, 403),
        ({**OTHER_SITE, "Host": "evil.example"}, 403),
        ({"Origin": "null"}, 403),
    ],
)
async def test_what_a_browser_sends_for_another_site_is_refused(
    sqlite_url: str, headers: dict[str, str], status: int
) -> None:
    app = app_for(sqlite_url, auth_required=False, enabled=False)
    async with served(app, key=None) as client:
        answer = await client.post(f"http://127.0.0.1{BASE}/cleanup/run", headers=headers)
        assert answer.status_code == status
        if status == 403:
            assert answer.json()["code"] == "CROSS_SITE"
        reading = await client.get(f"http://127.0.0.1{BASE}/tasks", headers=headers)
        assert reading.status_code == (403 if "Host" in headers else 200)


async def test_an_open_door_is_for_this_machine_only(sqlite_url: str) -> None:
    """However the server was bound: uvicorn can be told another address than APP_HOST."""
    app = app_for(sqlite_url, auth_required=False, enabled=False)
    async with app.router.lifespan_context(app):
        for address, status in (("127.0.0.1", 200), ("::1", 200), ("testclient", 200), ("192.0.2.7", 403)):
            transport = httpx.ASGITransport(app=app, client=(address, 50_000))
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
                assert (await client.get(f"{BASE}/tasks")).status_code == status


async def test_a_misspelt_filter_is_told(api: httpx.AsyncClient) -> None:
    answer = await api.get("/tasks", params={"stauts": "cancelled"})
    assert answer.status_code == 422
    assert "Did you mean 'status'?" in answer.json()["message"]
    assert (await api.get("/status", params={"x": "1"})).status_code == 422


async def test_bodies_that_are_not_looked_at_are_refused(api: httpx.AsyncClient) -> None:
    task_id = await _schedule(api, DAILY)
    await api.post(f"/tasks/{task_id}/pause")
    assert (await api.post(f"/tasks/{task_id}/resume", json={"catch_up": "all"})).status_code == 422
    assert (await api.post(f"/tasks/{task_id}/resume", json={"soon": True})).status_code == 422
    assert (await api.get(f"/tasks/{task_id}")).json()["status"] == "paused"
    assert (await api.post(f"/tasks/{task_id}/execute", json={"params": {}})).status_code == 422
    assert (await api.post(f"/tasks/{task_id}/resume", json={})).status_code == 200


async def test_progress_can_be_read_whatever_the_function_says(sqlite_url: str) -> None:
    said, release = asyncio.Event(), asyncio.Event()

    async def talks(parameters: dict[str, Any], context: ExecutionContext) -> None:
        context.progress(float("nan"), float("inf"), "\ud800" + "x" * 1000)
        said.set()
        await release.wait()

    async with served(app_for(sqlite_url, talks)) as client:
        body = {"name": "n", "module_id": MODULE, "function_name": "talks", "schedule_time": "2030-01-01T00:00:00Z"}
        task_id = (await client.post("/tasks", json=body)).json()["task_id"]
        started = (await client.post(f"/tasks/{task_id}/execute")).json()
        await said.wait()
        shown = (await client.get(f"/executions/{started['execution_id']}")).json()
        assert shown["progress"] == {"done": None, "total": None, "message": "?" + "x" * 499}
        release.set()


async def test_a_cleanup_tells_when_it_really_runs_next(api: httpx.AsyncClient) -> None:
    body = {"module_id": "shop", "cleanup_type": "history", "config": {"history": "executions"}}
    path = (await api.post("/cleanup", json=body)).headers["location"].removeprefix(BASE)
    assert (await api.get(path)).json()["next_run"] is not None
    await api.patch(path, json={"enabled": False})
    assert (await api.get(path)).json()["next_run"] is None
    await api.patch(path, json={"enabled": True})
    [task] = (await api.get("/tasks", params={"name": "Cleanup shop"})).json()["tasks"]
    await api.delete(f"/tasks/{task['id']}")
    assert (await api.get(path)).json()["next_run"] is None


async def test_the_openapi_document_tells_what_is_sent(api_app: FastAPI) -> None:
    document = api_app.openapi()
    for path, operations in document["paths"].items():
        for operation in operations.values():
            for status, answer in operation["responses"].items():
                kinds = set(answer.get("content", {}))
                if path.endswith("/health"):
                    assert set(operation["responses"]) == {"200", "503"}
                elif not status.startswith("2"):
                    assert kinds == {"application/problem+json"}
    changes = document["components"]["schemas"]["TaskUpdate"]["properties"]
    assert not [name for name, field in changes.items() if "default" in field]


async def test_the_openapi_document_can_be_made(api_app: FastAPI) -> None:
    document = api_app.openapi()
    operations = [operation["operationId"] for path in document["paths"].values() for operation in path.values()]
    assert len(operations) == len(set(operations)) >= 20
    schedule_time = document["components"]["schemas"]["TaskCreate"]["properties"]["schedule_time"]
    assert "date-time" in str(schedule_time)


async def test_the_ledger_of_a_task(api: httpx.AsyncClient) -> None:
    """Each fire time with its verdict; what makes no sense is refused."""
    task_id = await _schedule(api, DAILY)
    path = f"/tasks/{task_id}/occurrences"
    page = (await api.get(path, params={"until": "2190-01-01T00:00:00Z", "order": "oldest", "limit": 3})).json()
    assert [entry["verdict"] for entry in page["occurrences"]] == ["upcoming"] * 3
    following = (
        await api.get(
            path,
            params={"until": "2190-01-01T00:00:00Z", "order": "oldest", "limit": 1, "cursor": page["next_cursor"]},
        )
    ).json()
    assert following["occurrences"][0]["from_time"] > page["occurrences"][-1]["from_time"]
    for params in (
        {"from": "yesterday"},
        {"from": "2026-01-01T00:00"},
        {"order": "best"},
        {"limit": "0"},
        {"cursor": "x"},
        {"form": "2026-01-01T00:00Z"},
    ):
        assert (await api.get(path, params=params)).status_code == 422
    assert (await api.get("/tasks/none/occurrences")).status_code == 404

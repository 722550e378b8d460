"""Named errors, and how they are written in logs and on the wire."""

from __future__ import annotations

import json

import pytest

from modules.core.error_handler import error_message, problem, problem_of
from modules.core.errors import (
    ConfigurationError,
    Conflict,
    Forbidden,
    Invalid,
    ModuleError,
    NotFound,
    Unauthorized,
    Unavailable,
    did_you_mean,
)


@pytest.mark.parametrize(
    ("kind", "code", "status"),
    [
        (ModuleError, "INTERNAL_ERROR", 500),
        (Invalid, "INVALID", 422),
        (NotFound, "NOT_FOUND", 404),
        (Conflict, "CONFLICT", 409),
        (Unauthorized, "UNAUTHORIZED", 401),
        (Forbidden, "FORBIDDEN", 403),
        (Unavailable, "UNAVAILABLE", 503),
        (ConfigurationError, "CONFIGURATION", 500),
    ],
)
def test_each_error_has_a_code_and_a_status(kind: type[ModuleError], code: str, status: int) -> None:
    """Both are public: callers branch on them."""
    error = kind("what to do")

    assert (error.error_code, error.http_status, error.message, str(error)) == (
        code,
        status,
        "what to do",
        "what to do",
    )


def test_one_error_may_carry_a_code_of_its_own() -> None:
    """The class keeps its code."""
    assert Conflict("busy", code="TASK_BUSY").error_code == "TASK_BUSY"
    assert Conflict("busy").error_code == "CONFLICT"


def test_details_belong_to_one_error() -> None:
    """They are copied, so that two errors never share them."""
    given = {"a": 1}
    error = Invalid("no", details=given)
    error.details["b"] = 2

    assert given == {"a": 1}
    assert Invalid("no").details == {}


def test_a_near_miss_is_suggested() -> None:
    """A sentence to append, or nothing when no word is near."""
    assert did_you_mean("intervall", ["interval", "cron"]) == " Did you mean 'interval'?"
    assert did_you_mean("zebra", ["interval", "cron"]) == ""
    assert did_you_mean("cron", []) == ""


def test_a_log_line_can_be_found_by_module_and_type() -> None:
    """The specification's format."""
    line = error_message(module_id="core.scheduler", error_type="TASK_EXECUTION_FAILED", details="boom")

    assert line == "[core.scheduler] TASK_EXECUTION_FAILED: boom"


def test_a_problem_holds_both_vocabularies() -> None:
    """RFC 9457's members, and the specification's code and message."""
    assert problem(404, "TASK_NOT_FOUND", "There is no such task.") == {
        "type": "about:blank",
        "title": "Not Found",
        "status": 404,
        "detail": "There is no such task.",
        "code": "TASK_NOT_FOUND",
        "message": "There is no such task.",
    }


def test_details_appear_only_where_there_are_any() -> None:
    """An empty dict tells nobody anything."""
    assert problem(422, "INVALID", "no", {"field": "name"})["details"] == {"field": "name"}
    assert "details" not in problem(422, "INVALID", "no", {})


@pytest.mark.parametrize("error", [Invalid("no", details={"a": 1}), NotFound("no"), Conflict("no"), Unavailable("no")])
def test_what_the_caller_can_act_on_is_told(error: ModuleError) -> None:
    """Client errors and a thing that is away for the moment keep their words."""
    body = problem_of(error)

    assert (body["status"], body["code"], body["message"]) == (error.http_status, error.error_code, error.message)


@pytest.mark.parametrize("error", [ModuleError("password=hunter2"), ConfigurationError("password=hunter2")])
def test_our_own_faults_are_described_in_the_log_only(error: ModuleError) -> None:
    """The answer names no cause."""
    body = problem_of(error)

    assert body["code"] == "INTERNAL_ERROR"
    assert "hunter2" not in json.dumps(body)

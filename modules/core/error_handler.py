"""How errors are written: one line in a log, one shape on the wire (RFC 9457 with the code and message callers use)."""

from __future__ import annotations

import http
from typing import Any

from modules.core.errors import ModuleError


def error_message(*, module_id: str, error_type: str, details: str) -> str:
    """One greppable log line: `[core.scheduler] TASK_EXECUTION_FAILED: ...`."""
    return f"[{module_id}] {error_type}: {details}"


def problem(status: int, code: str, message: str, details: dict[str, Any] | None = None) -> dict[str, Any]:
    """The body of every error answer; media type application/problem+json."""
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": http.HTTPStatus(status).phrase,
        "status": status,
        "detail": message,
        "code": code,
        "message": message,
    }
    if details:
        body["details"] = details
    return body


def problem_of(error: ModuleError) -> dict[str, Any]:
    """The problem document of a ModuleError. What is our own fault is described only in the log."""
    if error.http_status >= 500 and error.http_status != 503:
        return problem(error.http_status, "INTERNAL_ERROR", "An internal error happened; the server's log has it.")
    return problem(error.http_status, error.error_code, error.message, error.details)

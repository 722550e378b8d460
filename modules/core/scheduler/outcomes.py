"""What a task function's return value or exception means, as values that can be stored. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from inspect import isawaitable, iscoroutine
from typing import Any

from modules.core.result import Result
from modules.core.scheduler.lifecycle import ExecutionState

ERROR_CHARACTERS = 4_000
PREVIEW_CHARACTERS = 1_000
_NOT_AWAITED = "It returned something that nobody awaited, so the work was not done: register an async def function."


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt ended. `note` is for the log only."""

    state: ExecutionState
    result: Any = None
    error: str | None = None
    error_type: str | None = None
    note: str | None = None


def of_return_value(value: Any, max_bytes: int) -> Outcome:
    """A failed Result is a failure with its code; every other value is a success, but one that was never awaited."""
    if value is None:
        return Outcome("succeeded")
    if isawaitable(value):
        if iscoroutine(value):
            value.close()
        return Outcome("failed", None, _NOT_AWAITED, "NotAwaited")
    if isinstance(value, Result):
        if not value.success:
            error = value.error or {}
            details, _ = storable(error.get("details") or None, max_bytes)
            message = clean_text(str(error.get("message", "")))[:ERROR_CHARACTERS]
            code = clean_text(str(error.get("code", "")))[:200]
            return Outcome("failed", details, message, code)
        value = value.data
    result, note = storable(value, max_bytes)
    return Outcome("succeeded", result, note=note)


def of_exception(error: BaseException) -> Outcome:
    """An exception is a failure with its type and message; the traceback stays in the log."""
    try:
        message = str(error)
    except Exception:
        message = "(the exception's own message could not be made)"
    name = type(error).__qualname__
    module = type(error).__module__
    full_name = name if module in ("builtins", "__main__") else f"{module}.{name}"
    return Outcome("failed", None, clean_text(message or name)[:ERROR_CHARACTERS], clean_text(full_name)[:200])


def storable(value: Any, max_bytes: int) -> tuple[Any, str | None]:
    """`value` as JSON that any database takes, and a note where that is not the value itself.

    What is not JSON is kept as its repr; what is longer than `max_bytes` as its size and its beginning.
    """
    if value is None:
        return None, None
    try:
        return _as_json(value, max_bytes)
    except Exception:
        # Whatever the value's own methods do, or a nesting that is too deep.
        stored, note = _as_json(_safe_repr(value), max_bytes)
        why = (
            f"the result is not JSON ({type(value).__name__}); its repr was stored: return dicts, lists, text, numbers"
        )
        return stored, note or why


def _as_json(value: Any, max_bytes: int) -> tuple[Any, str | None]:
    text = json.dumps(value, allow_nan=False)
    if len(text) > max_bytes:
        note = f"the result has {len(text)} bytes, {max_bytes} are kept (CORE_SCHEDULER_RESULT_MAX_BYTES)"
        return {"truncated": True, "bytes": len(text), "preview": clean_text(text[:PREVIEW_CHARACTERS])}, note
    plain = json.loads(text)
    # JSON text can name characters that no database stores: NUL, and halves of surrogate pairs.
    return (_clean(plain) if "\\u0000" in text or "\\ud" in text else plain), None


def clean_text(text: str) -> str:
    """Text without NUL and lone surrogates, which PostgreSQL and UTF-8 refuse."""
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode("utf-8")


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, list):
        return [_clean(item) for item in value]
    if isinstance(value, dict):
        return {clean_text(key): _clean(item) for key, item in value.items()}
    return value


def _safe_repr(value: Any) -> str:
    try:
        return repr(value)[:PREVIEW_CHARACTERS]
    except Exception:
        return f"<{type(value).__name__} that has no repr>"

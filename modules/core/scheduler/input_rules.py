"""Rules for what callers send: text that can be shown, JSON that fits, moments that mean one instant. Pure."""

from __future__ import annotations

import json
import math
import re
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from modules.core.scheduler.errors import InvalidParameters, InvalidTask

PARAMETERS_BYTES = 16_384
PARAMETERS_DEPTH = 8
LARGEST_INTEGER = 2**63 - 1

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_CONTROL_BUT_LINES = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


def one_line(text: str) -> str:
    """Text without control characters and lone surrogates, and not blank. Raises ValueError."""
    if _CONTROL.search(text):
        raise ValueError("it holds a control character or half of a surrogate pair; use plain text on one line")
    if not text.strip():
        raise ValueError("it is blank; write at least one visible character")
    return text


def checked_line(value: object, name: str, longest: int = 100) -> str:
    """A caller's text of one line. Raises InvalidTask, which names the field."""
    if not isinstance(value, str) or not 1 <= len(value) <= longest:
        raise InvalidTask(f"{name} must be text of 1 to {longest} characters.")
    try:
        return one_line(value)
    except ValueError as error:
        raise InvalidTask(f"{name}: {error}.") from error


def checked_future(value: object, name: str, now: datetime) -> datetime:
    """A caller's moment that lies ahead, in UTC; a naive one is the host's local time. Raises InvalidTask."""
    if not isinstance(value, datetime | str):
        raise InvalidTask(f"{name} must be a datetime or ISO 8601 text such as 2026-07-17T10:00:00Z.")
    try:
        moment = to_moment(value, zone=None)
    except ValueError as error:
        raise InvalidTask(f"{name}: {error}.") from error
    if moment <= now:
        raise InvalidTask(f"{name} is {moment.isoformat()}, which has passed: give a time in the future.")
    return moment


def several_lines(text: str) -> str:
    """Like one_line, but lines and tabs are welcome and it may be empty. Raises ValueError."""
    if _CONTROL_BUT_LINES.search(text):
        raise ValueError("it holds a control character or half of a surrogate pair; use plain text")
    return text


def checked_parameters(parameters: dict[str, Any]) -> dict[str, Any]:
    """Parameters as they will be stored: JSON of at most 16 KiB, 8 levels deep. Raises InvalidParameters."""
    _check_json(parameters, "parameters", 1)
    try:
        text = json.dumps(parameters, allow_nan=False, ensure_ascii=False)
    except (TypeError, ValueError) as error:  # pragma: no cover - _check_json says it better
        raise InvalidParameters(f"The parameters are not JSON: {error}.") from error
    size = len(text.encode())
    if size > PARAMETERS_BYTES:
        raise InvalidParameters(
            f"The parameters have {size} bytes, at most {PARAMETERS_BYTES} are stored: "
            "keep large data in your own table or file and pass its id."
        )
    return parameters


def _check_json(value: Any, path: str, depth: int) -> None:
    if depth > PARAMETERS_DEPTH + 1:
        raise InvalidParameters(f"{path} is nested deeper than {PARAMETERS_DEPTH} levels: flatten it.")
    if isinstance(value, str):
        _check_text(value, path)
    elif isinstance(value, int):
        if not -LARGEST_INTEGER - 1 <= value <= LARGEST_INTEGER:
            raise InvalidParameters(f"{path} does not fit 64 bits: pass it as text.")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise InvalidParameters(f"{path} is not a finite number: JSON has no NaN and no infinity.")
    elif isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise InvalidParameters(f"{path} has the key {key!r}: keys must be text.")
            _check_text(key, path)
            _check_json(item, f"{path}.{key}"[:200], depth + 1)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            _check_json(item, f"{path}[{index}]"[:200], depth + 1)
    elif value is not None:
        raise InvalidParameters(
            f"{path} is a {type(value).__name__}, which JSON has not: pass text, numbers, booleans, lists or objects."
        )


def _check_text(text: str, path: str) -> None:
    if "\x00" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise InvalidParameters(f"{path} holds NUL or half of a surrogate pair: databases cannot store that text.")


def to_moment(value: datetime | str, *, zone: str | None) -> datetime:
    """A datetime or ISO 8601 text as an aware moment in UTC. Raises ValueError.

    A naive one is wall time in `zone` where the caller named one, otherwise the host's local time: that is what
    `datetime.now() + timedelta(hours=1)` in application code means.
    """
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError as error:
            raise ValueError(f"{value!r} is not an ISO 8601 time such as 2026-07-17T10:00:00Z") from error
    try:
        if value.tzinfo is None:
            value = value.replace(tzinfo=ZoneInfo(zone)) if zone else value.astimezone()
        moment = value.astimezone(UTC)
    except (OverflowError, ValueError) as error:
        raise ValueError("the time is out of range; use the years 2000 to 2199") from error
    if not 2000 <= moment.year <= 2199:
        raise ValueError("the time is out of range; use the years 2000 to 2199")
    return moment

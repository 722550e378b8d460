"""The one way in for JSON bodies: everything that parsers read differently, or databases cannot keep, is refused."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from starlette.requests import Request

from modules.core.errors import Invalid

MAX_BODY_BYTES = 64 * 1024
MAX_DEPTH = 12  # parameters may have 8 levels of their own


class InvalidBody(Invalid):
    """The body is not the JSON that this API takes."""

    code = "INVALID_BODY"


class BodyTooLarge(Invalid):
    code = "BODY_TOO_LARGE"
    http_status = 413


class UnsupportedMediaType(Invalid):
    code = "UNSUPPORTED_MEDIA_TYPE"
    http_status = 415


async def check_body(request: Request) -> None:
    """Refuse a body that is not strict JSON. Reads at most 64 KiB and leaves the body for the endpoint to read.

    Raises BodyTooLarge, UnsupportedMediaType, InvalidBody.
    """
    body = await _read(request)
    if not body:
        return
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise UnsupportedMediaType("Send the body as JSON, with the header Content-Type: application/json.")
    parse_strictly(body)


def parse_strictly(body: bytes) -> Any:
    """The JSON value in `body`, or InvalidBody: no duplicate keys, NaN, infinities, NUL, lone surrogates, deep nesting.

    Numbers that do not fit 64 bits are refused as well.
    """
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidBody("The body is not UTF-8 text.") from error
    _check_depth(text)
    try:
        value = json.loads(
            text, object_pairs_hook=_unique_keys, parse_constant=_no_constant, parse_int=_whole, parse_float=_finite
        )
    except (ValueError, RecursionError) as error:
        raise InvalidBody("The body is not valid JSON: check its quotes, commas and brackets.") from error
    if "\\u" in text:
        _check_text(value)
    return value


async def _read(request: Request) -> bytes:
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared[:20]) > MAX_BODY_BYTES:
        raise _too_large()
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > MAX_BODY_BYTES:
            raise _too_large()
        chunks.append(chunk)
    body = b"".join(chunks)
    request._body = body  # where Starlette itself keeps a body that was read, so that the endpoint finds it
    return body


def _too_large() -> BodyTooLarge:
    return BodyTooLarge(f"The body is larger than {MAX_BODY_BYTES} bytes: keep large data elsewhere and pass its id.")


def _check_depth(text: str) -> None:
    """Counts brackets outside strings, before any parser recurses."""
    depth, in_string, escaped = 0, False, False
    for character in text:
        if in_string:
            if escaped:
                escaped = False
            elif character == "\\":
                escaped = True
            elif character == '"':
                in_string = False
        elif character == '"':
            in_string = True
        elif character in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise InvalidBody(f"The body is nested deeper than {MAX_DEPTH} levels: flatten it.")
        elif character in "]}":
            depth -= 1


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    unique = dict(pairs)
    if len(unique) != len(pairs):
        raise InvalidBody("An object in the body has the same key twice: send each key once.")
    return unique


def _no_constant(_name: str) -> NoReturn:
    raise InvalidBody("The body holds NaN or an infinity, which JSON has not: send a number, text or null.")


def _whole(digits: str) -> int:
    if len(digits) <= 20 and -(2**63) <= (number := int(digits)) < 2**63:
        return number
    raise InvalidBody("The body holds a whole number that does not fit 64 bits: send it as text.")


def _finite(digits: str) -> float:
    number = float(digits)
    if number in (float("inf"), float("-inf")):
        raise InvalidBody("The body holds a number that is too large: send it as text.")
    return number


def _check_text(value: Any) -> None:
    if isinstance(value, str):
        if "\x00" in value or any("\ud800" <= character <= "\udfff" for character in value):
            raise InvalidBody("The body holds NUL or half of a surrogate pair, which no database stores as text.")
    elif isinstance(value, list):
        for item in value:
            _check_text(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            _check_text(key)
            _check_text(item)

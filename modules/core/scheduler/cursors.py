"""Cursors of paged lists: the last item shown, by its id or its place in time, in a form that nobody takes for one.
Pure."""

from __future__ import annotations

import base64
import binascii
import re
from datetime import UTC, datetime

from modules.core.errors import Invalid

_MOST_AT_ONE_MOMENT = 100_000
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class InvalidCursor(Invalid):
    """The cursor does not come from a list answer."""

    code = "INVALID_CURSOR"


def is_id(text: object) -> bool:
    """Whether this could be the id of anything stored here."""
    return isinstance(text, str) and _ID.fullmatch(text) is not None


def to_cursor(last_id: str) -> str:
    return _packed(last_id)


def to_position(at: datetime, shown: int) -> str:
    """A place in time, and how many items at that very moment were shown."""
    return _packed(f"{at.astimezone(UTC).isoformat()}~{shown}")


def from_cursor(cursor: str | None) -> str | None:
    """The id behind a cursor; None begins at the start. Raises InvalidCursor."""
    if cursor is None:
        return None
    last_id = _unpacked(cursor)
    if not is_id(last_id):
        raise _invalid()
    return last_id


def from_position(cursor: str | None) -> tuple[datetime | None, int]:
    """The place behind a cursor of `to_position`; None begins at the start. Raises InvalidCursor."""
    if cursor is None:
        return None, 0
    at, _, shown = _unpacked(cursor).partition("~")
    try:
        moment, number = datetime.fromisoformat(at), int(shown)
    except ValueError as error:
        raise _invalid() from error
    if moment.tzinfo is None or not 2000 <= moment.year <= 2199 or not 1 <= number <= _MOST_AT_ONE_MOMENT:
        raise _invalid()
    return moment.astimezone(UTC), number


def _packed(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _unpacked(cursor: str) -> str:
    if not isinstance(cursor, str):
        raise _invalid()
    try:
        return base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeError, ValueError) as error:
        raise _invalid() from error


def _invalid() -> InvalidCursor:
    return InvalidCursor("This cursor is not one of ours: pass the next_cursor of the answer before, or none.")

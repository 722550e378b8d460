"""Cursors of paged lists: the id of the last item shown, in a form that nobody takes for one. Pure."""

from __future__ import annotations

import base64
import binascii
import re

from modules.core.errors import Invalid

_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class InvalidCursor(Invalid):
    """The cursor does not come from a list answer."""

    code = "INVALID_CURSOR"


def is_id(text: object) -> bool:
    """Whether this could be the id of anything stored here."""
    return isinstance(text, str) and _ID.fullmatch(text) is not None


def to_cursor(last_id: str) -> str:
    return base64.urlsafe_b64encode(last_id.encode()).decode().rstrip("=")


def from_cursor(cursor: str | None) -> str | None:
    """The id behind a cursor; None begins at the start. Raises InvalidCursor."""
    if cursor is None:
        return None
    if not isinstance(cursor, str):
        raise _invalid()
    try:
        last_id = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeError, ValueError) as error:
        raise _invalid() from error
    if not is_id(last_id):
        raise _invalid()
    return last_id


def _invalid() -> InvalidCursor:
    return InvalidCursor("This cursor is not one of ours: pass the next_cursor of the answer before, or none.")

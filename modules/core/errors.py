"""Named errors. Raise them inside; they become a Result at a module's door and a problem document at the router's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any, ClassVar


class ModuleError(Exception):
    """Something went wrong that the caller can act on.

    `code` is stable and machine-readable, `message` says what to do, `details` holds JSON values only,
    `http_status` is what the REST door answers.
    """

    code: ClassVar[str] = "INTERNAL_ERROR"
    http_status: ClassVar[int] = 500

    def __init__(self, message: str, *, code: str | None = None, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.error_code = code or self.code
        self.details: dict[str, Any] = dict(details or {})


class Invalid(ModuleError):
    """The input cannot be accepted as it is."""

    code = "INVALID"
    http_status = 422


class NotFound(ModuleError):
    """Nothing is stored under that name or id."""

    code = "NOT_FOUND"
    http_status = 404


class Conflict(ModuleError):
    """The request is well-formed but the thing is in another state."""

    code = "CONFLICT"
    http_status = 409


class Unauthorized(ModuleError):
    """Nobody is known by the credentials shown, or none were."""

    code = "UNAUTHORIZED"
    http_status = 401


class Forbidden(ModuleError):
    """Known, but not allowed."""

    code = "FORBIDDEN"
    http_status = 403


class Unavailable(ModuleError):
    """A thing that this needs is away for the moment; try again."""

    code = "UNAVAILABLE"
    http_status = 503


class ConfigurationError(ModuleError):
    """The application is set up wrongly; it does not start until that is mended."""

    code = "CONFIGURATION"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A sentence with the nearest known word, or an empty string; to be appended to a message."""
    close = get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f" Did you mean {close[0]!r}?" if close else ""

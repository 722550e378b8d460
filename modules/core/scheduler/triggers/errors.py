"""The error of this package, and how it quotes what was sent."""

from __future__ import annotations

from modules.core.errors import Invalid

MOST_SHOWN = 100


class InvalidTrigger(Invalid, ValueError):
    """A schedule that cannot be; the message says what to write instead."""

    code = "INVALID_TRIGGER"


def shown(text: str, most: int = MOST_SHOWN) -> str:
    """The text as a literal of at most `most` characters, for a message: no control characters, no flood."""
    literal = repr(text[:most])
    return literal if len(literal) <= most and len(text) <= most else f"{literal[: most - 4]}...'"

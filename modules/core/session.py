"""Which framework session is at work: scheduling calls remember it, executions carry it on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_session_id: ContextVar[str | None] = ContextVar("session_id", default=None)


def current_session_id() -> str | None:
    """The session of the calling code, or None where nobody named one."""
    return _session_id.get()


@contextmanager
def use_session(session_id: str) -> Iterator[None]:
    """Everything inside the block, tasks started there included, belongs to this session (36 characters at most)."""
    token = _session_id.set(session_id)
    try:
        yield
    finally:
        _session_id.reset(token)

"""Identifiers: UUIDv7 text. Time-ordered keys keep indexes fast where random ones do not."""

from __future__ import annotations

import uuid_utils


def new_id() -> str:
    """36 characters, sorting by the time of their making."""
    return str(uuid_utils.uuid7())

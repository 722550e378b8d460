"""Which wishes about late runs go together; what makes no sense is refused, with advice. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from modules.core.scheduler.errors import InvalidTask

LATE_COLUMNS: Final = {
    "catch_up": "catch_up",
    "catch_up_limit": "catch_up_limit",
    "max_lateness_seconds": "max_lateness_s",
    "expires_at": "expires_at",
}
CHECKED_COLUMNS: Final = (
    *LATE_COLUMNS.values(), "recurring", "anchor_time", "trigger", "overlap", "on_event", "on_task_id",
)  # fmt: skip


def late_columns(given: Mapping[str, Any]) -> dict[str, Any]:
    """The columns for those of the fields that were given; None is the default."""
    columns = {column: given[field] for field, column in LATE_COLUMNS.items() if field in given}
    return columns | ({"catch_up": columns["catch_up"] or "latest"} if "catch_up" in columns else {})


def check_late(row: Mapping[str, Any]) -> None:
    """`row` holds the CHECKED_COLUMNS. Raises InvalidTask."""
    expires_at: datetime | None = row["expires_at"]
    if row["on_event"] is not None or row["on_task_id"] is not None:
        for field, column in LATE_COLUMNS.items():
            if row[column] not in (None, "latest"):
                raise InvalidTask(
                    f"{field}: this task is started by what happens, so it has no fire time to be late for: leave "
                    "it out (null)."
                )
    if (row["trigger"] or {}).get("mode") == "fixed_delay" and row["overlap"] != "skip":
        raise InvalidTask(
            "mode fixed_delay counts from the end of a run, so its runs cannot overlap: leave overlap at skip, or use "
            "fixed_rate."
        )
    if row["catch_up"] != "all" and row["catch_up_limit"] is not None:
        raise InvalidTask(
            f"catch_up_limit: it bounds catch_up all, and this is {row['catch_up']}: add catch_up all, or leave the "
            "limit out (null)."
        )
    if row["catch_up"] == "none" and row["max_lateness_s"] is not None:
        raise InvalidTask(
            "max_lateness_seconds: with catch_up none nothing runs that is late, so it decides nothing: "
            "keep one of them."
        )
    if row["recurring"]:
        if expires_at is not None:
            raise InvalidTask(
                "expires_at: it is for one-time tasks; a recurring one takes end_time, and max_lateness_seconds for "
                "each of its runs."
            )
        return
    if row["catch_up"] != "latest":
        raise InvalidTask(
            "catch_up: it is for recurring tasks. A one-time task runs however late; expires_at or "
            "max_lateness_seconds says how late is too late."
        )
    at: datetime | None = row["anchor_time"]
    if expires_at is not None and at is not None and expires_at < at:
        raise InvalidTask("expires_at lies before schedule_time, so the task would never run: move one of them.")


def check_not_expired(expires_at: datetime | None, now: datetime) -> None:
    """Raises InvalidTask."""
    if expires_at is not None and expires_at <= now:
        raise InvalidTask(f"expires_at is {expires_at.isoformat()}, which has passed: give a time in the future.")

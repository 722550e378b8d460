"""What an edit would do, field by field and fire time by fire time. Pure."""

from __future__ import annotations

from itertools import islice
from types import SimpleNamespace
from typing import Any, cast

from modules.core.scheduler.db_models import ScheduledEvent
from modules.core.scheduler.db_ops import EventChange, Salvaged, damaged_columns
from modules.core.scheduler.trigger_manager import upcoming
from modules.core.scheduler.views import task_view

FIRE_TIMES_SHOWN = 5
_NOT_ASKED_FOR = ("version", "updated_at")


def edit_preview(event: ScheduledEvent, change: EventChange) -> dict[str, Any]:
    """The task's fields and next fire times before and after, and the fire times that the edit leaves behind.

    `{"task_id", "dry_run": True, "version", "changes": [{"field", "old", "new"}], "fire_times": {"old", "new"},
    "missed": [{"from_time", "until_time", "count", "reason", "detail"}]}`
    """
    edited = _edited(event, change)
    old, new = task_view(event), task_view(edited)
    return {
        "task_id": event.id,
        "dry_run": True,
        "version": event.version,
        "changes": [
            {"field": field, "old": old[field], "new": new[field]}
            for field in old
            if field not in _NOT_ASKED_FOR and old[field] != new[field]
        ],
        "fire_times": {
            "old": list(islice(upcoming(event), FIRE_TIMES_SHOWN)),
            "new": list(islice(upcoming(edited), FIRE_TIMES_SHOWN)),
        },
        "missed": [
            {
                "from_time": span.from_time,
                "until_time": span.until_time,
                "count": span.count,
                "reason": span.reason,
                "detail": span.detail,
            }
            for span in change.missed
        ],
    }


def _edited(event: ScheduledEvent, change: EventChange) -> ScheduledEvent:
    columns = {column.name: getattr(event, column.name) for column in ScheduledEvent.__table__.columns}
    still_damaged = tuple(name for name in damaged_columns(event) if name not in change.values)
    kind = Salvaged if still_damaged else SimpleNamespace
    damage = {"damaged": still_damaged} if still_damaged else {}
    return cast(ScheduledEvent, kind(**columns | change.values | damage))

"""Reads users and writes them to a file, whole or not at all."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from sqlalchemy import select

from modules.core.database import Database
from modules.standard.data_export.models import User

COLUMNS = ("id", "name", "email", "created_at", "deleted_at")


async def get_users(database: Database, *, include_deleted: bool) -> list[dict[str, Any]]:
    """Users as dicts, oldest first."""
    query = select(User.__table__).order_by(User.id)
    if not include_deleted:
        query = query.where(User.deleted_at.is_(None))
    async with database.read() as connection:
        return [dict(row) for row in (await connection.execute(query)).mappings()]


def write_users(users: Sequence[dict[str, Any]], folder: Path, name: str, format_type: str) -> Path:
    """Write `folder/name.<format>` under a temporary name first: a reader never sees half a file, and two writers
    do not mix theirs."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.{format_type}"
    unfinished = path.with_name(f"{path.name}.{uuid4().hex}.part")
    rows = [{column: _plain(user[column]) for column in COLUMNS} for user in users]
    with unfinished.open("w", encoding="utf-8", newline="") as file:
        if format_type == "json":
            json.dump(rows, file, indent=2)
        else:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(rows)
    return unfinished.replace(path)


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value

"""Alembic's environment: with a connection handed over (the application's start, tests) or one of its own (the CLI)."""

from __future__ import annotations

import asyncio
from typing import Any

from alembic import context
from sqlalchemy import Connection

from modules.core.database import Base, Database
from modules.core.migrations import VERSION_TABLE
from modules.core.scheduler import db_models
from modules.core.settings import AppSettings

TABLES = set(db_models.Base.metadata.tables)


def _ours(name: str | None, kind: str, _parents: Any) -> bool:
    # The database may be shared with the host application: its tables are none of our business.
    return kind != "table" or name in TABLES


def _run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        version_table=VERSION_TABLE,
        render_as_batch=True,
        include_name=_ours,
        compare_type=True,
    )
    with context.begin_transaction():
        context.run_migrations()


async def _with_own_connection() -> None:
    settings = AppSettings.load()
    database = Database(settings.effective_database_url, pooler=settings.database_pooler)
    await database.open()
    try:
        async with database.transaction() as connection:
            await connection.run_sync(_run)
    finally:
        await database.close()


handed_over = context.config.attributes.get("connection")
if handed_over is not None:
    _run(handed_over)
else:
    asyncio.run(_with_own_connection())

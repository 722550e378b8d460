"""API keys as rows."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, cast

from sqlalchemy import func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from modules.core.scheduler.db_models import ApiKey
from modules.core.scheduler.db_ops.base import API_KEYS, Statements, read, write


class ApiKeyStatements(Statements):
    @write
    async def insert_api_key(self, connection: AsyncConnection, values: Mapping[str, Any]) -> None:
        """Store a key's hash and what it may do."""
        await connection.execute(insert(API_KEYS).values(**values))

    @read
    async def find_api_key(self, connection: AsyncConnection, key_hash: str, now: datetime) -> ApiKey | None:
        """The key with that hash, unless it is revoked or has expired."""
        query = select(API_KEYS).where(
            API_KEYS.c.key_hash == key_hash,
            API_KEYS.c.revoked_at.is_(None),
            or_(API_KEYS.c.expires_at.is_(None), API_KEYS.c.expires_at > now),
        )
        return cast(ApiKey | None, (await connection.execute(query)).one_or_none())

    @read
    async def list_api_keys(self, connection: AsyncConnection) -> list[ApiKey]:
        """All keys ever made, oldest first."""
        return cast(list[ApiKey], (await connection.execute(select(API_KEYS).order_by(API_KEYS.c.id))).all())

    @read
    async def count_live_api_keys(self, connection: AsyncConnection, now: datetime) -> int:
        """How many keys would be accepted at this moment."""
        query = (
            select(func.count())
            .select_from(API_KEYS)
            .where(API_KEYS.c.revoked_at.is_(None), or_(API_KEYS.c.expires_at.is_(None), API_KEYS.c.expires_at > now))
        )
        return (await connection.execute(query)).scalar_one()

    @write
    async def revoke_api_key(self, connection: AsyncConnection, key_id: str, now: datetime) -> bool:
        """Refuse that key from now on; False when there is no such key that still works."""
        statement = (
            update(API_KEYS).where(API_KEYS.c.id == key_id, API_KEYS.c.revoked_at.is_(None)).values(revoked_at=now)
        )
        return (await connection.execute(statement)).rowcount == 1

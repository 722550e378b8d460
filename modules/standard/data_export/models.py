"""The table whose rows are exported. Examples keep their tables apart from the framework's migrations."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import MetaData, String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from modules.core.database import UtcDateTime


class ExampleBase(DeclarativeBase):
    metadata = MetaData()


class User(ExampleBase):
    """Somebody who can be exported; deleted users keep their row."""

    __tablename__ = "example_users"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(100))
    email: Mapped[str] = mapped_column(String(200), unique=True)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    deleted_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

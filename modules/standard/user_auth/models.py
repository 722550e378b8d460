"""The table of sessions. Examples keep their tables apart from the framework's migrations."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import MetaData, String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from modules.core.database import UtcDateTime


class ExampleBase(DeclarativeBase):
    metadata = MetaData()


class UserSession(ExampleBase):
    """Somebody who is signed in until `expires_at`; null means until they sign out."""

    __tablename__ = "user_sessions"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    user_name: Mapped[str] = mapped_column(String(100))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    expires_at: Mapped[datetime | None] = mapped_column(UtcDateTime, index=True)

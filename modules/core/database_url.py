"""Database URLs as people write them, made those of the drivers that are used here."""

from __future__ import annotations

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from modules.core.errors import ConfigurationError


def async_url(given: str) -> URL:
    """The URL with its asynchronous driver. Raises ConfigurationError, which says what can be used."""
    try:
        url = make_url(given)
    except (ArgumentError, ValueError) as error:  # the latter for a port that is no number
        raise ConfigurationError(
            "The database URL cannot be read: write sqlite:///path/to/file or postgresql://user:password@host/name."
        ) from error
    drivers = {
        "sqlite": "sqlite+aiosqlite",
        "sqlite+aiosqlite": "sqlite+aiosqlite",
        "postgres": "postgresql+psycopg",
        "postgresql": "postgresql+psycopg",
        "postgresql+psycopg": "postgresql+psycopg",
        "postgresql+psycopg_async": "postgresql+psycopg",
        "postgresql+asyncpg": "postgresql+asyncpg",
    }
    driver = drivers.get(url.drivername)
    if driver is None:
        raise ConfigurationError(
            f"The database {url.drivername!r} is not supported: use sqlite, postgresql+psycopg or postgresql+asyncpg."
        )
    if driver.startswith("sqlite") and url.query and url.query.get("uri") != "true":
        raise ConfigurationError(
            f"SQLite takes no parameters in {url.render_as_string()!r}: remove what follows the question mark."
        )
    return url.set(drivername=driver)

"""Opening a database: what is refused, what is made, what is waited for, each with a message that says what to do."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from modules.core.database import Database
from modules.core.errors import ConfigurationError

FREE_PORT_NOBODY_USES = 1


@pytest.mark.parametrize(
    "url",
    ["sqlite://", "sqlite:///:memory:", "sqlite:///file:x?mode=memory&uri=true", "sqlite:///file::memory:?uri=true"],
)
async def test_sqlite_in_memory_is_refused(url: str) -> None:
    """It would forget every task with the process, and each connection would have a database of its own."""
    with pytest.raises(ConfigurationError, match="in memory cannot hold a durable scheduler"):
        await Database(url).open()


async def test_the_folder_of_a_sqlite_file_is_made(tmp_path: Path) -> None:
    """The first start needs no preparation."""
    database = Database(f"sqlite:///{tmp_path / 'new' / 'folder' / 'app.sqlite3'}")
    await database.open()
    await database.close()
    assert (tmp_path / "new" / "folder" / "app.sqlite3").exists()


async def test_a_sqlite_file_that_cannot_be_made_is_reported(tmp_path: Path) -> None:
    """The message names the setting."""
    (tmp_path / "file").write_text("")

    with pytest.raises(ConfigurationError, match="APP_DATABASE_URL"):
        await Database(f"sqlite:///{tmp_path / 'file' / 'app.sqlite3'}").open()


async def test_a_file_that_is_no_database_is_reported(tmp_path: Path) -> None:
    """It is not overwritten."""
    path = tmp_path / "letter.txt"
    path.write_text("Dear reader, " * 100)

    with pytest.raises(ConfigurationError, match="cannot be used"):
        await Database(f"sqlite:///{path}").open()
    assert path.read_text().startswith("Dear reader")


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
async def test_a_server_that_cannot_be_reached_is_reported(driver: str) -> None:
    """With the address, without the password."""
    url = f"postgresql+{driver}://me:hunter2@127.0.0.1:{FREE_PORT_NOBODY_USES}/app"

    with pytest.raises(ConfigurationError, match=r"127\.0\.0\.1:1/app cannot be used: .*APP_DATABASE_URL") as caught:
        await Database(url).open()
    assert "hunter2" not in caught.value.message


async def test_a_database_that_does_not_exist_is_reported(postgres_url: str) -> None:
    """The server's own words are kept."""
    with pytest.raises(ConfigurationError, match=r'database "nowhere" does not exist'):
        await Database(f"{postgres_url.rpartition('/')[0]}/nowhere").open()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("mysql://db/app", "'mysql' is not supported"),
        ("postgresql+psycopg2://db/app", "not supported: use sqlite, postgresql"),
        ("not a url", "cannot be read: write sqlite:///"),
        ("", "cannot be read"),
    ],
)
def test_an_unusable_url_is_refused_at_once(url: str, message: str) -> None:
    """Before anything is opened; the message says what to write."""
    with pytest.raises(ConfigurationError, match=message):
        Database(url)


def test_short_urls_get_the_drivers_that_are_tested() -> None:
    """What people write by habit works."""
    for text, driver in {
        "sqlite:///x": "sqlite+aiosqlite",
        "postgres://h/d": "postgresql+psycopg",
        "postgresql://h/d": "postgresql+psycopg",
        "postgresql+asyncpg://h/d": "postgresql+asyncpg",
    }.items():
        assert Database(text).url.drivername == driver


async def test_a_file_that_others_open_at_this_moment_is_waited_for(sqlite_url: str) -> None:
    """SQLite refuses the change to write-ahead logging at once, whatever its busy timeout is."""
    database, refused = (
        Database(sqlite_url),
        OperationalError("PRAGMA", {}, sqlite3.OperationalError("database is locked")),
    )
    check, left = database._check, [refused, refused]

    async def refuses_twice() -> None:
        if left:
            raise left.pop()
        await check()

    database._check = refuses_twice  # type: ignore[method-assign]
    await database.open()
    assert database.retries == 2
    await database.close()

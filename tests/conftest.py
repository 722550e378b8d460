"""What every test gets: an environment and a working folder of its own, and databases on request."""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from sqlalchemy import make_url

from modules.core.database import Database
from modules.core.migrations import migrate
from tests.support import postgres
from tests.support.pgbouncer import PgBouncerMissing, pgbouncer

ROOT = Path(__file__).resolve().parents[1]
OUR_VARIABLES = ("APP_", "CORE_", "STANDARD_")
RUN_FOLDER = pytest.StashKey[Path]()

settings.register_profile("here", deadline=None, print_blob=True)
settings.load_profile("here")


def pytest_configure(config: pytest.Config) -> None:
    """The controller makes the folder of the run's PostgreSQL server; workers are told where it is."""
    told = getattr(config, "workerinput", {}).get("postgres_folder")
    config.stash[RUN_FOLDER] = Path(told) if told else postgres.make_run_folder()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    node.workerinput["postgres_folder"] = str(node.config.stash[RUN_FOLDER])


def pytest_unconfigure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput") and RUN_FOLDER in config.stash:
        postgres.stop(config.stash[RUN_FOLDER])


@pytest.fixture(autouse=True)
def own_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable and no .env of the developer's machine reaches a test; programs that it starts find the project."""
    for name in list(os.environ):
        if name.startswith(OUR_VARIABLES):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """A SQLite file that does not exist yet."""
    return f"sqlite+aiosqlite:///{(tmp_path / 'test.sqlite3').as_posix()}"


@pytest.fixture(scope="session")
def postgres_server(pytestconfig: pytest.Config) -> str:
    """The URL of the run's PostgreSQL server, without a database's name."""
    if os.environ.get("NO_POSTGRES") == "1" and os.environ.get("CI") != "1":
        pytest.skip("NO_POSTGRES=1: left out by hand")
    try:
        return postgres.server_url(pytestconfig.stash[RUN_FOLDER])
    except postgres.PostgresMissing as error:
        pytest.fail(str(error), pytrace=False)


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """A new, empty PostgreSQL database; gone after the test."""
    name = postgres.create_database(postgres_server)
    yield f"{postgres_server}/{name}".replace("postgresql://", "postgresql+psycopg://")
    postgres.drop_database(postgres_server, name)


@pytest.fixture
def pooled_url(pytestconfig: pytest.Config, postgres_url: str) -> Iterator[str]:
    """The same new database through a PgBouncer in transaction mode."""
    folder = Path(tempfile.mkdtemp(prefix="pgbouncer-", dir=pytestconfig.stash[RUN_FOLDER]))
    folder.chmod(0o755)
    url = make_url(postgres_url)
    try:
        with pgbouncer(folder, url.port or 5432) as port:
            yield url.set(port=port).render_as_string()
    except PgBouncerMissing as error:
        if os.environ.get("CI") in ("1", "true"):
            pytest.fail(f"{error}; CI runs them", pytrace=False)
        pytest.skip(str(error))


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """A new, empty database: the test runs once on SQLite and once on PostgreSQL."""
    url: str = request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_url")
    return url


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """An open database with all tables, on SQLite and on PostgreSQL."""
    opened = Database(database_url)
    await opened.open()
    try:
        await migrate(opened)
        yield opened
    finally:
        await opened.close()

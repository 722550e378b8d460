"""A fresh database for every run: a new SQLite file, or a new database of a PostgreSQL server that the bench started.

Unlike the tests' server, this one waits for the disk: fsync, synchronous_commit and full_page_writes are on.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg

from tests.benchmarks.rows import EMPTY, Template
from tests.support import postgres

ROOT = Path(__file__).resolve().parents[2]
DURABLE = {
    **postgres.SETTINGS,
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "shared_buffers": "128MB",
}
SEED_TIMEOUT = 1800


class Databases:
    """Makes databases in a folder of the bench's own, and removes them. Use it as a context manager."""

    def __init__(self, folder: Path) -> None:
        self._parent = self._folder = folder
        self._postgres: Path | None = None
        self._server = ""
        self._templates: dict[tuple[str, Template], str] = {}

    def __enter__(self) -> Self:
        self._parent.mkdir(parents=True, exist_ok=True)
        self._folder = Path(tempfile.mkdtemp(dir=self._parent))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._postgres is not None:
            postgres.stop(self._postgres)
        shutil.rmtree(self._folder, ignore_errors=True)

    @contextmanager
    def fresh(self, database: str, template: Template = EMPTY) -> Iterator[str]:
        """The URL of a database with what the template holds; it is gone afterwards."""
        source = self._template(database, template) if template != EMPTY else ""
        name = f"bench_{uuid.uuid4().hex}"
        if database == "sqlite":
            folder = self._folder / name
            folder.mkdir()
            if source:
                shutil.copyfile(source, folder / "scheduler.sqlite3")
            try:
                yield f"sqlite:///{folder / 'scheduler.sqlite3'}"
            finally:
                shutil.rmtree(folder)
        else:
            self.command(f"CREATE DATABASE {name} TEMPLATE {source or 'template0'}")
            try:
                yield f"{self.server}/{name}"
            finally:
                self.command(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    @property
    def server(self) -> str:
        """The URL of the PostgreSQL server, which is started when it is first asked for."""
        if self._postgres is None:
            self._postgres = postgres.make_run_folder()
            self._server = postgres.server_url(self._postgres, DURABLE)
        return self._server

    def command(self, statement: str) -> None:
        """Run a statement of the server's administrator."""
        with psycopg.connect(f"{self.server}/postgres", autocommit=True) as connection:
            connection.execute(statement)  # type: ignore[call-overload,unused-ignore]

    def transactions(self, url: str) -> int:
        """How many transactions a database has seen so far, as PostgreSQL counts them (seconds late)."""
        with psycopg.connect(f"{self.server}/postgres", autocommit=True) as connection:
            found = connection.execute(
                "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = %s", [url.rpartition("/")[2]]
            ).fetchone()
        return int(found[0]) if found else 0

    @contextmanager
    def without_autovacuum(self) -> Iterator[None]:
        """Its visits would count as the contestants' transactions."""
        self.command("ALTER SYSTEM SET autovacuum = off")
        self.command("SELECT pg_reload_conf()")
        try:
            yield
        finally:
            self.command("ALTER SYSTEM RESET autovacuum")
            self.command("SELECT pg_reload_conf()")

    def _template(self, database: str, template: Template) -> str:
        """The SQLite file, or the name of the PostgreSQL database, that fresh ones are copied from."""
        key = (database, template)
        if key not in self._templates:
            name = f"template_{len(self._templates)}"
            if database == "sqlite":
                source = str(self._folder / f"{name}.sqlite3")
                self._seed(f"sqlite:///{source}", template)
            else:
                source = name
                self.command(f"CREATE DATABASE {name} TEMPLATE template0")
                self._seed(f"{self.server}/{name}", template)
            self._templates[key] = source
        return self._templates[key]

    def _seed(self, url: str, template: Template) -> None:
        command = [sys.executable, "-m", "tests.benchmarks.seeding", "--url", url]
        command += ["--pending", str(template.pending), "--history", str(template.history)]
        subprocess.run(command, cwd=ROOT, check=True, timeout=SEED_TIMEOUT)

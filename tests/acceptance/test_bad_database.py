"""A database that cannot be used: every command says so and what to do, exits with 5, and harms nothing."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from pathlib import Path

import pytest

from modules.core.migrations import VERSION_TABLE
from tests.acceptance.test_command_line import scheduler
from tests.support.disks import small_disk

COMMANDS = (["serve", "--port", "0"], ["db", "upgrade"], ["tasks", "list"])
BAD_URLS = {
    "no URL": ("nonsense", "sqlite:///path"),
    "a port that is no number": ("postgresql://u@h:port/x", "postgresql://user:password@host"),
    "another kind": ("mysql://u@h/x", "use sqlite, postgresql"),
    "a driver that we do not use": ("postgresql+psycopg2://u@h/x", "postgresql+psycopg"),
    "in memory": ("sqlite://", "name a file"),
    "parameters that SQLite would pass over": ("sqlite:///x.sqlite3?mode=ro", "remove what follows"),
    "a directory": ("sqlite:///folder", "name a file in it"),
    "text": ("sqlite:///text", "name another file"),
    "nobody listens": ("postgresql://u@127.0.0.1:1/x", "see that it runs"),
    "nobody listens, asyncpg": ("postgresql+asyncpg://u@127.0.0.1:1/x", "see that it runs"),
    "an unknown host": ("postgresql://u@no-such-host.invalid/x", "see that it runs"),
    "an unknown host, asyncpg": ("postgresql+asyncpg://u@no-such-host.invalid/x", "see that it runs"),
    "an unknown parameter": ("postgresql://u@127.0.0.1/x?colour=red", "colour"),
}
LIKELY = ("text", "nobody listens")


def check_refusal(folder: Path, url: str, words: str, *commands: list[str], **env: str) -> None:
    for command in commands or COMMANDS:
        done = scheduler(folder, *command, "--database-url", url, **env)
        said = done.stdout + done.stderr
        assert done.returncode == 5, f"{command}: {said}"
        assert "Traceback" not in said
        assert words in done.stderr, said
        assert "Scheduler API" not in said, "it must not say that it serves"


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("case", BAD_URLS)
def test_a_url_that_leads_nowhere(tmp_path: Path, case: str) -> None:
    url, words = BAD_URLS[case]
    (tmp_path / "folder").mkdir()
    (tmp_path / "text").write_text("These are notes of somebody's, long enough to be taken for a file's header.\n" * 9)
    before = digest(tmp_path / "text")
    # Starting a process takes long: each command has its turn, and the likely mistakes are made with all.
    turn = list(BAD_URLS).index(case) % len(COMMANDS)
    check_refusal(tmp_path, url, words, *(COMMANDS if case in LIKELY else COMMANDS[turn : turn + 1]))
    assert digest(tmp_path / "text") == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "text"]
    assert list((tmp_path / "folder").iterdir()) == []


def test_a_driver_that_is_not_installed(tmp_path: Path) -> None:
    (tmp_path / "asyncpg.py").write_text("raise ModuleNotFoundError(\"No module named 'asyncpg'\", name='asyncpg')\n")
    path = f"{tmp_path}:{os.environ['PYTHONPATH']}"
    check_refusal(tmp_path, "postgresql+asyncpg://u@127.0.0.1:1/x", "pip install", COMMANDS[0], PYTHONPATH=path)


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
def test_postgresql_that_does_not_let_us_in(tmp_path: Path, postgres_url: str, driver: str) -> None:
    url = postgres_url.replace("+psycopg", f"+{driver}")
    check_refusal(tmp_path, url.replace("postgres@", "no_such_user@"), "correct user and password", COMMANDS[0])
    check_refusal(tmp_path, url.rpartition("/")[0] + "/no_such_database", "create it", COMMANDS[1])


@pytest.mark.parametrize("revision", ["9999", "0001"])
def test_a_schema_of_another_version(tmp_path: Path, revision: str) -> None:
    """A newer one is refused by all; an older one by those that may not upgrade it."""
    assert scheduler(tmp_path, "db", "upgrade", "--database-url", "sqlite:///x.sqlite3").returncode == 0
    file = tmp_path / "x.sqlite3"
    with sqlite3.connect(file) as database:
        database.execute(f"UPDATE {VERSION_TABLE} SET version_num = ?", (revision,))
    database.close()
    before = digest(file)
    if revision == "9999":
        check_refusal(tmp_path, "sqlite:///x.sqlite3", "upgrade the package")
    else:
        refusing = (["serve", "--port", "0"], ["tasks", "list"])
        check_refusal(tmp_path, "sqlite:///x.sqlite3", "scheduler db upgrade", *refusing, APP_AUTO_MIGRATE="false")
    assert digest(file) == before


def test_a_read_only_folder(tmp_path: Path) -> None:
    """A mount that may only be read: also root is stopped by that, as an ordinary user is by a folder's rights."""
    with small_disk() as disk:
        url = f"sqlite:///{disk.folder}/x.sqlite3"
        disk.forbid_writing()
        check_refusal(tmp_path, url, "writable", COMMANDS[1])
        disk.allow_writing()
        assert scheduler(tmp_path, "db", "upgrade", "--database-url", url).returncode == 0
        before = digest(disk.folder / "x.sqlite3")
        disk.forbid_writing()
        check_refusal(tmp_path, url, "writ", COMMANDS[0], COMMANDS[2])
        assert digest(disk.folder / "x.sqlite3") == before
        disk.allow_writing()
        assert scheduler(tmp_path, "tasks", "list", "--database-url", url).returncode == 0


def test_a_full_disk(tmp_path: Path) -> None:
    with small_disk() as disk:
        url = f"sqlite:///{disk.folder}/x.sqlite3"
        disk.fill()
        check_refusal(tmp_path, url, "space", *COMMANDS[:2])
        disk.make_space()
        assert scheduler(tmp_path, "db", "upgrade", "--database-url", url).returncode == 0
        disk.fill()
        check_refusal(tmp_path, url, "space", COMMANDS[0])
        disk.make_space()
        assert scheduler(tmp_path, "tasks", "list", "--database-url", url).returncode == 0

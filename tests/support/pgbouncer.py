"""A PgBouncer in transaction mode before a PostgreSQL server of the tests, as an operator runs it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from tests.support.postgres import free_port, other_user

SERVERS_FOR_EACH_DATABASE = 3  # fewer than clients, so that they change hands


class PgBouncerMissing(Exception):
    """PgBouncer is not installed."""


def find_pgbouncer() -> str:
    """Debian puts it where only root looks."""
    found = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin:/opt/homebrew/bin")
    if found is None:
        raise PgBouncerMissing("PgBouncer is not installed (package pgbouncer): its tests are left out")
    return found


@contextmanager
def pgbouncer(folder: Path, postgres_port: int) -> Iterator[int]:
    """Its port on the loopback, until the block ends. `folder` must be one that any user may enter."""
    program, port = find_pgbouncer(), free_port()
    (folder / "users.txt").write_text('"postgres" ""\n')
    (folder / "pgbouncer.ini").write_text(
        f"""[databases]
* = host=127.0.0.1 port={postgres_port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = trust
auth_file = {folder}/users.txt
pool_mode = transaction
default_pool_size = {SERVERS_FOR_EACH_DATABASE}
max_client_conn = 200
{_follows_nothing(program)}
"""
    )
    owner = other_user()
    who = {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []} if owner else {}
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    with (folder / "pgbouncer.log").open("wb") as log:
        process = subprocess.Popen(
            [program, str(folder / "pgbouncer.ini")],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            **who,  # type: ignore[call-overload,unused-ignore]
        )
    try:
        _wait_for(process, port, folder / "pgbouncer.log")
        yield port
    finally:
        process.terminate()
        process.wait(30)


def _follows_nothing(program: str) -> str:
    """Newer ones make up for statements that were prepared elsewhere; what we need must hold for older ones too."""
    told = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    version = re.search(r"(\d+)\.(\d+)", told)
    known = version is not None and tuple(map(int, version.groups())) >= (1, 21)
    return "max_prepared_statements = 0" if known else ""


def _wait_for(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    for _ in range(200):
        assert process.poll() is None, log.read_text(errors="replace")
        try:
            psycopg.connect(f"postgresql://postgres@127.0.0.1:{port}/postgres", connect_timeout=5).close()
        except psycopg.OperationalError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError(log.read_text(errors="replace"))

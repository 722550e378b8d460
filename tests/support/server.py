"""`scheduler serve` as a process of its own, as an operator runs it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.support.http import ADMIN_KEY, BASE


class Server:
    """A started server; `client` speaks to its API with the admin key."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self.log = log
        self.address = self._address()
        self.client = httpx.Client(
            base_url=self.address + BASE, headers={"Authorization": f"Bearer {ADMIN_KEY}"}, timeout=30
        )

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def kill(self) -> None:
        """As the kernel does when memory is short."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(30)

    def stop(self) -> int:
        """As a service manager does; returns the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def get(self, path: str, **params: Any) -> Any:
        answer = self.client.get(path, params=params)
        answer.raise_for_status()
        return answer.json()

    def _address(self) -> str:
        for _ in patience():
            assert self.process.poll() is None, f"the server ended by itself:\n{self.output()}"
            for line in self.output().splitlines():
                if line.startswith("Scheduler API: "):
                    return line.split()[2].removesuffix(BASE)
        raise AssertionError("unreachable")


def patience(seconds: float = 60) -> Iterator[None]:
    """Turns of waiting for another process; fails when it never comes."""
    give_up = time.monotonic() + seconds
    while time.monotonic() < give_up:
        yield
        time.sleep(0.05)
    raise AssertionError(f"nothing happened within {seconds} s")


@contextmanager
def serving(
    folder: Path, *arguments: str, env: dict[str, str] | None = None, key: str | None = ADMIN_KEY
) -> Iterator[Server]:
    """A server that works in `folder`, on a free port, until the block ends; without `key` it makes its own."""
    log = folder / f"server-{time.monotonic_ns()}.log"
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", **(env or {})}
    if key is not None:
        environment["CORE_SCHEDULER_ADMIN_KEY"] = key
    command = [sys.executable, "-m", "modules.cli", "serve", "--port", "0", *arguments]
    with log.open("wb") as out:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=out, stderr=subprocess.STDOUT)
    server: Server | None = None
    try:
        server = Server(process, log)
        for _ in patience():
            try:
                if server.client.get("/health").status_code == 200:
                    break
            except httpx.TransportError:
                assert process.poll() is None, f"the server ended by itself:\n{server.output()}"
        yield server
    finally:
        if server is not None:
            server.client.close()
        if process.poll() is None:
            process.kill()
            process.wait(30)

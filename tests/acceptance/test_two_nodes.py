"""The README's "Two nodes in two minutes", as it is written, on the PostgreSQL server of the tests."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import make_url

from tests.conftest import ROOT
from tests.support.postgres import free_port

TITLE = "## Two nodes in two minutes\n"
LEASE, MOMENT = 4.0, 2.0  # on a machine that is busy with other tests
BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
DATABASE = "postgresql://postgres@127.0.0.1:5432/postgres"


@pytest.mark.timeout(240)
def test_a_killed_nodes_work_is_done_by_the_other_one(postgres_url: str, tmp_path: Path) -> None:
    written = (ROOT / "README.md").read_text().split(TITLE)[1].split("\n## ")[0]
    database, *commands = BLOCK.findall(written)
    assert "-p 127.0.0.1:5432:5432" in database, "what is started is what the commands after it use"
    script = "\n".join(["set -eu", *commands])
    url = make_url(postgres_url).set(drivername="postgresql").render_as_string()
    ports = [(f"--port {written}", f"--port {free_port()}") for written in (8001, 8002)]
    for one, another in ((DATABASE, url), *ports):
        assert script.count(one) == 1, f"the README has no {one!r} any more"
        script = script.replace(one, another)
    shown = _run(script, tmp_path)
    assert "running" in shown
    assert "abandoned" in shown

    attempts: dict[str, list[tuple[int, str, str]]] = defaultdict(list)
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "SELECT event_id, attempt, state, node_id FROM scheduler_executions JOIN scheduler_events "
            "ON scheduler_events.id = event_id WHERE module_id = 'demo' ORDER BY attempt"
        )
        for event_id, attempt, state, node_id in rows:
            attempts[event_id].append((attempt, state, node_id))
        left = connection.execute("SELECT count(*) FROM scheduler_nodes").fetchone()
        waits = connection.execute(
            "SELECT extract(epoch FROM end_time - heartbeat_at)::float FROM scheduler_executions JOIN scheduler_nodes "
            "ON scheduler_nodes.id = node_id WHERE scheduler_executions.state = 'abandoned'"
        ).fetchall()
    assert len(attempts) == 16
    assert {tuple(state for _, state, _ in chain) for chain in attempts.values()} <= {
        ("succeeded",),
        ("abandoned", "succeeded"),
    }
    rescued = [(first[2], second[2]) for first, second in (chain for chain in attempts.values() if len(chain) == 2)]
    [(dead, survivor)] = set(rescued)
    assert dead != survivor
    assert all(LEASE - 0.5 <= wait <= LEASE + MOMENT for (wait,) in waits), waits
    assert left == (1,), "the killed one stays on the list, as silent; the other has left it"


def _run(script: str, folder: Path) -> str:
    """What it prints. It and all that it started are in a session of their own, and end with it."""
    (folder / "bin").mkdir()
    (folder / "bin" / "scheduler").write_text(
        f'#!/bin/sh\nPYTHONPATH="{ROOT}:$PYTHONPATH" exec "{sys.executable}" -m modules.cli "$@"\n'
    )
    (folder / "bin" / "scheduler").chmod(0o755)
    bash = shutil.which("bash")
    assert bash is not None, "this test needs bash"
    environment = {**os.environ, "TMPDIR": str(folder), "PYTHONPATH": ""}
    environment["PATH"] = f"{folder / 'bin'}:{os.environ['PATH']}"
    with (folder / "output.txt").open("wb") as output:
        process = subprocess.Popen(
            [bash, "-c", script], cwd=folder, env=environment, stdout=output, stderr=output, start_new_session=True
        )
        try:
            code = process.wait(200)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(30)
    shown = (folder / "output.txt").read_text()
    logs = "".join(path.read_text() for path in folder.glob("tmp.*/*.log"))
    assert code == 0, f"{shown}\n{logs}"
    return shown

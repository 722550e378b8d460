"""The wheel alone serves: code, migrations and the `scheduler` command come with it, and nothing from a checkout."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

from tests.conftest import ROOT
from tests.support.server import serving


def test_a_wheel_serves_outside_the_checkout(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "dist")]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, timeout=60)
    [wheel] = (tmp_path / "dist").glob("core_scheduler-*.whl")
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(site)
    assert "modules/_migrations/versions/0001_scheduler_tables.py" in names
    assert "modules/py.typed" in names
    assert not [name for name in names if name.startswith(("tests/", "docs/", "migrations/"))]
    entry_points = next(site.glob("*.dist-info/entry_points.txt")).read_text()
    assert "scheduler = modules.cli:main" in entry_points

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    where = [sys.executable, "-c", "import modules; print(modules.__file__)"]
    env = {"PYTHONPATH": str(site), "STANDARD_FILE_UPLOAD_DIRECTORY": str(tmp_path / "up")}
    found = subprocess.run(where, cwd=elsewhere, env=env, check=True, capture_output=True, text=True, timeout=60)
    assert found.stdout.startswith(str(site)), "this would have tested the checkout"
    with serving(elsewhere, "--examples", env=env) as server:
        assert server.get("/status")["status"] == "ok"
        assert (elsewhere / "data" / "scheduler.sqlite3").exists()
        assert server.stop() == 0

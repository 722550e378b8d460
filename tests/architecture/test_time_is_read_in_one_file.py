"""Only modules/core/clock.py reads time: all else is handed a Clock or a `now`, so tests need no sleeping."""

from __future__ import annotations

import ast

from tests.support.sources import Source, imports_of, python_files

CLOCK = "modules/core/clock.py"
REASON = "only modules/core/clock.py reads time; take a Clock, or `now` as an argument, so that a test can set it"
WALL_CLOCK = {"now", "utcnow", "today", "fromtimestamp"}


def clock_readings(source: Source) -> list[str]:
    """A sentence for each place of the file that reads a clock."""
    if source.path == CLOCK:
        return []
    found = [
        (item.line, f"import of {item.target}")
        for item in imports_of(source)
        if item.target == "time" or item.target.startswith("time.")
    ]
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and _reads(node.func):
            found.append((node.lineno, f"{ast.unparse(node.func)}()"))
    return [f"{source.path}:{line}: {what}: {REASON}." for line, what in sorted(found)]


def _reads(function: ast.Attribute) -> bool:
    owner, name = ast.unparse(function.value), function.attr
    if owner.split(".")[-1] in {"datetime", "date"}:
        # datetime.fromtimestamp(x) reads no clock: what it is given may come from a file or a row.
        return name in WALL_CLOCK - {"fromtimestamp"}
    if name == "time" and "loop" in owner:
        return True
    return owner in {"func", "sqlalchemy.func"} and name in {"now", "current_timestamp"}


def test_time_is_read_in_the_clock_only() -> None:
    """No datetime.now, time.monotonic, loop.time or SQL now() anywhere else."""
    assert [line for source in python_files("modules") for line in clock_readings(source)] == []


def test_each_way_of_reading_time_is_reported() -> None:
    """The checker bites."""
    text = """
import time
from time import monotonic
datetime.now(UTC)
datetime.datetime.utcnow()
date.today()
asyncio.get_running_loop().time()
select(func.now())
"""
    assert len(clock_readings(Source("modules/core/x.py", text))) == 7
    assert clock_readings(Source(CLOCK, text)) == []


def test_what_reads_no_clock_is_left_alone() -> None:
    """A clock's own now(), a conversion between zones, a datetime.time."""
    text = "from datetime import time\nclock.now()\nmoment.astimezone(UTC)\ndatetime.fromtimestamp(stamp, UTC)\n"
    assert clock_readings(Source("modules/core/x.py", text)) == []

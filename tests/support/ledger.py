"""Tasks that say on disk when they begin and end, as a module that `scheduler serve` loads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.support.sources import ROOT

MODULE = '''
"""Tasks that say on disk what they did."""
import asyncio, json, os
from pathlib import Path

class LedgerModule:
    MODULE_ID = "test.ledger"
    DEPENDS_ON = ("core.scheduler",)

    def register(self, context):
        registry = context.get_service("core.scheduler.tasks")
        registry.register(self.MODULE_ID, note)
        registry.register(self.MODULE_ID, stubborn)

def write(what, context):
    with Path("ledger.jsonl").open("a") as file:
        file.write(json.dumps({"what": what, "task": context.task_id, "execution": context.execution_id,
                               "pid": os.getpid()}) + "\\n")

async def note(parameters, context):
    write("start", context)
    await asyncio.sleep(parameters["seconds"])
    write("end", context)

async def stubborn(parameters, context):
    write("start", context)
    while True:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            write("cancelled", context)
'''


def install(folder: Path) -> dict[str, str]:
    """The module in `folder`; the environment that makes a server there load it."""
    package = folder / "ledger_example"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "module.py").write_text(MODULE)
    return {
        "APP_MODULES": "ledger_example",
        "PYTHONPATH": f"{ROOT}:{folder}",
        "CORE_SCHEDULER_HOUSEKEEPING": "false",
    }


def task(name: str = "note", *, seconds: float = 0.0, **fields: Any) -> dict[str, Any]:
    """The body of a request that schedules one of them for now."""
    body = {
        "name": name,
        "module_id": "test.ledger",
        "function_name": name,
        "parameters": {"seconds": seconds},
        "schedule_time": "2026-01-01T00:00:00Z",
        "allow_past": True,
    }
    return {name: value for name, value in {**body, **fields}.items() if value is not None}


def lines(folder: Path, what: str) -> list[Mapping[str, Any]]:
    """What was written, in the order of writing."""
    path = folder / "ledger.jsonl"
    if not path.exists():
        return []
    complete = path.read_text().rpartition("\n")[0]  # of the last line half may be written
    return [line for line in map(json.loads, complete.splitlines()) if line["what"] == what]

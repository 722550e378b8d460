"""`scheduler check`: what is set up wrongly, and how to mend it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Annotated, Any, Literal

import typer

from modules.cli.local import load_settings, with_context
from modules.cli.output import FAILED, AsJson, exit_codes, say, show_json
from modules.cli.tasks import DatabaseUrl
from modules.core.app_context import AppContext
from modules.core.errors import ModuleError
from modules.core.scheduler.runtime import Runtime
from modules.core.scheduler.service import SchedulerService

OVERDUE = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that somebody should look at; an error makes the command fail."""

    level: Literal["error", "warning"]
    problem: str
    advice: str


@exit_codes
def check(
    examples: Annotated[bool, typer.Option("--examples", help="With the example modules, as `make run` has.")] = False,
    database_url: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Check settings, database, tasks and cleanups; exit code 1 when something is wrong."""
    try:
        findings = with_context(load_settings(database_url, examples=examples), _findings, all_modules=True)
    except ModuleError as error:
        findings = [Finding("error", error.message, "Mend this first; the other checks need it.")]
    errors = sum(finding.level == "error" for finding in findings)
    if as_json:
        show_json({"errors": errors, "findings": [asdict(finding) for finding in findings]})
    else:
        for finding in findings:
            say(f"{finding.level.upper()}: {finding.problem} {finding.advice}")
        say("All is well." if not findings else f"{errors} errors, {len(findings) - errors} warnings.")
    if errors:
        raise typer.Exit(FAILED)


async def _findings(context: AppContext) -> list[Finding]:
    service: SchedulerService = context.get_service("core.scheduler.service")
    status = (await service.status()).unwrap()
    findings = [
        Finding(
            "error",
            f"{row['tasks']} tasks name {row['module_id']}.{row['function_name']}, which no loaded module offers.",
            "Add its package to APP_MODULES (of the examples: --examples), or cancel the tasks.",
        )
        for row in status.get("unresolved", ())
    ]
    findings += await _parked(service)
    findings += await _overdue(context, status)
    for cleanup in await service.housekeeper.cleanups():
        if cleanup["enabled"] and cleanup["next_run"] is None:
            name = f"{cleanup['cleanup_type']} of {cleanup['module_id']}"
            advice = "Switch it on again (PATCH its `enabled` to true), or resume that task, or switch the cleanup off."
            findings.append(Finding("warning", f"Cleanup {name} is on, but its task is paused or cancelled.", advice))
        try:
            service.housekeeper.check_config(cleanup["config"])
        except ModuleError as error:
            findings.append(
                Finding("error", f"Cleanup {cleanup['cleanup_type']} of {cleanup['module_id']}: {error.message}", "")
            )
    if Runtime.of(context).settings.auth_required and not await context.get_service("core.scheduler.keys").any_exists():
        findings.append(
            Finding("warning", "There is no API key.", "Make one: scheduler keys create NAME --scope admin.")
        )
    return findings


async def _parked(service: SchedulerService) -> list[Finding]:
    paused = (await service.list_tasks(status="paused", limit=200)).unwrap()["tasks"]
    return [
        Finding("error", f"Task {task['id']} ({task['name']}) is parked.", task["pause_reason"])
        for task in paused
        if (task["pause_reason"] or "").startswith("Parked:")
    ]


async def _overdue(context: AppContext, status: dict[str, Any]) -> list[Finding]:
    runtime = Runtime.of(context)
    now = runtime.clock.now()
    due = await runtime.db_ops.get_due_tasks(now - OVERDUE)
    waiting = [task for task in due if task.active_execution_id is None]
    if not waiting:
        return []
    why = "no scheduler is running" if not status.get("nodes") else "the schedulers are busy or cannot run them"
    return [
        Finding(
            "warning", f"{len(waiting)} tasks are more than 5 minutes overdue: {why}.", "Look at `scheduler serve`."
        )
    ]
